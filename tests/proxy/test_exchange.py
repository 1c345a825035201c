"""Connecting to a server, and what is tried again when it fails before it answers."""

import asyncio
import errno
import os

import pytest

from fastroute.rules.evidence import Event
from tests.support.counts import counts
from tests.support.judge import judge_replies, judge_requests
from tests.support.memory_router import memory_router, own_error
from tests.support.memory_transport import End
from tests.support.standins import until

GET = b"GET /v1/x HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"
GENERATE = POST.replace(b"/v1/x", b"/v1/completions")
OK = b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 2\r\n\r\nhi"
CHUNKED = b"HTTP/1.1 200 OK\r\nDate: x\r\nTransfer-Encoding: chunked\r\n\r\n"


def started(**options):
    """A data plane on the running loop; what it would tell the supervisor is kept."""
    return memory_router(asyncio.get_running_loop(), **options)


@pytest.fixture
async def router():
    with started() as router:
        yield router


@pytest.fixture
async def two():
    """Two servers; the first is the one to be chosen, as the other has more to do."""
    with started(servers=2) as router:
        router.table.servers.foreign_milli[1] = 1000
        router.observed = router.link.observed
        yield router


class TestConnecting:
    async def test_no_connection_at_hand(self, router):
        client = router.client()
        client.feed(POST)
        upstream = await router.asked()
        [request] = judge_requests(upstream.written())
        assert request.body == b"body"
        upstream.feed(OK)
        assert client.written() == OK
        assert (router.count("connections_new"), router.count("connections_reused")) == (1, 0)
        client.feed(GET)
        upstream.feed(OK)
        assert (router.count("connections_new"), router.count("connections_reused")) == (1, 1)

    async def test_another_server_is_asked(self, two, caplog):
        two.pools[0].failures.append(ConnectionRefusedError(111, "Connection refused"))
        client = two.client()
        client.feed(POST)
        upstream = await two.asked(server=1)
        [request] = judge_requests(upstream.written())
        assert request.body == b"body"
        assert request.values(b"host") == [b"server-1:8000"]
        upstream.feed(OK)
        assert client.written() == OK
        cells = two.state.cells
        assert cells.failed.tolist() == [1, 0]
        assert counts(cells, "retries") == cells.retries_connect.tolist() == [0, 1]
        [line] = [record.getMessage() for record in caplog.records]
        for part in ("http://server-0:8000", "connecting", "Connection refused", "POST /v1/x"):
            assert part in line
        [observed] = two.observed
        assert (observed.row, observed.kind) == (0, Event.REQUEST_FAILED)

    async def test_none_can_be_connected_to(self, two):
        for pool in two.pools:
            pool.failures.append(OSError("unreachable"))
        client = two.client()
        client.feed(GET)
        await until(lambda: client.writes)
        assert own_error(client) == (502, "the server failed: unreachable")
        assert two.state.cells.failed.tolist() == [1, 1]
        assert client.end is End.OPEN, "the request was a good one"

    @pytest.mark.parametrize(
        "settings",
        [
            pytest.param({"max_retries": 0}, id="no-retries-left"),
            pytest.param({"retry_on": ("reset",)}, id="not-retried-on"),
        ],
    )
    async def test_no_other_is_asked(self, settings):
        with started(servers=2, **settings) as router:
            for pool in router.pools:
                pool.failures.append(OSError("unreachable"))
            client = router.client()
            client.feed(GET)
            await until(lambda: client.writes)
            assert own_error(client)[0] == 502
            assert router.count("started") == 1

    async def test_too_slow(self):
        with started(connect_timeout=0.01) as router:
            router.pool.hold = True
            client = router.client()
            client.feed(GET)
            await until(lambda: client.writes)
            assert own_error(client) == (502, "the server failed: no connection within 0.01 s")

    @pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL])
    async def test_our_own_limits(self, two, number):
        """No server is to blame for them, and another would fare no better."""
        two.pools[0].failures.append(OSError(number, os.strerror(number)))
        client = two.client()
        client.feed(GET)
        await until(lambda: client.writes)
        assert own_error(client)[0] == 503
        assert not two.observed
        assert two.count("started") == 1

    async def test_name_that_cannot_be_looked_up(self, router):
        router.pool.failures.append(UnicodeError("label too long"))
        client = router.client()
        client.feed(GET)
        await until(lambda: client.writes)
        assert own_error(client)[0] == 502

    async def test_ended_as_soon_as_made(self, router):
        """The server accepted and closed before we could write: as if it had not accepted."""
        router.pool.ends_at_once = True
        client = router.client()
        client.feed(GET)
        await until(lambda: client.writes)
        assert own_error(client)[0] == 502
        assert router.count("connections_new") == 0

    async def test_the_client_goes_meanwhile(self, router):
        router.pool.hold = True
        client = router.client()
        client.feed(GET)
        await asyncio.sleep(0)
        client.lose(None)
        router.pool.hold = False
        for _ in range(5):
            await asyncio.sleep(0)
        assert not router.pool.upstreams, "nobody waits for this connection any more"
        assert (router.count("aborted"), router.count("aborts_waiting")) == (1, 1)

    async def test_the_client_pauses_meanwhile(self, router):
        router.pool.hold = True
        client = router.client()
        client.feed(GET)
        client.fill()
        router.pool.hold = False
        upstream = await router.asked()
        assert not upstream.reading
        client.drain()
        assert upstream.reading

    async def test_no_server_is_usable(self):
        with started(servers=0) as router:
            client = router.client()
            client.feed(GET)
            assert own_error(client)[0] == 503
            assert b"\r\nretry-after: 1\r\n" in client.written()
            assert router.state.cells.process.unrouted_503[0] == 1


