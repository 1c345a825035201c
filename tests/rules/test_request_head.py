import pytest

from fastroute.errors import BadRequest
from fastroute.rules.framing import Body
from fastroute.rules.request_head import RequestHead, without_upgrade

HOST = (b"Host", b"fastroute:8888")
LENGTH = (b"Content-Length", b"2")
ADDED = [
    b"X-Forwarded-For: 192.0.2.7",
    b"X-Forwarded-Proto: http",
    b"X-Forwarded-Host: fastroute:8888",
    b"Via: 1.1 fastroute",
    b"X-Request-Id: id-1",
]


def head(*fields, method=b"POST", target=b"/v1/x", version="1.1"):
    return RequestHead(method, target, version, fields)


def lines(request: RequestHead, body_length: int = 2) -> list[bytes]:
    """The head as a server gets it, checked as to its form."""
    rendered = request.render(b"server:8000", None, b"192.0.2.7", b"id-1", body_length)
    assert rendered.endswith(b"\r\n\r\n")
    return rendered[:-4].split(b"\r\n")


def test_request_head_whole():
    request = head(
        (b"Host", b"fastroute:8888"),
        (b"User-Agent", b"OpenAI/Python"),
        (b"content-length", b"2"),
        (b"X-Odd!#$", b"\xe4 \xff"),
    )
    first, *rest = lines(request)
    assert first == b"POST /v1/x HTTP/1.1"
    assert rest[:3] == [b"Host: server:8000", b"User-Agent: OpenAI/Python", b"X-Odd!#$: \xe4 \xff"]
    assert sorted(rest[3:]) == sorted([*ADDED, b"Content-Length: 2"])
    assert (request.method, request.target) == (b"POST", b"/v1/x")
    assert request.body is Body.LENGTH
    assert request.keep_alive
    assert not request.http_1_0
    assert not request.expects_continue
    assert request.request_id is None


def test_a_field_that_is_only_passed_on():
    request = head(HOST, (b"If-None-Match", b'"a"'), (b"IF-NONE-MATCH", b'"b"'), LENGTH)
    assert request.field(b"if-none-match") == b'"a"'
    assert request.field(b"if-match") is None


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        pytest.param([(b"Connection", b"close")], [], id="connection"),
        pytest.param([(b"Keep-Alive", b"timeout=5")], [], id="keep-alive"),
        pytest.param([(b"Proxy-Connection", b"keep-alive")], [], id="proxy-connection"),
        pytest.param([(b"TE", b"trailers")], [], id="te"),
        pytest.param([(b"Trailer", b"X-Sum")], [], id="trailer"),
        pytest.param([(b"Upgrade", b"h2c"), (b"HTTP2-Settings", b"AA")], [], id="upgrade"),
        pytest.param([(b"Expect", b"100-continue")], [], id="expect"),
        pytest.param(
            [(b"Connection", b"x-a, X-B"), (b"X-A", b"1"), (b"x-b", b"2"), (b"x-c", b"3")],
            [b"x-c: 3"],
            id="named-in-connection",
        ),
        pytest.param(
            [(b"X-A", b"1"), (b"Connection", b"close"), (b"Connection", b" ,x-a,,")],
            [],
            id="named-in-a-second-connection",
        ),
        pytest.param(
            [(b"X-A", b"1"), (b"X-A", b"2"), (b"Connection", b"x-a")], [], id="named-twice"
        ),
        pytest.param([(b"X-A", b"1"), (b"x-a", b"2")], [b"X-A: 1", b"x-a: 2"], id="repeated"),
        pytest.param([(b"X-A", b"")], [b"X-A: "], id="empty"),
        pytest.param([(b"X-A", b" b ")], [b"X-A:  b "], id="spaces-stay"),
        pytest.param([(b"Close", b"1")], [b"Close: 1"], id="field-called-close"),
    ],
)
def test_request_fields(fields, kept):
    """What is kept keeps its order, and is followed by what we add."""
    got = lines(head(HOST, LENGTH, *fields))[2:]
    assert got[: len(kept)] == kept
    assert sorted(got[len(kept) :]) == sorted([*ADDED, b"Content-Length: 2"])


@pytest.mark.parametrize(
    ("field", "line"),
    [
        pytest.param((b"Host", b"h"), b"Host: server:8000", id="host"),
        pytest.param((b"Content-Length", b"2"), b"Content-Length: 2", id="content-length"),
    ],
)
def test_connection_cannot_take_what_decides_framing_or_way(field, line):
    fields = {b"Host": b"h", b"Content-Length": b"2"} | {field[0]: field[1]}
    request = head(*fields.items(), (b"Connection", field[0].lower() + b", transfer-encoding"))
    assert line in lines(request)


