"""The worker process: connects the data plane to the views and runs it.

Separate from the command line, which workers do not need: typer and rich cost time and memory.
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
from fastroute.proxy.supervisor_link import SupervisorLink
from fastroute.proxy.worker import Worker
from fastroute.views.endpoints import METRICS, VIEWS
from fastroute.views.view import Reply, View, view_of


def main() -> None:
    """Run a worker as specified on the command line (`WorkerSpec.command`)."""
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
        index: This worker's index in the table.
        listening: A bound, listening socket.
        admin: A separate socket for fastroute's own endpoints, or None.
        channel: The worker's end of the socket pair to the supervisor.
    """
    loop = asyncio.get_running_loop()
    cells = table.worker_cells(index)
    cells.process.pid[0] = os.getpid()
    cells.process.draining[0] = 0
    state = WorkerContext(loop, table, cells, SupervisorLink())
    metrics = MetricsRelay(state)
    worker = Worker(state, listeners(state, metrics, listening, admin), metrics)
    # A service manager may signal all processes: a worker drains then, too. Other signals are
    # handled by the supervisor.
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
    """Return the endpoints of each socket."""
    own, models = own_endpoints(state, metrics), models_endpoint(state)
    if admin is None:
        return [(listening, Listener(own | models))]
    return [(listening, Listener(models)), (admin, Listener(own | models, forwards=False))]


def models_endpoint(state: WorkerContext) -> dict[bytes, LocalEndpoint]:
    """Return the endpoint that lists the models of all servers; clients use it too."""

    def models() -> LocalReply | None:
        merged = state.configured.models_json
        return None if merged is None else OwnReply(200, merged)

    return {b"/v1/models": models}


def own_endpoints(state: WorkerContext, metrics: MetricsRelay) -> dict[bytes, LocalEndpoint]:
    """Return the endpoints for operators, by path."""

    def answer(render: Callable[[View], Reply]) -> Reply:
        return render(current_view(state))

    rendered = {path: partial(answer, render) for path, render in VIEWS.items()}
    # Forwarded, the path with its slash would let two routers that scrape each other loop.
    return {**rendered, METRICS: metrics.request, METRICS + b"/": metrics.request}


def current_view(state: WorkerContext) -> View:
    """Return the data to show now."""
    return msgspec.structs.replace(
        view_of(state.table.snapshot(), state.configured, state.losses),
        health=state.health.servers,
        reasons=state.reasons.reasons,
        unrouted_per_second=state.unrouted.per_second,
        draining=state.clients.draining,
    )
