"""Fastroute's own endpoints on a separate port that clients cannot reach."""

import asyncio
import contextlib
import gc
import socket
from collections.abc import AsyncIterator

import pytest

from fastroute.cli.run_router import metrics_reply
from fastroute.cli.run_worker import listeners
from fastroute.config import Config
from fastroute.control.metrics import Numbers
from fastroute.ipc.messages import (
    Configure,
    Drain,
    Drained,
    Message,
    MessageReader,
    MetricsRequest,
    Ready,
    RoutedServer,
    encode,
)
from fastroute.ipc.score_table import ScoreTable
from fastroute.proxy.context import WorkerContext
from fastroute.proxy.metrics_relay import MetricsRelay
from fastroute.proxy.supervisor_link import SupervisorLink
from fastroute.proxy.worker import Worker
from fastroute.views.endpoints import ENDPOINTS
from tests.support.counts import counts
from tests.support.score_table import put_server
from tests.support.standin_client import ask, chat, client, get, post
from tests.support.standins import standin, until

MERGED = b'{"object":"list","data":[{"id":"standin"}]}'
OWN = sorted(endpoint.path.decode() for endpoint in ENDPOINTS)


class Ports:
    """A worker that listens on two ports.

    Attributes:
        main: The port for clients.
        admin: The port for operators.
        state: The worker's state.
        said: Its messages to the supervisor.
        supervisor: The supervisor's end of its channel.
    """

    def __init__(self, state: WorkerContext, main: int, admin: int) -> None:
        self.state = state
        self.main = main
        self.admin = admin
        self.said: list[Message] = []
        self.supervisor: asyncio.StreamWriter


@contextlib.asynccontextmanager
async def two_ports(url: str, *, models_json: bytes | None = None) -> AsyncIterator[Ports]:
    """Run a worker, wired by run_worker with an admin port."""
    loop = asyncio.get_running_loop()
    table = ScoreTable.create(rows=4, workers=1)
    state = WorkerContext(loop, table, table.worker_cells(0), SupervisorLink())
    main, admin = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
    ports = Ports(state, main.getsockname()[1], admin.getsockname()[1])
    ours, theirs = socket.socketpair()
    reader, ports.supervisor = await asyncio.open_connection(sock=ours)
    metrics = MetricsRelay(state)
    worker = Worker(state, listeners(state, metrics, main, admin), metrics)
    running = loop.create_task(worker.run(theirs))

    async def listen() -> None:
        messages = MessageReader()
        while data := await reader.read(65536):
            for message in messages.feed(data):
                ports.said.append(message)
                if isinstance(message, MetricsRequest):
                    numbers = Numbers(table.snapshot(), state.configured, state.losses)
                    ports.supervisor.write(encode(metrics_reply(numbers, message)))

    listening = loop.create_task(listen())
    table.servers.generation[0] = 1
    put_server(table, 0)
    server = RoutedServer(row=0, generation=1, url=url, max_concurrent_requests=8)
    configure = Configure(config=Config(servers=()), servers=(server,), models_json=models_json)
    ports.supervisor.write(encode(configure))
    try:
        await until(lambda: Ready() in ports.said)
        yield ports
    finally:
        ports.supervisor.write(encode(Drain()))
        await asyncio.wait_for(running, 5)
        gc.unfreeze()  # a worker freezes existing objects; other tests search for objects
        ports.supervisor.close()
        await asyncio.wait_for(listening, 5)
        await until(lambda: not state.clients)
        for pool in state.router.servers:
            pool.close_idle()
        assert not any(table.in_flight_totals())
        main.close()
        admin.close()


@pytest.mark.parametrize("path", OWN)
async def test_own_endpoints_are_only_there(path):
    async with standin() as server, two_ports(server.url) as ports:
        answer = await ask(ports.admin, get(path))
        assert answer.status == 200
        assert server.counters.requests == 0
        # Clients see the server's own /health and /metrics.
        answer = await ask(ports.main, get(path))
        assert server.counters.requests == 1
        assert answer["server"] == "uvicorn"