def test_connection_cannot_take_the_chunked_coding():
    request = head(HOST, (b"Transfer-Encoding", b"chunked"), (b"Connection", b"Transfer-Encoding"))
    assert request.body is Body.CHUNKED


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param([(b"X-Forwarded-For", b"a")], b"X-Forwarded-For: a, 192.0.2.7", id="for"),
        pytest.param(
            [(b"X-Forwarded-For", b"a"), (b"x-forwarded-for", b"b ")],
            b"X-Forwarded-For: a, b, 192.0.2.7",
            id="for-twice",
        ),
        pytest.param([(b"X-Forwarded-Proto", b"https")], b"X-Forwarded-Proto: https", id="proto"),
        pytest.param([(b"X-Forwarded-Host", b"api")], b"X-Forwarded-Host: api", id="host"),
        pytest.param([(b"Via", b"1.0 p")], b"Via: 1.0 p, 1.1 fastroute", id="via"),
        pytest.param([(b"X-Request-Id", b"mine")], b"X-Request-Id: id-1", id="id-is-the-callers"),
        pytest.param(
            [(b"X-Forwarded-For", b"a"), (b"Connection", b"x-forwarded-for")],
            b"X-Forwarded-For: 192.0.2.7",
            id="for-named-in-connection",
        ),
    ],
)
def test_forwarding_fields(fields, expected):
    got = lines(head(HOST, LENGTH, *fields))
    name = expected.partition(b":")[0].lower()
    assert [line for line in got if line.partition(b":")[0].lower() == name] == [expected]


@pytest.mark.parametrize(
    ("clients", "servers", "expected"),
    [
        pytest.param(
            [(b"AUTHORIZATION", b"Bearer a ")], None, [b"Authorization: Bearer a"], id="clients"
        ),
        pytest.param(
            [(b"authorization", b"a")], b"Bearer s", [b"Authorization: Bearer s"], id="replaced"
        ),
        pytest.param([], b"Bearer s", [b"Authorization: Bearer s"], id="servers"),
        pytest.param([], None, [], id="none"),
        pytest.param(
            [(b"Connection", b"authorization"), (b"Authorization", b"a")], None, [], id="named"
        ),
    ],
)
def test_authorization(clients, servers, expected):
    request = head(HOST, LENGTH, *clients)
    rendered = request.render(b"server:8000", servers, b"192.0.2.7", b"id-1", 2)
    got = [line for line in rendered.split(b"\r\n") if line.lower().startswith(b"authorization")]
    assert got == expected


def test_rendered_for_others():
    """A head may be rendered many times, for other servers and clients: nothing is mixed up."""
    request = head(HOST, LENGTH, (b"Authorization", b"mine"))
    seen = {}
    for server in (b"a", b"b"):
        for key in (None, b"key"):
            for client in [b"%d" % number for number in range(100)]:
                for number in (1, 2):
                    raw = request.render(server, key, client, b"id-%d" % number, number)
                    seen[server, key, client, number] = raw
                    for line in (
                        b"Host: " + server,
                        b"Authorization: " + (key or b"mine"),
                        b"X-Forwarded-For: " + client,
                        b"X-Request-Id: id-%d" % number,
                        b"Content-Length: %d" % number,
                    ):
                        assert b"\r\n%b\r\n" % line in raw
    assert len(set(seen.values())) == len(seen)


@pytest.mark.parametrize(
    ("fields", "options", "expected"),
    [
        pytest.param([], {}, True, id="plain"),
        pytest.param([LENGTH], {}, True, id="length"),
        pytest.param([(b"Transfer-Encoding", b"chunked")], {}, False, id="chunked"),
        pytest.param([(b"Connection", b"close")], {}, False, id="close"),
        pytest.param([(b"Connection", b"keep-alive")], {"version": "1.0"}, False, id="http-1.0"),
        pytest.param([LENGTH, (b"Expect", b"100-continue")], {}, False, id="expects-continue"),
    ],
)
def test_is_ordinary(fields, options, expected):
    """Then the same bytes with another length are as good, and need not be read again."""
    assert head(HOST, *fields, **options).is_ordinary() is expected


