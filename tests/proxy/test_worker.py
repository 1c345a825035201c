"""A worker with a real channel and a real listening socket; the test is its supervisor."""

import asyncio
import contextlib
import gc
import socket

import pytest

from fastroute.config import Config
from fastroute.ipc.messages import (
    Configure,
    Drain,
    Drained,
    Health,
    Message,
    MessageReader,
    MetricsReply,
    MetricsRequest,
    Ready,
    RoutedServer,
    ServerHealth,
    encode,
)
from fastroute.ipc.score_table import ScoreTable
from fastroute.proxy.context import WorkerContext
from fastroute.proxy.metrics_relay import MetricsRelay
from fastroute.proxy.own_replies import Listener, OwnReply
from fastroute.proxy.supervisor_link import SupervisorLink
from fastroute.proxy.worker import SWEEP_S, Worker
from fastroute.rules.evidence import Event
from tests.support.judge import judge_replies
from tests.support.score_table import put_server
from tests.support.scripted import read_request, replies, scripted
from tests.support.standins import until

OK = b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 2\r\n\r\nhi"
GET = b"GET /v1/x HTTP/1.1\r\nHost: a\r\n\r\n"
OWN = b"GET /own HTTP/1.1\r\nHost: a\r\n\r\n"
METRICS = (
    b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: text/plain\r\n"
    b"Accept-Encoding: gzip\r\nAccept-Encoding: br\r\n\r\n"
)


class Supervised:
    """A worker that runs, and its supervisor's end of the channel.

    Attributes:
        state: The worker's.
        told: What it has told the supervisor.
        done: The task that runs it.
    """

    def __init__(self, state: WorkerContext, worker: Worker, listening: socket.socket) -> None:
        self.state = state
        self.worker = worker
        self.port = listening.getsockname()[1]
        self.told: list[Message] = []
        self.done: asyncio.Task[None] | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def run(self) -> None:
        ours, its = socket.socketpair()
        reader, self.writer = await asyncio.open_connection(sock=ours)
        self.done = asyncio.create_task(self.worker.run(its))
        self._listening = asyncio.create_task(self._listen(reader))

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        messages = MessageReader()
        while data := await reader.read(65536):
            self.told += messages.feed(data)

    def say(self, message: Message) -> None:
        self.writer.write(encode(message))

    async def configure(self, *urls: str, **settings) -> None:
        """Send a configuration and wait until clients are accepted."""
        servers = tuple(
            RoutedServer(row=row, generation=1, url=url, max_concurrent_requests=8)
            for row, url in enumerate(urls)
        )
        self.say(Configure(config=Config(servers=(), **settings), servers=servers))
        await until(lambda: self.told and self.state.settings.config.servers == ())
        assert isinstance(self.told[0], Ready)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def close(self) -> None:
        self.writer.close()
        async with asyncio.timeout(5):
            await self.done
            await until(lambda: not self.state.clients)
            await self._listening
        # A worker's process ends here, and all its sockets with it.
        for server in self.worker._servers:
            server.close()
            await server.wait_closed()


@pytest.fixture
async def worker():
    table = ScoreTable.create(rows=2, workers=1)
    put_server(table, 0)
    state = WorkerContext(
        asyncio.get_running_loop(), table, table.worker_cells(0), SupervisorLink()
    )
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        metrics = MetricsRelay(state)
        own = {b"/own": lambda: OwnReply(200, b"{}"), b"/metrics": metrics.request}
        running = Worker(state, [(listening, Listener(own))], metrics)
        supervised = Supervised(state, running, listening)
        await supervised.run()
        yield supervised
        await supervised.close()
        for pool in state.router.servers:
            pool.close_idle()
    assert not any(table.in_flight_totals())
    table.close()
    gc.unfreeze()  # a worker freezes what exists when it starts; other tests count objects


async def gone(reader: asyncio.StreamReader) -> bytes:
    """Read all until the connection ends, in whatever way."""
    data = b""
    async with asyncio.timeout(5):
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(65536):
                data += piece
    return data


async def test_ready_with_the_first_configuration(worker):
    assert not worker.told
    await worker.configure()
    reader, writer = await worker.connect()
    writer.write(OWN)
    assert await reader.readuntil(b"{}")
    writer.close()
    worker.say(Configure(config=Config(servers=(), request_timeout=9.0), servers=()))
    await until(lambda: worker.state.settings.config.request_timeout == 9.0)
    assert worker.told == [Ready()], "it says so once"


async def test_nothing_is_accepted_before(worker):
    """A client that comes early waits; it is not turned away for lack of servers."""
    reader, writer = await worker.connect()
    writer.write(GET)
    async with scripted(replies(OK)) as server:
        await worker.configure(server.url)
        async with asyncio.timeout(5):
            assert await reader.readexactly(len(OK)) == OK
        writer.close()
        await until(lambda: not worker.state.clients)


async def test_health(worker):
    health = Health(servers={"http://a": ServerHealth(total_checks=3)})
    worker.say(health)
    await until(lambda: worker.state.health == health)


