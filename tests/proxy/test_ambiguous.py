"""Requests that two parties could read differently are refused; no server gets any of them."""

import pytest

from fastroute.proxy.client import LINGER_S
from tests.support.judge import judge_replies, judge_requests
from tests.support.memory_router import memory_router, own_error
from tests.support.memory_transport import End

GOOD = b"GET /good HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 2\r\n\r\nhi"


def post(*lines: bytes, body: bytes = b"abc") -> bytes:
    return b"\r\n".join((b"POST /x HTTP/1.1", b"Host: a", *lines, b"", body))


def get(line: bytes = b"GET /x HTTP/1.1", *fields: bytes, host: bytes = b"Host: a") -> bytes:
    return b"\r\n".join((line, host, *fields, b"", b""))


def chunked(body: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked", body=body)


LENGTHS = {
    "length-and-chunked": [b"Content-Length: 3", b"Transfer-Encoding: chunked"],
    "chunked-and-length": [b"Transfer-Encoding: chunked", b"Content-Length: 3"],
    "length-twice": [b"Content-Length: 3", b"Content-Length: 3"],
    "lengths-differ": [b"Content-Length: 3", b"content-length: 4"],
    "length-list": [b"Content-Length: 3, 3"],
    "length-plus": [b"Content-Length: +3"],
    "length-negative": [b"Content-Length: -3"],
    "length-hex": [b"Content-Length: 0x3"],
    "length-exponent": [b"Content-Length: 3e0"],
    "length-decimal": [b"Content-Length: 3.0"],
    "length-blank-inside": [b"Content-Length: 1 3"],
    "length-empty": [b"Content-Length:"],
    "length-word": [b"Content-Length: three"],
    "length-overflows": [b"Content-Length: 18446744073709551619"],
    "length-arabic-digits": ["Content-Length: \u0663".encode()],
    "length-and-a-control": [b"Content-Length: 3\x0b"],
    "coding-gzip": [b"Transfer-Encoding: gzip"],
    "coding-gzip-chunked": [b"Transfer-Encoding: gzip, chunked"],
    "coding-chunked-identity": [b"Transfer-Encoding: chunked, identity"],
    "coding-identity": [b"Transfer-Encoding: identity"],
    "coding-chunked-chunked": [b"Transfer-Encoding: chunked, chunked"],
    "coding-comma": [b"Transfer-Encoding: , chunked"],
    "coding-twice": [b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"],
    "coding-twice-differ": [b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked"],
    "coding-empty": [b"Transfer-Encoding:"],
    "coding-prefix": [b"Transfer-Encoding: xchunked"],
    "coding-quoted": [b'Transfer-Encoding: "chunked"'],
    "coding-parameter": [b"Transfer-Encoding: chunked;q=1"],
    "coding-and-a-control": [b"Transfer-Encoding: \x0bchunked"],
    "coding-folded": [b"Transfer-Encoding:", b" chunked"],
    "coding-space-before-colon": [b"Transfer-Encoding : chunked"],
    "coding-tab-before-colon": [b"Transfer-Encoding\t: chunked"],
    "length-behind-a-leading-blank": [b" Content-Length: 3"],
}
CHUNKS = {
    "size-hex-prefix": b"0x3\r\nabc\r\n0\r\n\r\n",
    "size-plus": b"+3\r\nabc\r\n0\r\n\r\n",
    "size-negative": b"-3\r\nabc\r\n0\r\n\r\n",
    "size-blank-before": b" 3\r\nabc\r\n0\r\n\r\n",
    "size-blank-behind": b"3 \r\nabc\r\n0\r\n\r\n",
    "size-tab-behind": b"3\t\r\nabc\r\n0\r\n\r\n",
    "size-empty": b"\r\nabc\r\n0\r\n\r\n",
    "size-only-an-extension": b";a=b\r\nabc\r\n0\r\n\r\n",
    "size-no-digit": b"g\r\nabc\r\n0\r\n\r\n",
    "size-underscore": b"0_3\r\nabc\r\n0\r\n\r\n",
    "size-overflows": b"10000000000000003\r\nabc\r\n0\r\n\r\n",
    "size-line-feed": b"3\nabc\r\n0\r\n\r\n",
    "size-carriage-return": b"3\rabc\r\n0\r\n\r\n",
    "extension-line-feed": b"3;a\nb\r\nabc\r\n0\r\n\r\n",
    "extension-carriage-return": b"3;a\rb\r\nabc\r\n0\r\n\r\n",
    "extension-nul": b"3;a\0\r\nabc\r\n0\r\n\r\n",
    "data-too-long": b"3\r\nabcd\r\n0\r\n\r\n",
    "data-too-short": b"3\r\nab\r\n0\r\n\r\n",
    "data-line-feed": b"3\r\nabc\n0\r\n\r\n",
    "data-carriage-return": b"3\r\nabc\r0\r\n\r\n",
    "data-no-line-end": b"3\r\nabc0\r\n\r\n",
    "end-line-feeds": b"3\r\nabc\r\n0\n\n",
    "end-line-feed": b"3\r\nabc\r\n0\r\n\n",
    "trailer-without-colon": b"3\r\nabc\r\n0\r\nX\r\n\r\n",
    "trailer-space-before-colon": b"3\r\nabc\r\n0\r\nX : y\r\n\r\n",
    "trailer-folded": b"3\r\nabc\r\n0\r\nX: y\r\n z\r\n\r\n",
    "trailer-length": b"3\r\nabc\r\n0\r\nContent-Length: 3\r\n\r\n",
    "trailer-coding": b"3\r\nabc\r\n0\r\nTransfer-Encoding: gzip\r\n\r\n",
}
HEADS = {
    "no-host": b"GET /x HTTP/1.1\r\nX: y\r\n\r\n",
    "no-field-at-all": b"GET /x HTTP/1.1\r\n\r\n",
    "two-hosts": get(b"GET /x HTTP/1.1", b"Host: a"),
    "two-hosts-differ": get(b"GET /x HTTP/1.1", b"Host: b"),
    "host-with-path": get(host=b"Host: a/b"),
    "host-with-user": get(host=b"Host: u@a"),
    "host-list": get(host=b"Host: a, b"),
    "host-with-blank": get(host=b"Host: a b"),
    "host-with-word-port": get(host=b"Host: a:b"),
    "host-space-before-colon": get(host=b"Host : a"),
    "fragment": get(b"GET /x#y HTTP/1.1"),
    "target-with-blank": get(b"GET /x y HTTP/1.1"),
    "target-with-tab": get(b"GET /x\ty HTTP/1.1"),
    "target-not-ascii": get(b"GET /\xc3\xa4 HTTP/1.1"),
    "target-with-nul": get(b"GET /\0 HTTP/1.1"),
    "target-relative": get(b"GET x HTTP/1.1"),
    "target-other-host": get(b"GET http://b/x HTTP/1.1"),
    "target-other-port": get(b"GET http://a:81/x HTTP/1.1"),
    "target-no-host": get(b"GET http:///x HTTP/1.1"),
    "target-only-a-port": get(b"GET http://:80/x HTTP/1.1"),
    "target-empty-host-field": get(b"GET http://a/x HTTP/1.1", host=b"Host:"),
    "target-missing": get(b"GET HTTP/1.1"),
    "target-asterisk": get(b"GET * HTTP/1.1"),
    "target-other-scheme": get(b"GET ftp://a/x HTTP/1.1"),
    "target-with-user": get(b"GET http://u@a/x HTTP/1.1"),
    "target-authority": get(b"GET a:80 HTTP/1.1"),
    "blank-behind-version": get(b"GET /x HTTP/1.1 "),
    "blanks-behind-method": get(b"GET  /x HTTP/1.1"),
    "blanks-behind-target": get(b"GET /x  HTTP/1.1"),
    "blanks-and-upgrade": get(b"GET  /x HTTP/1.1", b"Connection: upgrade", b"Upgrade: h2c"),
    "rtsp": get(b"GET /x RTSP/1.0"),
    "rtsp-1.1": get(b"OPTIONS * RTSP/1.1"),
    "rtsp-describe": get(b"DESCRIBE rtsp://a/x RTSP/1.0"),
    "rtsp-as-in-real-life": b"OPTIONS rtsp://a/x RTSP/1.0\r\nCSeq: 1\r\n\r\n",
    "icecast": get(b"SOURCE /x ICE/1.0"),
    "proxy-protocol": b"PROXY TCP4 192.0.2.1 192.0.2.2 5 80\r\n" + get(b"GET /x HTTP/1.1"),
    "proxy-protocol-unknown": b"PROXY UNKNOWN\r\n" + get(b"GET /x HTTP/1.1"),
    "proxy-protocol-2": b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0" + get(b"GET /x HTTP/1.1"),
    "blank-first": get(b" GET /x HTTP/1.1"),
    "http-1.2": get(b"GET /x HTTP/1.2"),
    "http-2.0": get(b"GET /x HTTP/2.0"),
    "http-3.0": get(b"GET /x HTTP/3.0"),
    "http-0.9": get(b"GET /x HTTP/0.9"),
    "http-0.9-simple": b"GET /x\r\n\r\n",
    "http-1": get(b"GET /x HTTP/1"),
    "http-1.10": get(b"GET /x HTTP/1.10"),
    "http-lower-case": get(b"GET /x http/1.1"),
    "http-2-preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "http-2.0-with-upgrade": get(b"GET /x HTTP/2.0", b"Connection: upgrade", b"Upgrade: h2c"),
    "http-0.9-with-upgrade": get(b"GET /x HTTP/0.9", b"Connection: upgrade", b"Upgrade: h2c"),
    "tls-hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "method-lower-case": get(b"get /x HTTP/1.1"),
    "method-unknown": get(b"FETCH /x HTTP/1.1"),
    "method-with-a-byte-behind": get(b"GETT /x HTTP/1.1"),
    "line-feeds": b"GET /x HTTP/1.1\nHost: a\n\n",
    "line-feed-behind-version": b"GET /x HTTP/1.1\nHost: a\r\n\r\n",
    "line-feed-behind-a-field": b"GET /x HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
    "line-feed-at-the-end": b"GET /x HTTP/1.1\r\nHost: a\r\n\n",
    "line-feed-in-a-value": get(b"GET /x HTTP/1.1", b"X: y\nContent-Length: 3"),
    "carriage-return-in-a-value": get(b"GET /x HTTP/1.1", b"X: y\rz"),
    "carriage-return-behind-a-field": b"GET /x HTTP/1.1\r\nHost: a\rX: y\r\n\r\n",
    "nul-in-a-value": get(b"GET /x HTTP/1.1", b"X: \0"),
    "control-in-a-value": get(b"GET /x HTTP/1.1", b"X: \x01"),
    "delete-in-a-value": get(b"GET /x HTTP/1.1", b"X: \x7f"),
    "nul-in-a-name": get(b"GET /x HTTP/1.1", b"X\0: y"),
    "blank-in-a-name": get(b"GET /x HTTP/1.1", b"X Y: z"),
    "parenthesis-in-a-name": get(b"GET /x HTTP/1.1", b"X(: y"),
    "umlaut-in-a-name": get(b"GET /x HTTP/1.1", b"X\xc3\xa4: y"),
    "space-before-colon": get(b"GET /x HTTP/1.1", b"X : y"),
    "no-colon": get(b"GET /x HTTP/1.1", b"X"),
    "no-name": get(b"GET /x HTTP/1.1", b": y"),
    "folded": get(b"GET /x HTTP/1.1", b"X: y", b" z"),
    "folded-with-tab": get(b"GET /x HTTP/1.1", b"X: y", b"\tz"),
    "first-field-folded": b"GET /x HTTP/1.1\r\n Host: a\r\n\r\n",
    "chunked-in-http-1.0": post(b"Transfer-Encoding: chunked", body=b"0\r\n\r\n").replace(
        b"1.1", b"1.0"
    ),
    "chunked-and-length-in-http-1.0": post(
        b"Transfer-Encoding: chunked", b"Content-Length: 5", body=b"0\r\n\r\n"
    ).replace(b"1.1", b"1.0"),
}
AMBIGUOUS = [
    *(pytest.param(post(*lines), id=name) for name, lines in LENGTHS.items()),
    *(pytest.param(chunked(body), id=f"chunk-{name}") for name, body in CHUNKS.items()),
    *(pytest.param(data, id=name) for name, data in HEADS.items()),
]


@pytest.mark.parametrize("data", AMBIGUOUS)
def test_refused(data):
    """400 and closed, whole and split at every point; what follows it is not looked at."""
    with memory_router() as router:
        upstream = router.pool.ready()
        for split in range(len(data)):
            client = router.client()
            client.feed(data[:split], data[split:], GOOD)
            assert own_error(client)[0] == 400, split
            assert b"\r\nconnection: close\r\n" in client.written()
            assert client.wrote_eof
            assert client.protocol in router.state.clients
            router.sweep(LINGER_S)
            assert client.end is End.ABORTED
            client.settle()
        assert not upstream.writes
        assert router.state.cells.process.requests_refused[0] == len(data)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("blanks-behind-method", "several spaces"),
        ("blanks-and-upgrade", "several spaces"),
        ("rtsp", "the protocol is RTSP/1.0"),
        ("rtsp-describe", "the protocol is RTSP/1.0"),
        ("icecast", "the protocol is ICE/1.0"),
        ("proxy-protocol", "the PROXY protocol"),
        ("proxy-protocol-2", "the PROXY protocol (version 2)"),
        ("tls-hello", "a TLS handshake"),
        ("http-2-preface", "the preface of HTTP/2"),
        ("target-other-host", "the request target names b, but the Host header a"),
        ("target-no-host", "has no host"),
        ("http-0.9-simple", "HTTP version 0.9"),
        ("method-unknown", "not a valid HTTP request: Invalid method"),
    ],
)
def test_the_error_names_what_was_seen(name, text):
    """Whole and byte by byte, also on a connection that has served a request."""
    for pieces in ([HEADS[name]], [HEADS[name][at : at + 1] for at in range(len(HEADS[name]))]):
        for served in (False, True):
            with memory_router() as router:
                client, upstream = router.client(), router.pool.ready()
                if served:
                    client.feed(GOOD)
                    upstream.feed(OK)
                client.feed(*pieces)
                assert text in client.written().decode()


@pytest.mark.parametrize("data", AMBIGUOUS)
def test_refused_behind_a_good_one(data):
    """The good one is served first; then the same."""
    with memory_router() as router:
        client, upstream = router.client(), router.pool.ready()
        client.feed(GOOD + data + GOOD)
        upstream.feed(OK)
        replies = judge_replies(client.written(), [b"GET"] * 3, closed=True)
        assert [reply.status for reply in replies] == [200, 400]
        assert [r.target for r in judge_requests(upstream.written())] == [b"/good"]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(get(host=b"Host:"), id="host-empty"),
        pytest.param(get(b"GET /x HTTP/1.1", b"X:"), id="value-empty"),
        pytest.param(get(b"GET /x HTTP/1.1", b"X: \xe4\xff"), id="value-not-ascii"),
        pytest.param(get(b"GET /x HTTP/1.1", b"X:y \t "), id="white-space-around-a-value"),
        pytest.param(get(b"GET http://a/x HTTP/1.1"), id="absolute-target"),
        pytest.param(b"\r\n\r\n" + get(), id="empty-lines-first"),
        pytest.param(b"GET /x HTTP/1.0\r\n\r\n", id="no-host-in-http-1.0"),
        pytest.param(post(b"Content-Length: 0003"), id="length-leading-zeros"),
        pytest.param(post(b"Content-Length: 3 \t"), id="length-white-space-behind"),
        pytest.param(chunked(b'0003;a="b\\" c";d\r\nabc\r\n0\r\nX: y\r\n\r\n'), id="chunked"),
        pytest.param(post(b"Transfer-Encoding: CHUNKED ", body=b"0\r\n\r\n"), id="coding-case"),
        *(
            pytest.param(post(line, b"X: y\t", body=b"3\r\nabc\r\n0\r\n\r\n"), id=f"coding-{name}")
            for name, line in {
                "blank": b"Transfer-Encoding: chunked ",
                "tab": b"Transfer-Encoding: chunked\t",
                "tabs-around": b"transfer-encoding:\t \tchunked \t ",
                "no-blank-and-a-tab": b"Transfer-Encoding:chunked\t",
            }.items()
        ),
        pytest.param(
            b"\r\n\r\n" + post(b"Transfer-Encoding: chunked\t", body=b"0\r\n\r\n"),
            id="coding-tab-behind-empty-lines",
        ),
        pytest.param(get(b"GET /x HTTP/1.1", b"Transfer_Encoding: x"), id="underscore"),
    ],
)
def test_odd_but_clear(data):
    """Strict is not narrow: these are good HTTP."""
    with memory_router() as router:
        for split in range(len(data)):
            client, upstream = router.client(), router.pool.ready()
            client.feed(data[:split], data[split:])
            assert len(judge_requests(upstream.written())) == 1, client.written()
            client.lose(None)
