"""Wiring of a worker; tests/control/workers/test_process.py runs it as a process."""

import asyncio
import gc
import json
import os
import signal
import socket

import pytest

from fastroute.cli.run_worker import current_view, listeners, serve
from fastroute.config import Config
from fastroute.ipc.messages import Configure, MessageReader, Ready, RoutedServer, encode
from fastroute.ipc.score_table import ScoreTable
from fastroute.proxy.context import WorkerContext
from fastroute.proxy.metrics_relay import MetricsRelay
from fastroute.proxy.own_replies import LateReply
from fastroute.proxy.supervisor_link import SupervisorLink
from fastroute.views.endpoints import METRICS, VIEWS

MERGED = b'{"object":"list","data":[]}'


@pytest.fixture
async def state():
    table = ScoreTable.create(rows=2, workers=1)
    yield WorkerContext(asyncio.get_running_loop(), table, table.worker_cells(0), SupervisorLink())
    table.close()


def sockets() -> tuple[socket.socket, socket.socket]:
    return socket.create_server(("127.0.0.1", 0)), socket.create_server(("127.0.0.1", 0))


async def test_one_port_for_all(state):
    first, second = sockets()
    with first, second:
        [(at, listener)] = listeners(state, MetricsRelay(state), first, None)
        assert at is first
        assert listener.forwards
        for path in VIEWS:
            assert listener.answer(b"GET", path).status in (200, 503), path
        for target in (METRICS, METRICS + b"/", METRICS + b"/?name[]=vllm:x"):
            assert isinstance(listener.answer(b"GET", target), LateReply), target
        assert listener.answer(b"POST", b"/v1/chat/completions") is None


async def test_an_admin_port(state):
    """Clients then cannot reach fastroute's own endpoints, nor operators the servers."""
    first, second = sockets()
    with first, second:
        [(at, public), (admin_at, admin)] = listeners(state, MetricsRelay(state), first, second)
        assert (at, admin_at) == (first, second)
        for path in VIEWS:
            assert public.answer(b"GET", path) is None, path
            assert admin.answer(b"GET", path).status in (200, 503), path
        assert public.answer(b"GET", METRICS) is None
        assert isinstance(admin.answer(b"GET", METRICS), LateReply)
        assert admin.answer(b"POST", b"/v1/chat/completions").status == 404


async def test_models(state):
    """Until they are known, the request is forwarded to a server."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        [(_, listener)] = listeners(state, MetricsRelay(state), sock, None)
    assert listener.answer(b"GET", b"/v1/models") is None
    state.configure(Configure(config=Config(servers=()), servers=(), models_json=MERGED))
    assert listener.answer(b"GET", b"/v1/models?x=y").body == MERGED


async def test_current_view(state):
    server = RoutedServer(row=1, generation=1, url="http://a", max_concurrent_requests=8)
    state.configure(
        Configure(
            config=Config(servers=(), aliases={"a": "b"}), servers=(server,), model_slots=("b",)
        )
    )
    state.clients.draining = True
    view = current_view(state)
    assert (view.servers, view.model_slots, view.aliases) == ((server,), ("b",), {"a": "b"})
    assert view.draining
    assert view.version


async def test_serve():
    """A worker ignores SIGINT, which the supervisor handles; on SIGTERM it drains."""
    table = ScoreTable.create(rows=2, workers=1)
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    ours, its = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=ours)
    serving = asyncio.create_task(serve(table, 0, listening, None, its))
    try:
        writer.write(encode(Configure(config=Config(servers=()), servers=())))
        messages = MessageReader()
        async with asyncio.timeout(5):
            assert messages.feed(await reader.read(1000)) == [Ready()]
            assert table.worker_cells(0).process.pid[0] == os.getpid()
            os.kill(os.getpid(), signal.SIGINT)
            client, client_writer = await asyncio.open_connection("127.0.0.1", port)
            client_writer.write(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
            head = await client.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 OK\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            assert json.loads(await client.readexactly(length))["status"] == "alive"
            os.kill(os.getpid(), signal.SIGTERM)
            assert await client.read() == b""
            client_writer.close()
            await serving
        assert table.worker_cells(0).process.draining[0] == 1
    finally:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
        serving.cancel()
        writer.close()
        listening.close()
        table.close()
        gc.unfreeze()