def test_content_type_is_noted_and_copied():
    request = head(HOST, LENGTH, (b"content-Type", b"application/json "))
    assert request.content_type == b"application/json"
    assert b"content-Type: application/json " in lines(request)
    assert head(HOST).content_type is None


def test_request_id_of_the_client():
    assert head(HOST, (b"x-request-id", b"mine ")).request_id == b"mine"


@pytest.mark.parametrize(
    ("fields", "body_length", "expected"),
    [
        pytest.param([], 0, [], id="none"),
        pytest.param([(b"Content-Length", b"0")], 0, [b"Content-Length: 0"], id="zero"),
        pytest.param([(b"Content-Length", b"0012")], 12, [b"Content-Length: 12"], id="zeros"),
        pytest.param([(b"Transfer-Encoding", b"chunked")], 7, [b"Content-Length: 7"], id="chunked"),
    ],
)
def test_request_length(fields, body_length, expected):
    got = lines(head(HOST, *fields), body_length)
    named = (b"content-length", b"transfer-encoding")
    assert [line for line in got if line.lower().startswith(named)] == expected


@pytest.mark.parametrize(
    ("method", "target", "expected", "forwarded_host"),
    [
        pytest.param(b"GET", b"/", b"/", b"fastroute:8888", id="root"),
        pytest.param(b"GET", b"/a?b=%20&c#"[:-1], b"/a?b=%20&c", b"fastroute:8888", id="query"),
        pytest.param(b"GET", b"//a/../b", b"//a/../b", b"fastroute:8888", id="not-normalised"),
        pytest.param(b"OPTIONS", b"*", b"*", b"fastroute:8888", id="asterisk"),
        pytest.param(b"GET", b"http://fastroute:8888/a?b", b"/a?b", HOST[1], id="absolute"),
        pytest.param(
            b"GET", b"HTTPS://Fastroute:8888/a", b"/a", b"Fastroute:8888", id="absolute-any-case"
        ),
        pytest.param(b"GET", b"http://fastroute:8888", b"/", HOST[1], id="absolute-no-path"),
        pytest.param(
            b"GET", b"http://fastroute:8888?a/b", b"/?a/b", HOST[1], id="absolute-query-only"
        ),
        pytest.param(
            b"GET",
            b"http://fastroute:8888/?a=http://b",
            b"/?a=http://b",
            HOST[1],
            id="uri-in-query",
        ),
        pytest.param(b"GET", b"/http://u", b"/http://u", b"fastroute:8888", id="uri-in-path"),
    ],
)
def test_target(method, target, expected, forwarded_host):
    request = head(HOST, method=method, target=target)
    assert request.target == expected
    got = lines(request)
    assert got[:2] == [method + b" " + expected + b" HTTP/1.1", b"Host: server:8000"]
    assert b"X-Forwarded-Host: " + forwarded_host in got


@pytest.mark.parametrize(
    ("target", "host"),
    [
        pytest.param(b"http://a/x", b"a", id="same"),
        pytest.param(b"http://A/x", b"a", id="any-case"),
        pytest.param(b"http://a:80/x", b"a", id="usual-port-in-target"),
        pytest.param(b"http://a/x", b"a:80", id="usual-port-in-host"),
        pytest.param(b"https://a/x", b"a:443", id="usual-port-of-https"),
        pytest.param(b"http://a:/x", b"a", id="empty-port"),
        pytest.param(b"http://[::1]:81/x", b"[::1]:81", id="ipv6"),
    ],
)
def test_absolute_target_of_the_same_host(target, host):
    assert head((b"Host", host), target=target).target == b"/x"


def test_via_of_a_marked_router():
    fields = [HOST, (b"Via", b"1.0 p")]
    request = RequestHead(b"GET", b"/", "1.1", fields, b"fastroute-a1b2")
    assert b"Via: 1.0 p, 1.1 fastroute-a1b2" in lines(request)
    fields.append((b"via", b"1.1 fastroute-a1b2"))
    with pytest.raises(BadRequest, match="passed this router before") as refused:
        RequestHead(b"GET", b"/", "1.1", fields, b"fastroute-a1b2")
    assert refused.value.status == 508


def test_http_1_0():
    request = RequestHead(b"GET", b"/", "1.0", [])
    assert request.http_1_0
    assert not request.keep_alive
    assert lines(request)[0] == b"GET / HTTP/1.1"
    assert not any(line.startswith(b"X-Forwarded-Host") for line in lines(request))
    assert RequestHead(b"GET", b"/", "1.0", [(b"Connection", b"Keep-Alive")]).keep_alive


