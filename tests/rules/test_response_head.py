import pytest

from fastroute.errors import BadReply
from fastroute.rules.framing import Body
from fastroute.rules.response_head import ReplyHead, render_reply, with_date

LENGTH = b"Content-Length: 2"


class Reply(ReplyHead):
    """A head and the bytes it was read from."""

    def __init__(self, method: bytes, status: bytes, version: str, lines: tuple[bytes, ...]):
        pairs = [line.split(b":", 1) for line in lines]
        fields = [(name, value.lstrip()) for name, value in pairs]  # as the parser gives them
        super().__init__(method, int(status[:3]), version, fields)
        self.raw = b"\r\n".join((b"HTTP/%b %b" % (version.encode(), status), *lines, b"", b""))


def reply(*lines: bytes, method=b"POST", status=b"200 OK", version="1.1") -> Reply:
    return Reply(method, status, version, lines)


def rendered(head: Reply, **options) -> list[bytes]:
    """The lines a client gets, checked as to their form."""
    raw = head.render(head.raw, authority=b"server:8000", **options)
    assert raw.endswith(b"\r\n\r\n")
    return raw[:-4].split(b"\r\n")


def test_nothing_to_change_is_the_same_object():
    """The head is not even copied: this is the hot path."""
    head = reply(b"X-Odd:  spaced ", b"content-length: 2")
    assert head.render(head.raw, authority=b"a") is head.raw


@pytest.mark.parametrize(
    ("lines", "kept"),
    [
        pytest.param([b"Connection: close"], [], id="connection"),
        pytest.param([b"Keep-Alive: timeout=5"], [], id="keep-alive"),
        pytest.param([b"Proxy-Connection: close"], [], id="proxy-connection"),
        pytest.param([b"Upgrade: h2c"], [], id="upgrade"),
        pytest.param([b"TE: trailers"], [], id="te"),
        pytest.param([b"Connection: X-A", b"x-a: 1", b"x-b: 2"], [b"x-b: 2"], id="named"),
        pytest.param([b"Connection: x-a", b"Connection: x-b", b"X-A: 1", b"X-B: 2"], [], id="two"),
        pytest.param([b"Trailer: X-Sum"], [b"Trailer: X-Sum"], id="trailer-stays"),
        pytest.param([b"X-A: 1", b"x-a: 2"], [b"X-A: 1", b"x-a: 2"], id="repeated"),
        pytest.param(
            [b"Connection: close, content-length, content-type", b"Content-Type: a"],
            [b"Content-Type: a"],
            id="framing-cannot-be-named",
        ),
    ],
)
def test_reply_fields(lines, kept):
    assert rendered(reply(LENGTH, *lines)) == [b"HTTP/1.1 200 OK", LENGTH, *kept]


@pytest.mark.parametrize(
    ("lines", "kept"),
    [
        pytest.param([b"Date: a", b"Server: b"], [b"Date: a", b"Server: b"], id="one-each"),
        pytest.param([b"date: a", b"Date: b"], [b"date: a"], id="dates"),
        pytest.param(
            [b"Server: nginx", b"Date: a", b"X: y", b"server: uvicorn", b"date: a", b"x: y"],
            [b"Server: nginx", b"Date: a", b"X: y", b"x: y"],
            id="of-a-gateway",
        ),
        pytest.param([b"Server: a"] * 3, [b"Server: a"], id="three"),
    ],
)
def test_passed_once(lines, kept):
    """A proxy in front of vLLM adds its own; RFC 9110 section 5.3 forbids repeating them."""
    head = reply(LENGTH, *lines)
    assert rendered(head) == [b"HTTP/1.1 200 OK", LENGTH, *kept]
    assert head.is_ordinary() == (len(lines) == len(kept))


@pytest.mark.parametrize(
    ("lines", "status", "expected"),
    [
        pytest.param([], b"200 OK", True, id="none"),
        pytest.param([b"X-Date: a"], b"503 X", True, id="another"),
        pytest.param([b"date: a"], b"200 OK", False, id="one"),
        pytest.param([], b"103 Early Hints", False, id="informational"),
    ],
)
def test_lacks_date(lines, status, expected):
    assert reply(LENGTH, *lines, status=status).lacks_date is expected