class TestNoByteOfAReply:
    async def test_reused_connection(self, router):
        """The server closed it while it was idle: once more, on a fresh one; others go too."""
        older, newer = router.pool.ready(reused=True), router.pool.ready(reused=True)
        client = router.client()
        client.feed(GENERATE)
        assert newer.take()
        newer.eof()
        assert older.end is End.ABORTED, "it is older, and as likely to be closed"
        fresh = await router.asked(count=3)
        assert judge_requests(fresh.written())[0].body == b"body"
        fresh.feed(OK)
        assert client.written() == OK
        assert (router.count("retries"), router.count("retries_reset")) == (1, 1)

    async def test_reused_then_fresh_fails_too(self, router):
        """Once is enough: a server that closes every time is not asked for ever."""
        client, upstream = router.client(), router.pool.ready(reused=True)
        client.feed(GET)
        upstream.eof()
        fresh = await router.asked(count=2)
        fresh.eof()
        await until(lambda: client.writes)
        assert own_error(client) == (502, "the server failed: connection closed")
        assert router.count("started") == 2

    async def test_fresh_connection(self, two):
        """vLLM closes so when it stops: another server may be asked."""
        client, upstream = two.client(), two.pools[0].ready()
        client.feed(GENERATE)
        upstream.eof()
        other = await two.asked(server=1)
        other.feed(OK)
        assert client.written() == OK
        assert two.state.cells.retries_reset.tolist() == [0, 1]

    async def test_fresh_connection_not_retried_on(self):
        with started(servers=2, retry_on=("connect",)) as router:
            router.table.servers.foreign_milli[1] = 1000
            client, upstream = router.client(), router.pools[0].ready()
            client.feed(GENERATE)
            upstream.eof()
            assert own_error(client)[0] == 502


class TestNotRepeated:
    """A generation may be running: no second one is begun, whatever servers there are."""

    @pytest.mark.parametrize("reused", [False, True], ids=["fresh", "reused"])
    @pytest.mark.parametrize("fed", [b"H", b"HTTP/1.1 200 OK\r\nDate: x\r\n", CHUNKED[:-1]])
    async def test_in_the_head(self, two, reused, fed):
        client, upstream = two.client(), two.pools[0].ready(reused=reused)
        client.feed(GET)
        upstream.feed(fed)
        upstream.eof()
        assert own_error(client) == (502, "the server failed: connection closed")
        assert two.count("started") == 1

    async def test_silence(self):
        with started(servers=2, request_timeout=0.01) as router:
            router.table.servers.foreign_milli[1] = 1000
            client, upstream = router.client(), router.pools[0].ready(reused=True)
            client.feed(GET)
            await asyncio.sleep(0.02)
            client.protocol.sweep(router.loop.time())
            assert own_error(client) == (504, "the server did not answer: silent for 0.01 s")
            assert upstream.end is End.ABORTED
            assert router.count("started") == 1

    async def test_died_after_an_informational_reply(self, two):
        client, upstream = two.client(), two.pools[0].ready()
        client.feed(GET)
        upstream.feed(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        upstream.eof()
        [judged] = judge_replies(client.written(), [b"GET"], closed=False)
        assert (judged.informational, judged.status) == ([103], 502)

    @pytest.mark.parametrize(
        "body", [b"ZZ\r\n", b"0\r\n\r\n" + OK, b"0\r\n\r\nx"], ids=["size", "reply", "byte"]
    )
    async def test_nothing_follows_an_own_error(self, router, body):
        """Head and fault came in one segment: the client gets the error, and nothing behind it.

        Once the part of the reply that had been kept back was written behind the error.
        """
        client, upstream = router.client(), router.pool.ready()
        client.feed(GET)
        upstream.feed(CHUNKED + body)
        assert own_error(client)[0] == 502
        client.take()
        client.feed(GET)
        again = await router.asked(count=2)
        again.feed(OK)
        assert client.take() == OK


class TestExcused:
    """Requests that do not wait for their server say nothing about its progress."""

    @pytest.mark.parametrize(
        ("path", "excused"),
        [
            pytest.param(b"/v1/completions", 0, id="work-for-the-engine"),
            pytest.param(b"/v1/load_lora_adapter", 1, id="no-work-for-the-engine"),
        ],
    )
    def test_by_its_path(self, path, excused):
        with memory_router() as router:
            transport = router.pool.ready()
            client = router.client()
            client.feed(b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n" % path)
            assert router.state.cells.excused[0] == excused
            transport.feed(b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 0\r\n\r\n")
            assert router.state.cells.excused[0] == 0

    def test_while_its_client_does_not_read(self):
        """A client that reads slowly made its server "make no progress" and took it down."""
        with memory_router() as router:
            transport = router.pool.ready()
            client = router.client()
            client.feed(b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
            transport.feed(b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 4\r\n\r\nab")
            client.protocol.pause_writing()
            client.protocol.pause_writing()
            assert router.state.cells.excused[0] == 1
            client.protocol.resume_writing()
            assert router.state.cells.excused[0] == 0
            client.protocol.pause_writing()
            transport.lose(None)
            assert router.state.cells.excused[0] == 0
