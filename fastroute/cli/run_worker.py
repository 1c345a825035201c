"""The worker process: wires the data plane to the views and runs it.

Apart from the command line, which workers do not need: typer and rich take time and memory.
"""

import asyncio
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial

import msgspec
import uvloop

from fastroute.ipc.logs import configure_logging
from fastroute.ipc.score_table import ScoreTable
from fastroute.ipc.worker_spec import WorkerSpec
from fastroute.proxy.context import WorkerContext
from fastroute.proxy.metrics_relay import MetricsRelay
from fastroute.proxy.own_replies import Listener, LocalEndpoint, LocalReply, OwnReply
from fastroute.proxy.worker import Worker
from fastroute.views.endpoints import METRICS, VIEWS
from fastroute.views.view import Reply, View, view_of


def main() -> None:
    """Run a worker as the supervisor says it on the command line (`WorkerSpec.command`)."""
    gc.enable()
    spec = WorkerSpec.decode(sys.argv[1])
    configure_logging(spec.logs)
    table = ScoreTable.attach(spec.table_fd)
    listening = socket.socket(fileno=spec.listen_fd)
    channel = socket.socket(fileno=spec.channel_fd)
    admin = None if spec.admin_fd is None else socket.socket(fileno=spec.admin_fd)
    uvloop.run(serve(table, spec.index, listening, admin, channel))


async def serve(
    table: ScoreTable,
    index: int,
    listening: socket.socket,
    admin: socket.socket | None,
    channel: socket.socket,
) -> None:
    """Serve clients until drained.

    Args:
        table: The score table.
        index: This worker's place in it.
        listening: A bound, listening socket.
        admin: Another, where fastroute's own endpoints are to be found then; or None.
        channel: The worker's end of the socket pair to the supervisor.
    """
    loop = asyncio.get_running_loop()
    cells = table.worker_cells(index)
    cells.process.pid[0] = os.getpid()
    cells.process.draining[0] = 0
    state = WorkerContext(loop, table, cells)
    metrics = MetricsRelay(state)
    worker = Worker(state, listeners(state, metrics, listening, admin), metrics)
    # A service manager signals all processes: to drain is right then, too. The others are the
    # supervisor's to act on.
    loop.add_signal_handler(signal.SIGTERM, worker.drain)
    for signum in (signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(signum, lambda: None)
    await worker.run(channel)


def listeners(
    state: WorkerContext,
    metrics: MetricsRelay,
    listening: socket.socket,
    admin: socket.socket | None,
) -> list[tuple[socket.socket, Listener]]:
    """Return what is served at which socket."""
    own, models = own_endpoints(state, metrics), models_endpoint(state)
    if admin is None:
        return [(listening, Listener(own | models))]
    return [(listening, Listener(models)), (admin, Listener(own | models, forwards=False))]


def models_endpoint(state: WorkerContext) -> dict[bytes, LocalEndpoint]:
    """Return the endpoint that speaks for all servers; clients use it too."""

    def models() -> LocalReply | None:
        merged = state.configured.models_json
        return None if merged is None else OwnReply(200, merged)

    return {b"/v1/models": models}


def own_endpoints(state: WorkerContext, metrics: MetricsRelay) -> dict[bytes, LocalEndpoint]:
    """Return the endpoints for those who run fastroute, by path."""

    def answer(render: Callable[[View], Reply]) -> Reply:
        return render(current_view(state))

    rendered = {path: partial(answer, render) for path, render in VIEWS.items()}
    return {**rendered, METRICS: metrics.request}


def current_view(state: WorkerContext) -> View:
    """Return what there is to show now."""
    view = view_of(
        state.table.snapshot(),
        state.configured,
        state.losses,
        health=state.health.servers,
        draining=state.draining,
    )
    return msgspec.structs.replace(view, reasons=state.reasons.reasons)