def test_date_is_added():
    head = reply(LENGTH)
    assert with_date(head.raw, b"now") == head.raw[:-2] + b"date: now\r\n\r\n"


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        pytest.param(b"200 OK", b"HTTP/1.1 200 OK", id="phrase"),
        pytest.param(b"200 ", b"HTTP/1.1 200 ", id="no-phrase"),
        pytest.param(b"200", b"HTTP/1.1 200", id="no-space"),
        pytest.param(b"299 \xe4 b", b"HTTP/1.1 299 \xe4 b", id="odd-phrase"),
    ],
)
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_status_line(status, expected, version):
    """To the client we speak HTTP/1.1, whatever the server speaks."""
    head = reply(LENGTH, b"Connection: keep-alive", status=status, version=version)
    assert rendered(head) == [expected, LENGTH]


@pytest.mark.parametrize(
    ("lines", "method", "version", "body", "keep_alive"),
    [
        pytest.param([LENGTH], b"GET", "1.1", Body.LENGTH, True, id="length"),
        pytest.param([], b"GET", "1.1", Body.UNTIL_CLOSE, False, id="until-close"),
        pytest.param([LENGTH], b"HEAD", "1.1", Body.NONE, True, id="head"),
        pytest.param([LENGTH], b"GET", "1.0", Body.LENGTH, False, id="1.0"),
        pytest.param(
            [LENGTH, b"Connection: Keep-Alive"], b"GET", "1.0", Body.LENGTH, True,
            id="1.0-keep-alive",
        ),
        pytest.param(
            [LENGTH, b"Connection: Close"], b"GET", "1.1", Body.LENGTH, False, id="close"
        ),
    ],
)  # fmt: skip
def test_reply_framing(lines, method, version, body, keep_alive):
    head = reply(*lines, method=method, version=version)
    assert head.body is body
    assert head.keep_alive is keep_alive


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        pytest.param([], 0, id="none"),
        pytest.param([b"Retry-After: 30"], 30, id="seconds"),
        pytest.param([b"Retry-After: Wed, 21 Oct 2026 07:28:00 GMT"], 0, id="date"),
        pytest.param([b"Retry-After: -5"], 0, id="negative"),
        pytest.param([b"Retry-After: 1", b"Retry-After: 2"], 0, id="two"),
        pytest.param([b"Retry-After: 9999999"], 0, id="absurd"),
    ],
)
def test_retry_after(lines, expected):
    head = reply(LENGTH, *lines, status=b"503 X")
    assert head.retry_after == expected
    assert rendered(head)[2:] == lines


@pytest.mark.parametrize(
    ("status", "final"),
    [(b"100 Continue", False), (b"103 Early", False), (b"200 OK", True), (b"599 X", True)],
)
def test_is_final(status, final):
    assert reply(LENGTH, status=status).is_final() is final


@pytest.mark.parametrize(
    ("options", "lines", "message"),
    [
        pytest.param({"version": "2.0"}, [LENGTH], "version 2.0", id="http-2.0"),
        pytest.param({"version": "0.9"}, [LENGTH], "version 0.9", id="http-0.9"),
        pytest.param({"status": b"101 Switching"}, [], "status 101", id="101"),
        pytest.param({"status": b"099 X"}, [LENGTH], "status 99", id="99"),
        pytest.param({}, [LENGTH, b"Transfer-Encoding: chunked"], "in one reply", id="both"),
        pytest.param(
            {"version": "1.0"}, [b"Transfer-Encoding: chunked"], "HTTP/1.0", id="chunked-1.0"
        ),
        pytest.param(
            {},
            [b"Transfer-Encoding: gzip", b"transfer-encoding: chunked"],
            "not exactly one chunked",
            id="codings-in-two-lines",
        ),
        pytest.param(
            {},
            [b"Transfer-Encoding: chunked"] * 2,
            "not exactly one chunked",
            id="chunked-in-two-lines",
        ),
    ],
)
def test_bad_reply(options, lines, message):
    with pytest.raises(BadReply, match=message):
        reply(*lines, **options)


@pytest.mark.parametrize(
    ("lines", "options", "expected"),
    [
        pytest.param([LENGTH], {}, True, id="length"),
        pytest.param([LENGTH, b"X-A: b"], {"status": b"404 N"}, True, id="404"),
        pytest.param([], {"status": b"204 N"}, True, id="204"),
        pytest.param([], {}, False, id="until-close"),
        pytest.param([b"Transfer-Encoding: chunked"], {}, False, id="chunked"),
        pytest.param([LENGTH, b"Trailer: X"], {}, False, id="trailer"),
        pytest.param([LENGTH, b"Connection: close"], {}, False, id="close"),
        pytest.param([LENGTH, b"Connection: x-a", b"X-A: b"], {}, False, id="named-in-connection"),
        pytest.param([LENGTH, b"Keep-Alive: timeout=5"], {}, False, id="hop-by-hop"),
        pytest.param([LENGTH, b"Proxy-Connection: close"], {}, False, id="proxy-connection"),
        pytest.param([LENGTH, b"Location: /a"], {}, False, id="location"),
        pytest.param([LENGTH, b"Connection: keep-alive"], {"version": "1.0"}, False, id="1.0"),
    ],
)
def test_is_ordinary(lines, options, expected):
    """Then the same bytes with another length need not be read again."""
    assert reply(*lines, **options).is_ordinary() is expected


