"""Clients that speak HTTP/1.0, or offer to speak something else."""

import pytest

from tests.support.judge import judge_requests
from tests.support.memory_router import memory_router
from tests.support.memory_transport import End

OK = b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 2\r\n\r\nhi"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nDate: x\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
    b"3;a=b\r\nhel\r\n2\r\nlo\r\n0\r\nX-Sum: 1\r\n\r\n"
)
UNWRAPPED = b"HTTP/1.1 200 OK\r\nDate: x\r\nconnection: close\r\n\r\nhello"


@pytest.fixture
def router():
    with memory_router() as router:
        yield router


class TestHttp10:
    GET = b"GET /v1/x HTTP/1.0\r\n\r\n"
    KEEP_ALIVE = b"GET /v1/x HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"

    def test_the_request(self, router):
        """The server gets HTTP/1.1, with a Host, and nothing of the client's Connection."""
        upstream = router.pool.ready()
        router.client().feed(self.KEEP_ALIVE)
        [request] = judge_requests(upstream.written())
        assert (request.version, request.target) == (b"1.1", b"/v1/x")
        assert request.values(b"host") == [b"server-0:8000"]
        assert not request.values(b"connection")

    @pytest.mark.parametrize("request_", [GET, KEEP_ALIVE], ids=["plain", "keep-alive"])
    def test_chunked_is_unwrapped(self, router, request_):
        """At every split point; the end of the body is the end of the connection."""
        for split in range(len(CHUNKED)):
            client, upstream = router.client(), router.pool.ready()
            client.feed(request_)
            upstream.feed(CHUNKED[:split], CHUNKED[split:])
            assert client.written() == UNWRAPPED, split
            assert client.end is End.CLOSED
            assert router.pool.take_idle(0.0) is upstream.protocol, "this side is as good as new"
            client.settle()

    def test_events_are_not_held_back(self, router):
        client, upstream = router.client(), router.pool.ready()
        client.feed(self.GET)
        upstream.feed(b"HTTP/1.1 200 OK\r\nDate: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.take()
        upstream.feed(b"9\r\ndata: 1\n\n\r\n")
        assert client.take() == b"data: 1\n\n"
        upstream.feed(b"9\r\ndata")
        assert client.take() == b"data"
        upstream.feed(b": 2\n\n\r\n0\r\n\r\n")
        assert client.take() == b": 2\n\n"

    def test_cut_off_while_unwrapping(self, router):
        """The close would be the end of the body, so only a reset tells."""
        client, upstream = router.client(), router.pool.ready()
        client.feed(self.GET)
        upstream.feed(CHUNKED[:-1])
        upstream.eof()
        assert client.end is End.RESET

    def test_length(self, router):
        client, upstream = router.client(), router.pool.ready()
        client.feed(self.GET)
        upstream.feed(OK)
        assert client.written() == OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
        assert client.end is End.CLOSED

    def test_keep_alive(self, router):
        client, upstream = router.client(), router.pool.ready()
        for _ in range(3):
            client.feed(self.KEEP_ALIVE)
            upstream.feed(OK)
            assert client.take() == OK.replace(b"\r\n\r\n", b"\r\nconnection: keep-alive\r\n\r\n")
        assert client.end is End.OPEN
        client.feed(self.GET)
        upstream.feed(OK)
        assert client.end is End.CLOSED

    def test_keep_alive_with_an_own_reply(self, router):
        client = router.client()
        client.feed(self.KEEP_ALIVE.replace(b"/v1/x", b"/fastroute/x"))
        assert b"\r\nconnection: keep-alive\r\n" in client.take()
        client.feed(self.GET.replace(b"/v1/x", b"/fastroute/x"))
        assert b"\r\nconnection: close\r\n" in client.take()
        assert client.end is End.CLOSED

    @pytest.mark.parametrize(
        "reply",
        [
            pytest.param(OK[:-2], id="length"),
            pytest.param(CHUNKED[: CHUNKED.index(b"\r\n\r\n") + 4], id="chunked"),
        ],
    )
    def test_head(self, router, reply):
        """A reply to HEAD has no body, whatever it says; nor may it speak of chunks to 1.0."""
        client, upstream = router.client(), router.pool.ready()
        client.feed(self.KEEP_ALIVE.replace(b"GET", b"HEAD"))
        upstream.feed(reply)
        got = client.take()
        assert got.endswith(b"\r\nconnection: keep-alive\r\n\r\n")
        assert b"transfer-encoding" not in got.lower()
        assert client.end is upstream.end is End.OPEN

    def test_informational_replies_are_not_for_it(self, router):
        client, upstream = router.client(), router.pool.ready()
        client.feed(self.KEEP_ALIVE)
        upstream.feed(b"HTTP/1.1 103 Early Hints\r\n\r\n", OK)
        assert client.written().startswith(b"HTTP/1.1 200 OK\r\n")

    def test_pipelined(self, router):
        """Only the first: without keep-alive the connection ends with it."""
        client, upstream = router.client(), router.pool.ready()
        client.feed(self.GET + self.GET)
        upstream.feed(OK)
        assert client.end is End.CLOSED
        assert len(judge_requests(upstream.written())) == 1


H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n"
PLAIN = b"GET /first HTTP/1.1\r\nHost: a\r\n\r\n"


class TestUpgrade:
    @pytest.mark.parametrize(
        ("request_", "method", "body"),
        [
            pytest.param(
                b"GET /v1/x HTTP/1.1\r\nHost: a\r\n" + H2C + b"\r\n", b"GET", b"", id="get"
            ),
            pytest.param(
                b"POST /v1/x HTTP/1.1\r\nHost: a\r\n" + H2C + b"Content-Length: 5\r\n\r\nhello",
                b"POST",
                b"hello",
                id="post",
            ),
            pytest.param(
                b"POST /v1/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
                + H2C
                + b"\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\nX: y\r\n\r\n",
                b"POST",
                b"hello",
                id="post-chunked",
            ),
            pytest.param(
                b"GET /v1/x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
                b"GET",
                b"",
                id="websocket",
            ),
            pytest.param(
                b"GET /v1/x HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: a\r\n"
                b"Upgrade: b\r\n\r\n",
                b"GET",
                b"",
                id="two-upgrades",
            ),
        ],
    )
    @pytest.mark.parametrize("before", [b"", PLAIN], ids=["alone", "pipelined"])
    def test_ignored(self, router, request_, method, body, before):
        """It is served as if nothing had been offered, split anywhere, and so is what follows."""
        data = before + request_ + PLAIN
        for split in range(len(data)):
            client, upstream = router.client(), router.pool.ready()
            client.feed(data[:split], data[split:])
            for _ in range(3 if before else 2):
                upstream.feed(OK)
            requests = judge_requests(upstream.written())
            assert all(request.whole for request in requests)
            got = [(request.method, request.target, request.body) for request in requests]
            first = [(b"GET", b"/first", b"")]
            assert got == (first if before else []) + [(method, b"/v1/x", body)] + first, split
            for name in (b"connection", b"upgrade", b"http2-settings"):
                assert not requests[-2].values(name)
            assert client.take().count(b"HTTP/1.1 200") == len(requests)
            client.abort()
            client.settle()

    def test_with_http_1_0(self, router):
        """RFC 9110 7.8: an Upgrade in HTTP/1.0 is ignored. The client stays one of HTTP/1.0."""
        client, upstream = router.client(), router.pool.ready()
        client.feed(b"GET /v1/x HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n")
        assert upstream.written()
        upstream.feed(CHUNKED)
        assert client.written() == UNWRAPPED

    @pytest.mark.parametrize(
        "rest", [b"\r\n", b"Content-Length: 5\r\n\r\nhello", b"Connection: upgrade\r\n\r\nrest"]
    )
    def test_connect_is_refused(self, router, rest):
        data = b"CONNECT other:443 HTTP/1.1\r\nHost: other:443\r\n" + rest
        for split in range(len(data)):
            client, upstream = router.client(), router.pool.ready()
            client.feed(data[:split], data[split:])
            assert client.written().startswith(b"HTTP/1.1 405 Method Not Allowed\r\n")
            assert client.written().count(b"HTTP/1.1") == 1
            assert client.wrote_eof
            assert not upstream.written()
