import json

import pytest

from fastroute.proxy.own_replies import Listener, OwnReply, own_error, own_reply, unknown_model
from tests.support.judge import judge_replies

REPLY = OwnReply(200, b'{"status":"ok"}')
ENDPOINTS = {b"/health": lambda: REPLY, b"/v1/models": lambda: None}
LISTENER = Listener(ENDPOINTS)
ADMIN = Listener(ENDPOINTS, forwards=False)


@pytest.mark.parametrize(
    ("listener", "method", "target", "status"),
    [
        pytest.param(LISTENER, b"GET", b"/health", 200, id="own"),
        pytest.param(LISTENER, b"HEAD", b"/health", 200, id="head"),
        pytest.param(LISTENER, b"GET", b"/health?verbose=1", 200, id="query"),
        pytest.param(LISTENER, b"POST", b"/health", 405, id="post"),
        pytest.param(LISTENER, b"DELETE", b"/health?x", 405, id="delete"),
        pytest.param(LISTENER, b"GET", b"/health/", None, id="longer-path"),
        pytest.param(LISTENER, b"GET", b"/HEALTH", None, id="other-case"),
        pytest.param(LISTENER, b"GET", b"/%68ealth", None, id="encoded"),
        pytest.param(LISTENER, b"GET", b"//health", None, id="two-slashes"),
        pytest.param(LISTENER, b"GET", b"/v1/chat?/health", None, id="in-the-query"),
        pytest.param(LISTENER, b"OPTIONS", b"*", None, id="asterisk"),
        pytest.param(LISTENER, b"GET", b"/fastroute", 404, id="prefix"),
        pytest.param(LISTENER, b"GET", b"/fastroute/", 404, id="below-prefix"),
        pytest.param(LISTENER, b"POST", b"/fastroute/x/y?z", 404, id="deep-below-prefix"),
        pytest.param(LISTENER, b"GET", b"/fastroute?x", 404, id="prefix-query"),
        pytest.param(LISTENER, b"GET", b"/fastrouter", None, id="longer-than-prefix"),
        pytest.param(LISTENER, b"GET", b"/v1/fastroute/x", None, id="prefix-not-first"),
        pytest.param(LISTENER, b"GET", b"/v1/models", None, id="left-to-a-server"),
        pytest.param(LISTENER, b"POST", b"/v1/models", 405, id="left-to-a-server-post"),
        pytest.param(ADMIN, b"GET", b"/health", 200, id="admin-own"),
        pytest.param(ADMIN, b"GET", b"/v1/models", 503, id="admin-not-known-yet"),
        pytest.param(ADMIN, b"GET", b"/v1/chat/completions", 404, id="admin-forwards-nothing"),
        pytest.param(ADMIN, b"OPTIONS", b"*", 404, id="admin-asterisk"),
    ],
)
def test_answer(listener, method, target, status):
    reply = listener.answer(method, target)
    assert (None if reply is None else reply.status) == status


def test_unknown_path_is_named():
    """As text, whatever bytes it is made of."""
    body = json.loads(LISTENER.answer(b"GET", b'/fastroute/"\xff?x').body)
    assert body["error"]["message"] == 'fastroute has no endpoint /fastroute/"\xff'
    assert body["error"]["type"] == "NotFoundError"


@pytest.mark.parametrize(
    ("status", "type_"),
    [
        (400, "BadRequestError"),
        (404, "NotFoundError"),
        (405, "MethodNotAllowedError"),
        (408, "TimeoutError"),
        (413, "RequestTooLargeError"),
        (429, "TooManyRequestsError"),
        (431, "HeadersTooLargeError"),
        (502, "BadGatewayError"),
        (503, "ServiceUnavailableError"),
        (504, "GatewayTimeoutError"),
    ],
)
def test_own_error(status, type_):
    reply = own_error(status, "what happened")
    assert (reply.status, reply.content_type) == (status, "application/json")
    assert json.loads(reply.body) == {
        "error": {"message": "what happened", "type": type_, "param": None, "code": status}
    }


