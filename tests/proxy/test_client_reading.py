"""Bytes of clients that wait for a turn of the loop, and those for which there is no memory."""

import pytest

from fastroute.proxy.own_replies import OwnReply
from fastroute.proxy.turns import TURN_S
from tests.support.judge import judge_requests
from tests.support.memory_router import StillLoop, memory_router, own_error
from tests.support.memory_transport import End

MIB = 1 << 20
OK = b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 2\r\n\r\nhi"
GET = b"GET /v1/x HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"


def post(size: int) -> bytes:
    return POST.replace(b": 4", b": %d" % size).replace(b"body", bytes(size))


class TestTurns:
    """Costly bytes wait when the turn of the loop is over; cheap ones never do."""

    LARGE = POST.replace(b": 4", b": 20000").replace(b"body", b"x" * 20000)

    @pytest.fixture(name="router")
    def router_fixture(self):
        loop = StillLoop()
        loop.has_turns = True
        with memory_router(loop) as router:
            router.local[b"/livez"] = lambda: OwnReply(200, b"{}")
            yield router

    def end_turn(self, router):
        router.state.turns.charge(TURN_S)
        assert router.state.turns.is_over

    def test_a_large_read_waits(self, router):
        client, upstream = router.client(), router.pool.ready()
        self.end_turn(router)
        client.feed(self.LARGE)
        assert not client.reading
        assert not upstream.writes
        router.loop.turn()
        assert client.reading
        assert judge_requests(upstream.take())[0].body == b"x" * 20000
        upstream.feed(OK)
        assert client.take() == OK

    def test_a_small_one_does_not(self, router):
        client, upstream = router.client(), router.pool.ready()
        self.end_turn(router)
        client.feed(POST)
        assert upstream.writes
        upstream.feed(OK)
        assert client.reading

    def test_pipelined_own_responses_wait_for_the_next_turn(self, router):
        client, request = router.client(), GET.replace(b"/v1/x", b"/livez")
        self.end_turn(router)
        client.feed(request * 3)
        answers = [client.take().count(b"HTTP/1.1 200")]
        while not client.reading:
            router.loop.turn()
            answers.append(client.take().count(b"HTTP/1.1 200"))
            self.end_turn(router)
        assert answers == [1, 2], "the second turn has time for two"

    def test_order_of_the_bytes(self, router):
        """Requests that wait come before bytes that wait behind them."""
        client, request = router.client(), GET.replace(b"/v1/x", b"/livez")
        upstream = router.pool.ready()
        self.end_turn(router)
        client.feed(request * 3 + POST[:-4])
        router.loop.turn()
        self.end_turn(router)
        router.loop.turn()
        client.feed(POST[-4:])
        assert client.take().count(b"HTTP/1.1 200") == 3
        assert judge_requests(upstream.take())[0].body == b"body"
        upstream.feed(OK)

    @pytest.mark.parametrize("how", ["lose", "drain", "cut"])
    def test_the_end_of_one_that_waits(self, router, how):
        client, request = router.client(), GET.replace(b"/v1/x", b"/livez")
        self.end_turn(router)
        client.feed(request * 3)
        assert not client.reading
        if how == "lose":
            client.lose(None)
        elif how == "drain":
            client.protocol.drain()
            assert client.end is End.OPEN, "its requests are answered first"
        else:
            client.protocol.cut()
            assert client.end is End.CLOSED
            client.settle()
        router.loop.turn()
        router.loop.turn()
        if how == "drain":
            assert client.take().count(b"HTTP/1.1 200") == 3

    def test_the_slowest_is_noted(self, router):
        client, upstream = router.client(), router.pool.ready()
        client.feed(self.LARGE)
        upstream.feed(OK)
        assert router.state.cells.process.slowest_read_us[0] > 0


class TestMemory:
    """`max_buffered_bytes` is for the bodies of all clients of a worker."""

    @pytest.fixture(name="router")
    def router_fixture(self):
        with memory_router(max_buffered_bytes=MIB) as router:
            yield router

    @staticmethod
    def upload(router, size: int, left: int = 1):
        """Send a body in pieces as they are read, but for its last bytes."""
        client, data = router.client(), post(size)
        end = len(data) - left
        for start in range(0, end, 65536):
            client.feed(data[start : min(end, start + 65536)])
        return client

    def test_too_many_bodies(self, router):
        first, second = (self.upload(router, 600_000, left=2) for _ in range(2))
        assert first.end is End.OPEN
        assert not first.writes
        assert own_error(second) == (
            503,
            "too many request bodies are buffered; try again shortly",
        )
        assert b"\r\nretry-after: 1\r\n" in second.written()
        first.feed(b"x")
        assert not first.written().startswith(b"HTTP/1.1 503 "), "it goes on"

    def test_small_ones_still_pass(self, router):
        self.upload(router, 1_000_000)
        self.upload(router, 60_000)
        upstream = router.pool.ready()
        small = self.upload(router, 60_000, left=0)
        assert judge_requests(upstream.take())[0].whole
        upstream.feed(OK)
        assert small.take() == OK

    def test_a_large_one_in_one_read(self, router):
        self.upload(router, 1_000_000)
        router.sweep()
        client = router.client()
        client.feed(post(100_000))
        assert own_error(client)[0] == 503

    @pytest.mark.parametrize("end", ["client", "answer", "timeout"])
    def test_the_memory_is_free_again(self, router, end):
        upstream = router.pool.ready()
        client = self.upload(router, 900_000, left=0 if end == "answer" else 1)
        if end == "answer":
            router.sweep()
            assert 900_000 <= router.state.buffered < 901_000, "a retry would need it"
            upstream.feed(OK[:-1])
        elif end == "client":
            client.lose(None)
        else:
            router.sweep(31)
        router.sweep()
        assert router.state.buffered == 0
        other = self.upload(router, 900_000)
        assert not other.writes
        if end == "answer":
            upstream.feed(OK[-1:])

    def test_pipelined_bodies_count(self, router):
        upstream, client = router.pool.ready(), router.client()
        client.feed(POST)
        client.feed(post(300_000))
        router.sweep()
        assert router.state.buffered > 300_000
        for _ in range(2):
            upstream.feed(OK)
        router.sweep()
        assert router.state.buffered == 0

    def test_requests_before_the_refused_one_are_answered(self, router):
        upstream, client = router.pool.ready(), router.client()
        self.upload(router, 1_000_000)
        router.sweep()
        client.feed(POST)
        client.feed(post(100_000))
        assert not client.writes
        upstream.feed(OK)
        assert client.written().startswith(OK + b"HTTP/1.1 503 ")