@pytest.mark.parametrize(
    "request_",
    [
        chat(model="standin"),
        chat("/v1/completions"),
        get("/version"),
        get("/v1/models/standin"),
        get("/fastroute/x"),
        get("//health"),
        get("/health/"),
        post("/standin/echo", b"x" * 100_000),
        get("*", "OPTIONS"),
    ],
    ids=lambda raw: raw.split(b" ")[1].decode(),
)
async def test_nothing_else_is_there(request_):
    async with standin() as server, two_ports(server.url) as ports:
        answer = await ask(ports.admin, request_)
        assert answer.status == 404
        assert answer.json()["error"]["code"] == 404
        assert server.counters.requests == 0, "an operator's port is no way to the servers"
        assert ports.state.ledger.requests == 0


async def test_models_are_on_both():
    async with standin() as server, two_ports(server.url, models_json=MERGED) as ports:
        for port in (ports.main, ports.admin):
            assert (await ask(port, get("/v1/models"))).body == MERGED
        assert server.counters.requests == 0


async def test_models_are_not_known_yet():
    """Clients get a server's response meanwhile; the admin port reaches no server."""
    async with standin(models=("x",)) as server, two_ports(server.url) as ports:
        assert (await ask(ports.main, get("/v1/models"))).json()["data"][0]["id"] == "x"
        answer = await ask(ports.admin, get("/v1/models"))
        assert answer.status == 503
        assert "retry-after" in dict(answer.fields)


async def test_own_prefix_never_reaches_a_server():
    async with standin() as server, two_ports(server.url) as ports:
        for path in ("/fastroute", "/fastroute/x", "/fastroute?x"):
            assert (await ask(ports.main, get(path))).status == 404
        assert server.counters.requests == 0


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_only_reading(method):
    async with standin() as server, two_ports(server.url) as ports:
        answer = await ask(ports.admin, get("/health", method, "Content-Length: 0\r\n"))
        assert (answer.status, answer["allow"]) == (405, "GET, HEAD")


async def test_kept_connections_and_head():
    async with standin() as server, two_ports(server.url) as ports:
        async with client(ports.admin) as connection:
            connection.send(get("/livez") + get("/nosuch") + get("/livez"))
            statuses = [(await connection.receive()).status for _ in range(3)]
        assert statuses == [200, 404, 200]
        reader, writer = await asyncio.open_connection("127.0.0.1", ports.admin)
        writer.write(get("/metrics", "HEAD", "Connection: close\r\n"))
        head = await reader.read()
        assert head.endswith(b"\r\n\r\n")
        assert head.count(b"\r\n\r\n") == 1
        writer.close()
        assert ports.state.cells.process.requests_local[0] == 4


async def test_shows_what_clients_do_on_the_other():
    async with standin(ttft=60.0) as server, two_ports(server.url) as ports:
        async with client(ports.main) as connection:
            connection.send(chat(model="standin"))
            await until(lambda: ports.state.cells.in_flight[0])
            stats = (await ask(ports.admin, get("/load-stats"))).json()
            assert stats["summary"]["total_in_flight"] == 1
        await until(lambda: counts(ports.state.cells, "aborted")[0])


async def test_draining_closes_both():
    """It is not ready from then on; connected clients still get their responses."""
    async with standin(ttft=0.2) as server, two_ports(server.url) as ports:
        async with client(ports.main) as busy, client(ports.admin) as operator:
            operator.send(get("/readyz"))
            assert (await operator.receive()).status == 200
            busy.send(chat(model="standin"))
            await until(lambda: ports.state.cells.in_flight[0])
            ports.supervisor.write(encode(Drain()))
            assert (await busy.receive()).status == 200
            assert await busy.is_closed()
            assert await operator.is_closed()
        for port in (ports.main, ports.admin):
            with pytest.raises(ConnectionError):
                await asyncio.open_connection("127.0.0.1", port)
        await until(lambda: ports.said[-1] == Drained())
