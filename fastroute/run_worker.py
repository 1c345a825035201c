"""The worker process: wires the data plane to the views and runs it.

Apart from the command line, which workers do not need: typer and rich take time and memory.
"""

import argparse
import asyncio
import os
import signal
import socket

import uvloop

from fastroute.control.logs import configure_logging
from fastroute.proxy.local import LocalEndpoint
from fastroute.proxy.worker import Worker
from fastroute.proxy.worker_state import WorkerState
from fastroute.score_table import ScoreTable
from fastroute.views import status


def main() -> None:
    """Run a worker with the descriptors that the supervisor hands over."""
    parser = argparse.ArgumentParser(
        description="A worker of fastroute; started by `fastroute run`."
    )
    for option in ("--listen-fd", "--table-fd", "--channel-fd", "--index"):
        parser.add_argument(option, type=int, required=True)
    parser.add_argument("--log-level", default="info")
    options = parser.parse_args()
    configure_logging(options.log_level)
    table = ScoreTable.attach(options.table_fd)
    listening = socket.socket(fileno=options.listen_fd)
    channel = socket.socket(fileno=options.channel_fd)
    uvloop.run(serve(table, options.index, listening, channel))


async def serve(
    table: ScoreTable, index: int, listening: socket.socket, channel: socket.socket
) -> None:
    """Serve clients until drained.

    Args:
        table: The score table.
        index: This worker's place in it.
        listening: A bound, listening socket.
        channel: The worker's end of the socket pair to the supervisor.
    """
    loop = asyncio.get_running_loop()
    cells = table.worker_cells(index)
    cells.process.pid[0] = os.getpid()
    cells.process.draining[0] = 0
    endpoints: dict[bytes, LocalEndpoint] = {}
    state = WorkerState(loop, table, cells, endpoints)
    endpoints.update(local_endpoints(state))
    worker = Worker(state, listening)
    # A service manager signals the whole group: to drain is right then, too. Ctrl-C is the
    # supervisor's to pass on.
    loop.add_signal_handler(signal.SIGTERM, worker.drain)
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    await worker.run(channel)


def local_endpoints(state: WorkerState) -> dict[bytes, LocalEndpoint]:
    """Return the endpoints that fastroute answers itself, by path."""
    return {
        b"/livez": status.live,
        b"/readyz": lambda: status.ready(state.table.snapshot(), draining=state.draining),
        b"/health": lambda: status.health(state.table.snapshot(), state.routed),
        b"/load-stats": lambda: status.load_stats(state.table.snapshot(), state.routed),
    }


if __name__ == "__main__":
    main()