def test_close():
    assert not head(HOST, (b"Connection", b"x, Close")).keep_alive


@pytest.mark.parametrize(
    ("version", "value", "expected"),
    [
        pytest.param("1.1", b"100-continue", True, id="asked"),
        pytest.param("1.1", b"100-Continue ", True, id="any-case"),
        pytest.param("1.1", b"something", False, id="other"),
        pytest.param("1.0", b"100-continue", False, id="http-1.0-must-be-ignored"),
    ],
)
def test_expects_continue(version, value, expected):
    assert head(HOST, LENGTH, (b"Expect", value), version=version).expects_continue is expected


@pytest.mark.parametrize(
    ("options", "fields", "message"),
    [
        pytest.param({"version": "2.0"}, [HOST], "version 2.0", id="http-2.0"),
        pytest.param({"version": "0.9"}, [], "version 0.9", id="http-0.9"),
        pytest.param({}, [], "Host header is missing", id="no-host"),
        pytest.param({}, [HOST, HOST], "more than one Host", id="two-hosts"),
        pytest.param({"version": "1.0"}, [HOST, HOST], "more than one", id="two-hosts-http-1.0"),
        pytest.param({}, [(b"Host", b"a/b")], "not a host name", id="bad-host"),
        pytest.param({"version": "1.0"}, [(b"Host", b"a b")], "not a host", id="bad-host-1.0"),
        pytest.param(
            {}, [HOST, (b"Authorization", b"a"), (b"authorization", b"b")],
            "more than one authorization", id="authorizations",
        ),
        pytest.param({}, [HOST, LENGTH, LENGTH], "more than one Content-Length", id="lengths"),
        pytest.param(
            {}, [HOST, (b"TE", b"a"), *[(b"Transfer-Encoding", b"chunked")] * 2],
            "more than one Transfer-Encoding", id="codings",
        ),
        pytest.param(
            {}, [HOST, LENGTH, (b"Transfer-Encoding", b"chunked")], "exclude", id="both-lengths"
        ),
        pytest.param({"target": b"/a#b"}, [HOST], "fragment", id="fragment"),
        pytest.param({"target": b"http://a/#b"}, [HOST], "fragment", id="fragment-absolute"),
        pytest.param({"target": b"a"}, [HOST], "must be a path", id="relative"),
        pytest.param({"target": b"*"}, [HOST], "must be a path", id="asterisk-not-options"),
        pytest.param({"target": b"ftp://a/"}, [HOST], "must be a path", id="scheme"),
        pytest.param({"target": b"://a/"}, [HOST], "must be a path", id="no-scheme"),
        pytest.param({"target": b""}, [HOST], "must be a path", id="empty"),
        pytest.param({"target": b"a:1"}, [HOST], "must be a path", id="authority-form"),
        pytest.param({"target": b"http:///a"}, [HOST], "has no host", id="no-authority"),
        pytest.param({"target": b"http://:80/a"}, [HOST], "has no host", id="only-a-port"),
        pytest.param(
            {"target": b"http://a/b"}, [HOST], "names a, but the Host header fastroute:8888",
            id="another-host",
        ),
        pytest.param({"target": b"http://a:81/"}, [(b"Host", b"a")], "names a:81", id="port"),
        pytest.param({"target": b"https://a:80/"}, [(b"Host", b"a")], "names a:80", id="http-port"),
        pytest.param({"target": b"http://a/"}, [(b"Host", b"")], "names a, but", id="empty-host"),
        pytest.param(
            {"target": b"http://a/", "version": "1.0"}, [(b"Host", b"b")], "names a, but",
            id="another-host-http-1.0",
        ),
        pytest.param({"target": b"http://u@h/a"}, [HOST], "authority", id="userinfo"),
        pytest.param({"target": b"http://"}, [HOST], "has no host", id="scheme-only"),
    ],
)  # fmt: skip
def test_request_refused(options, fields, message):
    with pytest.raises(BadRequest, match=message) as refused:
        head(*fields, **options)
    assert refused.value.status == 400


def test_without_upgrade():
    fields = [(b"Host", b"a"), (b"UPGRADE", b"h2c"), (b"X", b"y"), (b"upgrade", b"z")]
    expected = b"POST /x HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n"
    assert without_upgrade(b"POST", b"/x", "1.1", fields) == expected