async def test_observations_go_to_the_supervisor(worker):
    async def handler(reader, writer):
        await read_request(reader)

    async with scripted(handler) as server:
        await worker.configure(server.url)
        reader, writer = await worker.connect()
        writer.write(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert (await gone(reader)).startswith(b"HTTP/1.1 502 ")
        writer.close()
    await until(lambda: len(worker.told) == 2)
    assert (worker.told[1].row, worker.told[1].kind) == (0, Event.REQUEST_LOST)


class TestMetrics:
    async def ask(self, worker):
        """Send a request for /metrics and return what was relayed to the supervisor."""
        await worker.configure()
        reader, writer = await worker.connect()
        writer.write(METRICS)
        await until(lambda: len(worker.told) == 2)
        return reader, writer, worker.told[1]

    async def test_the_supervisor_answers(self, worker):
        reader, writer, request = await self.ask(worker)
        assert request == MetricsRequest(id=1, accept="text/plain", accept_encoding="gzip, br")
        reply = MetricsReply(
            id=1, status=200, body=b"a 1\n" * 300_000, content_type="text/x",
            fields=((b"content-encoding", b"gzip"),),
        )  # fmt: skip
        worker.say(reply)
        worker.say(Drain())
        [answer] = judge_replies(await gone(reader), [b"GET"], closed=True)
        assert (answer.status, answer.body) == (200, reply.body)
        assert answer.values(b"content-type") == [b"text/x"]
        assert answer.values(b"content-encoding") == [b"gzip"]
        writer.close()

    async def test_a_drain_waits_for_the_reply(self, worker):
        reader, writer, _ = await self.ask(worker)
        worker.say(Drain())
        await until(lambda: worker.state.clients.draining)
        assert not worker.done.done()
        worker.say(MetricsReply(id=1, status=200, body=b"a 1\n", content_type="text/x"))
        [answer] = judge_replies(await gone(reader), [b"GET"], closed=True)
        assert (answer.status, answer.values(b"connection")) == (200, [b"close"])
        writer.close()
        await asyncio.wait_for(worker.done, 5)

    async def test_the_supervisor_is_gone(self, worker):
        reader, writer, _ = await self.ask(worker)
        worker.writer.close()
        [answer] = judge_replies(await gone(reader), [b"GET"], closed=True)
        assert answer.status == 503
        assert b"fastroute is stopping" in answer.body
        writer.close()


class TestDrain:
    async def test_before_anything(self, worker):
        worker.say(Drain())
        await asyncio.wait_for(worker.done, 5)
        await until(lambda: worker.told == [Drained()])
        assert worker.state.cells.process.draining[0] == 1

    async def test_idle_clients_are_let_go(self, worker):
        await worker.configure()
        clients = [await worker.connect() for _ in range(3)]
        await until(lambda: len(worker.state.clients) == 3)
        worker.say(Drain())
        for reader, writer in clients:
            assert await gone(reader) == b""
            writer.close()
        await asyncio.wait_for(worker.done, 5)
        await until(lambda: worker.told == [Ready(), Drained()])

    async def test_answers_in_flight_finish(self, worker):
        """Until then the worker runs, but nobody new gets in; the last answer ends the drain."""
        asked, go_on = asyncio.Event(), asyncio.Event()

        async def handler(reader, writer):
            await read_request(reader)
            asked.set()
            await go_on.wait()
            writer.write(OK)
            await reader.read()

        async with scripted(handler) as server:
            await worker.configure(server.url)
            reader, writer = await worker.connect()
            writer.write(GET)
            await asked.wait()
            worker.say(Drain())
            worker.say(Drain())
            await until(lambda: worker.state.clients.draining)
            await until(lambda: not worker.worker._servers[0].is_serving())
            with pytest.raises(ConnectionRefusedError):
                await worker.connect()
            assert not worker.done.done()
            go_on.set()
            answer = await gone(reader)
            assert answer == OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
            writer.close()
            await asyncio.wait_for(worker.done, 5)
            await until(lambda: worker.told == [Ready(), Drained()])
            for pool in worker.state.router.servers:
                pool.close_idle()


@pytest.mark.parametrize(
    ("sent", "got"),
    [
        pytest.param(b"", b"HTTP/1.1 503 Service Unavailable\r\n", id="waiting"),
        pytest.param(OK[:-1], OK[:-1], id="replying"),
    ],
)
@pytest.mark.parametrize("why", ["supervisor-gone", "drain-timeout"])
async def test_answers_are_cut(worker, sent, got, why):
    """Without a supervisor nobody would watch this process; and a drain does not last for ever."""

    async def handler(reader, writer):
        await read_request(reader)
        writer.write(sent)
        await reader.read()

    async with scripted(handler) as server:
        await worker.configure(server.url, drain_timeout=0.01)
        reader, writer = await worker.connect()
        writer.write(GET)
        await until(lambda: worker.state.cells.in_flight[0])
        if sent:
            assert await reader.readexactly(len(sent)) == sent
            got = b""
        if why == "supervisor-gone":
            worker.writer.close()
        else:
            worker.say(Drain())
        assert (await gone(reader)).startswith(got)
        writer.close()
        await asyncio.wait_for(worker.done, 5)
        assert worker.state.cells.failed[0] == 1


async def test_time_is_kept(worker):
    """Deadlines of clients, and idle connections to servers that grow old."""
    async with scripted(replies(OK)) as server:
        await worker.configure(server.url, client_idle_timeout=0.01, pool_idle_timeout=0.01)
        before = worker.state.stamp
        reader, writer = await worker.connect()
        writer.write(GET)
        assert (await gone(reader)) == OK
        writer.close()
        [pool] = worker.state.router.servers
        await until(lambda: "idle=0" in repr(pool))
        assert worker.state.stamp > before
        loop_time = asyncio.get_running_loop().time()
        assert worker.state.stamp <= loop_time + SWEEP_S, "never later than the coming sweep"
        assert server.connections == 1
