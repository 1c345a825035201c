"""Deadlines of client connections, write pauses, and what happens when either side goes."""

import json

import msgspec
import pytest

from fastroute.proxy.client import LINGER_S
from tests.support.memory_router import memory_router, own_error
from tests.support.memory_transport import End

OK = b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 2\r\n\r\nhi"
GET = b"GET /v1/x HTTP/1.1\r\nHost: a\r\n\r\n"
CLOSE = b"GET /v1/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
POST = b"POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"
IDLE, HEADER, BODY = 75.0, 10.0, 30.0
TIMES = {"client_idle_timeout": IDLE, "client_header_timeout": HEADER, "client_body_timeout": BODY}


@pytest.fixture
def router():
    with memory_router(**TIMES, request_timeout=1000.0) as router:
        yield router


@pytest.mark.parametrize(
    ("sent", "seconds", "part"),
    [
        pytest.param(b"", IDLE, None, id="idle"),
        pytest.param(b"\r\n", IDLE, None, id="idle-but-for-a-line-end"),
        pytest.param(GET[:1], HEADER, "headers", id="one-byte"),
        pytest.param(GET[:-1], HEADER, "headers", id="head"),
        pytest.param(POST[:-4], BODY, "body", id="no-body"),
        pytest.param(POST[:-1], BODY, "body", id="body"),
    ],
)
@pytest.mark.parametrize("answered", [0, 2], ids=["fresh", "used"])
def test_what_the_client_owes(router, sent, seconds, part, answered):
    client, upstream = router.client(), router.pool.ready()
    for _ in range(answered):
        client.feed(GET)
        router.sweep(500)
        upstream.feed(OK)
        assert client.take() == OK
    client.feed(sent)
    router.sweep(seconds - 0.1)
    assert client.end is End.OPEN
    assert not client.writes
    router.sweep(0.1)
    if part is None:
        assert client.end is End.CLOSED
        assert not client.writes
    else:
        body = client.written().partition(b"\r\n\r\n")[2]
        assert client.written().startswith(b"HTTP/1.1 408 Request Timeout\r\n")
        assert (
            json.loads(body)["error"]["message"] == f"the request's {part} did not arrive in time"
        )


def test_a_head_must_come_in_time_as_a_whole(router):
    """Bytes now and then do not help it."""
    client = router.client()
    for index in range(9):
        client.feed(GET[index : index + 1])
        router.sweep(HEADER / 9)
    router.sweep(0.5)
    assert client.written().startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("size", [14_000, 16_000], ids=["too-slow", "fast-enough"])