def test_unknown_model():
    reply = unknown_model('a"b', ["x", "y"])
    error = json.loads(reply.body)["error"]
    assert (reply.status, error["param"], error["code"]) == (404, "model", 404)
    assert 'a"b' in error["message"]
    assert "x, y" in error["message"]


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: unknown_model("m" * 10**6, ["n"]), id="a-model"),
        pytest.param(lambda: unknown_model("\x1b\n" * 1000, ["n"]), id="escapes"),
        pytest.param(lambda: unknown_model("m", ["n" * 10**6] * 10), id="long-names"),
        pytest.param(lambda: unknown_model("m", [f"n{i}" for i in range(10**5)]), id="many-names"),
        pytest.param(lambda: Listener({}).answer(b"GET", b"/fastroute/" + b"a" * 60000), id="path"),
    ],
)
def test_an_error_is_short_whatever_it_names(make):
    assert len(make().body) < 6000


@pytest.mark.parametrize(
    ("status", "connection", "extra"),
    [
        pytest.param(200, None, [], id="plain"),
        pytest.param(200, b"close", [(b"connection", b"close")], id="close"),
        pytest.param(405, None, [(b"allow", b"GET, HEAD")], id="405-says-what-is-allowed"),
        pytest.param(503, None, [(b"retry-after", b"1")], id="503-says-when"),
        pytest.param(502, None, [], id="502"),
    ],
)
def test_own_reply(status, connection, extra):
    raw = own_reply(OwnReply(status, b"{}"), method=b"GET", connection=connection)
    [judged] = judge_replies(raw, [b"GET"], closed=False)
    assert (judged.status, judged.body, judged.whole) == (status, b"{}", True)
    assert judged.values(b"date")[0].endswith(b" GMT")
    fields = [field for field in judged.fields if field[0] != b"date"]
    assert fields == [
        (b"server", b"fastroute"),
        (b"content-type", b"application/json"),
        (b"x-content-type-options", b"nosniff"),
        *extra,
        (b"content-length", b"2"),
    ]


def test_head():
    """The fields are those of GET, Content-Length too, and no byte more."""
    reply = OwnReply(200, b"a: 1\n", "text/plain")
    raw = own_reply(reply, method=b"HEAD", connection=None)
    assert b"\r\ncontent-type: text/plain\r\n" in raw
    assert raw.endswith(b"\r\ncontent-length: 5\r\n\r\n")


@pytest.mark.parametrize(
    ("if_none_match", "status"),
    [
        pytest.param(None, 200, id="not-asked"),
        pytest.param(b'"new"', 304, id="the-same"),
        pytest.param(b'W/"new"', 304, id="weak"),
        pytest.param(b'"old", "new"', 304, id="one-of-them"),
        pytest.param(b"*", 304, id="any"),
        pytest.param(b"x," * 31 + b'"new"', 304, id="the-last-that-counts"),
        pytest.param(b"x," * 32 + b'"new"', 200, id="one-too-many"),
        pytest.param(b'"old"', 200, id="another"),
        pytest.param(b"new", 200, id="no-etag"),
        pytest.param(b"", 200, id="empty"),
    ],
)
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_a_reply_that_is_known_is_not_sent_again(if_none_match, status, method):
    reply = OwnReply(200, b"page", "text/html", ((b"etag", b'"new"'), (b"cache-control", b"x")))
    raw = own_reply(reply, method=method, connection=None, if_none_match=if_none_match)
    [judged] = judge_replies(raw, [method], closed=False)
    has_body = status == 200 and method == b"GET"
    assert (judged.status, judged.body) == (status, b"page" if has_body else b"")
    assert judged.values(b"etag") == [b'"new"']
    assert judged.values(b"cache-control") == [b"x"]


def test_what_has_no_etag_is_always_sent():
    raw = own_reply(REPLY, method=b"GET", connection=None, if_none_match=b"*")
    assert raw.startswith(b"HTTP/1.1 200 ")