SSE = b"Content-Type: text/event-stream; charset=utf-8"


@pytest.mark.parametrize(
    ("lines", "added"),
    [
        pytest.param([SSE], [b"x-accel-buffering: no"], id="sse"),
        pytest.param([b"content-type: TEXT/Event-Stream"], [b"x-accel-buffering: no"], id="case"),
        pytest.param([SSE, b"X-Accel-Buffering: yes"], [], id="the-servers-own"),
        pytest.param([b"Content-Type: application/json"], [], id="json"),
        pytest.param([], [], id="no-type"),
    ],
)
def test_events_are_not_buffered(lines, added):
    head = reply(b"Transfer-Encoding: chunked", *lines)
    assert head.is_event_stream is any(b"vent-" in line.lower() for line in lines[:1])
    assert rendered(head)[1:] == [b"Transfer-Encoding: chunked", *lines, *added]


def test_connection_for_the_client():
    head = reply(LENGTH, b"Connection: close", b"X: 1")
    assert rendered(head, connection=b"keep-alive")[1:] == [
        LENGTH,
        b"X: 1",
        b"connection: keep-alive",
    ]


def test_unwrapped_for_http_1_0():
    head = reply(b"Transfer-Encoding: chunked", b"Trailer: X-Sum", SSE)
    assert rendered(head, unwrapped=True, connection=b"close") == [
        b"HTTP/1.1 200 OK",
        SSE,
        b"x-accel-buffering: no",
        b"connection: close",
    ]


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        pytest.param(b"http://server:8000/v1/models?a", b"/v1/models?a", id="the-servers-own"),
        pytest.param(b"https://server:8000/v1", b"/v1", id="https"),
        pytest.param(b"http://server:8000", b"/", id="no-path"),
        pytest.param(b"http://server:8000?a=b", b"/?a=b", id="query-only"),
        pytest.param(b"http://server:8000//evil/a", b"/.//evil/a", id="no-other-host"),
        pytest.param(b"http://server:8000/\\evil", b"/./\\evil", id="no-backslash"),
        pytest.param(b"http://server:8000/\t/evil", b"/.//evil", id="no-tab"),
        pytest.param(b"http://server:8000?//evil", b"/?//evil", id="slashes-in-a-query"),
        pytest.param(b"http://server:80001/v1", b"http://server:80001/v1", id="other-port"),
        pytest.param(b"http://other/v1", b"http://other/v1", id="other-host"),
        pytest.param(b"/v1/models", b"/v1/models", id="relative"),
        pytest.param(b"http://server:8000.evil/", b"http://server:8000.evil/", id="longer-host"),
    ],
)
@pytest.mark.parametrize("others", [[], [b"Connection: close"]], ids=["raw", "rewritten"])
def test_location(location, expected, others):
    """Clients cannot reach the server's address, so a redirect to it is made relative."""
    head = reply(b"Location: " + location, b"Content-Length: 0", *others, status=b"307 T")
    assert rendered(head) == [b"HTTP/1.1 307 T", b"Location: " + expected, b"Content-Length: 0"]


@pytest.mark.parametrize(
    "line", [b"Location:http://server:8000/a", b"Location: \t http://server:8000/a \t"]
)
def test_location_with_other_white_space(line):
    head = reply(line, b"Content-Length: 0", status=b"307 T")
    assert rendered(head)[1].split(b":", 1)[1].strip() == b"/a"


def test_only_location_is_made_relative():
    """Another field may have the same value, and stays as it is."""
    other = b"X-Origin: http://server:8000/a"
    head = reply(other, b"Location: http://server:8000/a", b"Content-Length: 0", status=b"307 T")
    assert rendered(head)[1:3] == [other, b"Location: /a"]


def test_render_reply():
    fields = [(b"server", b"fastroute")]
    whole = b"HTTP/1.1 404 Not Found\r\nserver: fastroute\r\ncontent-length: 2\r\n\r\n"
    assert render_reply(404, fields, b"{}") == whole + b"{}"
    assert render_reply(404, fields, b"{}", with_body=False) == whole