def test_a_body_needs_a_minimum_rate(router, size):
    """500 bytes a second by default, in each 30 s."""
    client = router.client()
    client.feed(POST.replace(b": 4", b": 1000000")[:-4] + bytes(50_000))
    for _ in range(9):
        for _ in range(10):
            router.sweep(BODY / 10)
            client.feed(bytes(size // 10))
        if client.writes:
            break
    router.sweep(0.5)
    assert client.written().startswith(b"HTTP/1.1 408 ") == (size < 15_000)


def test_a_body_may_take_long_if_it_goes_on(router):
    router.state.configure(
        msgspec.structs.replace(
            router.state.configured,
            config=msgspec.structs.replace(router.state.configured.config, client_min_rate=0.0),
        )
    )
    client = router.client()
    client.feed(POST[:-4])
    for byte in (b"b", b"o", b"d"):
        router.sweep(BODY - 1)
        client.feed(byte)
    assert not client.writes
    upstream = router.pool.ready()
    client.feed(b"y")
    assert upstream.written().endswith(b"body")


def test_a_client_that_waits_owes_nothing(router):
    client, upstream = router.client(), router.pool.ready()
    client.feed(GET + POST[:-1])
    for _ in range(10):
        router.sweep(IDLE)
    upstream.feed(OK)
    assert client.take() == OK
    router.sweep(BODY - 0.1)
    assert not client.writes
    router.sweep(0.1)
    assert client.take().startswith(b"HTTP/1.1 408 ")


class TestWritePause:
    def test_the_server_is_not_read(self, router):
        client, upstream = router.client(), router.pool.ready()
        client.feed(GET)
        upstream.feed(OK[:-1])
        client.fill()
        assert not upstream.reading
        client.drain()
        assert upstream.reading
        upstream.feed(OK[-1:])
        assert client.take() == OK

    def test_the_next_request_waits(self, router):
        """Nor is it answered by ourselves: replies would pile up."""
        client, upstream = router.client(), router.pool.ready()
        client.feed(GET)
        client.fill()
        upstream.reading = True
        upstream.feed(OK)
        assert upstream.reading, "a connection goes back to the pool reading"
        upstream.take()
        client.feed(GET)
        assert not upstream.writes
        client.drain()
        assert upstream.writes

    def test_silence_of_the_server_does_not_count(self):
        with memory_router(request_timeout=5.0) as router:
            client, upstream = router.client(), router.pool.ready()
            client.feed(GET)
            upstream.feed(OK[:-1])
            client.fill()
            router.sweep(60)
            assert upstream.end is End.OPEN
            client.drain()
            router.sweep(4.9)
            assert upstream.end is End.OPEN
            router.sweep(0.1)
            assert upstream.end is End.ABORTED

    def test_a_client_that_reads_no_more(self, router):
        client, upstream = router.client(), router.pool.ready()
        client.feed(GET)
        upstream.feed(OK[:-1])
        client.fill()
        router.sweep(IDLE - 0.1)
        assert client.end is End.OPEN
        router.sweep(0.1)
        assert client.end is End.ABORTED
        client.settle()
        assert upstream.end is End.ABORTED
        assert router.count("aborted") == 1

    @pytest.mark.parametrize(
        ("then", "seconds"),
        [
            pytest.param(b"", IDLE, id="idle"),
            pytest.param(GET[:-1], HEADER, id="head"),
            pytest.param(POST[:-1], BODY, id="body"),
        ],
    )
    def test_deadline_after_a_write_pause(self, router, then, seconds):
        """A reply's last write paused and all is sent now: the client owes the same as ever.

        Else a connection that was paused once would stay open for ever.
        """
        client, upstream = router.client(), router.pool.ready()
        client.feed(GET)
        client.fill()
        upstream.reading = True
        upstream.feed(OK)
        client.feed(then)
        client.drain()
        router.sweep(seconds)
        assert client.end is End.CLOSED or client.take().partition(OK)[2].startswith(
            b"HTTP/1.1 408 "
        )

    def test_a_refused_client_after_a_write_pause(self, router):
        client, upstream = router.client(), router.pool.ready()
        client.feed(GET + b"\0")
        client.fill()
        upstream.reading = True
        upstream.feed(OK)
        client.drain()
        assert client.wrote_eof
        client.fill()
        client.drain()
        router.sweep(LINGER_S)
        assert client.end is End.ABORTED

    def test_a_slow_reader_gets_the_end_of_its_answer(self, router):
        """The reply is whole, its end waits for the client to read, and then we close.

        To abort after 2 s would cut off the answer of a client that is merely slow.
        """
        client, upstream = router.client(), router.pool.ready()
        client.feed(CLOSE)
        client.fill()
        upstream.reading = True
        upstream.feed(OK)
        assert client.end is End.CLOSED
        router.sweep(LINGER_S + 1)
        assert client.end is End.CLOSED
        for unsent in (90_000, 50_000, 1):
            client.unsent = unsent
            router.sweep(IDLE)
            assert client.end is End.CLOSED, "it reads slowly, but it reads"
        router.sweep(IDLE)
        assert client.end is End.ABORTED, "but not for ever"


class TestGoing:
    @pytest.mark.parametrize("how", ["fin", "lost"])
    @pytest.mark.parametrize("fed", [b"", b"HTTP", OK[:-1]], ids=["waiting", "head", "body"])
    def test_the_client_goes(self, router, how, fed):
        client, upstream = router.client(), router.pool.ready()
        client.feed(GET + GET)
        upstream.feed(fed)
        if how == "fin":
            client.eof()
            client.settle()
        else:
            client.lose(ConnectionResetError())
        assert upstream.end is End.ABORTED
        assert router.count("aborted") == 1
        assert router.count("started") == 1, "what waited behind is not begun"
        assert not router.state.clients

    def test_eof_behind_a_whole_answer(self, router):
        """The answer may still be on its way: it is not thrown away."""
        client, upstream = router.client(), router.pool.ready()
        client.feed(GET)
        upstream.feed(OK)
        client.eof()
        assert client.written() == OK
        assert client.end is End.CLOSED

    def test_an_idle_client_goes(self, router):
        client = router.client()
        client.eof()
        assert client.end is End.CLOSED
        client.settle()
        assert not router.state.clients


class TestDrain:
    def test_idle(self, router):
        client = router.client()
        client.protocol.drain()
        assert client.end is End.CLOSED

    @pytest.mark.parametrize("sent", [GET[:5], POST[:-1]], ids=["head", "body"])
    def test_a_request_on_its_way_is_served(self, router, sent):
        client, upstream = router.client(), router.pool.ready()
        client.feed(sent)
        router.state.clients.draining = True
        client.protocol.drain()
        client.feed((GET if sent == GET[:5] else POST)[len(sent) :])
        upstream.feed(OK)
        assert b"\r\nconnection: close\r\n" in client.written()
        assert client.end is End.CLOSED

    def test_the_head_is_sent_already(self, router):
        client, upstream = router.client(), router.pool.ready()
        client.feed(GET + GET)
        upstream.feed(OK[:-1])
        router.state.clients.draining = True
        client.protocol.drain()
        assert client.end is End.OPEN
        upstream.feed(OK[-1:])
        assert client.written() == OK
        assert client.end is End.CLOSED
        assert router.count("started") == 1


class TestCut:
    """The worker ends at once: nobody may take what was cut for a whole answer."""

    def test_idle(self, router):
        client = router.client()
        assert not client.protocol.cut()
        assert client.end is End.CLOSED

    def test_no_byte_was_sent(self, router):
        client, upstream = router.client(), router.pool.ready()
        client.feed(GET + GET)
        assert client.protocol.cut()
        assert own_error(client)[0] == 503
        assert client.end is End.CLOSED
        assert upstream.end is End.ABORTED
        assert (router.count("started"), router.count("failed")) == (1, 1)

    def test_in_mid_reply(self, router):
        client, upstream = router.client(), router.pool.ready()
        client.feed(GET)
        upstream.feed(OK[:-1])
        assert client.protocol.cut()
        assert client.written() == OK[:-1]
        assert client.end is End.CLOSED

    def test_in_a_reply_that_ends_with_the_connection(self, router):
        client, upstream = router.client(), router.pool.ready()
        client.feed(GET)
        upstream.feed(b"HTTP/1.1 200 OK\r\nDate: x\r\n\r\nhalf")
        assert client.protocol.cut()
        assert client.end is End.RESET

    def test_a_refused_client(self, router):
        client = router.client()
        client.feed(b"\0")
        assert not client.protocol.cut()
        assert client.end is End.CLOSED
