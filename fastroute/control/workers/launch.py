"""Starts workers, and creates their resources, before the control plane runs.

Workers take as long to start as the supervisor takes to import its own modules, so both happen in
parallel. Nothing here needs an event loop.
"""

import contextlib
import os
import socket
import subprocess

import msgspec

from fastroute.config import Config
from fastroute.config.expansion import followed
from fastroute.ipc.logs import LogOptions
from fastroute.ipc.score_table import ScoreTable
from fastroute.ipc.worker_spec import WorkerSpec

MIN_ROWS = 256
"""Minimum rows of the score table; spare ones are for servers added by a reload."""

ROWS_OF_A_NAME = 512
"""Rows for the servers of one DNS name, including removed ones with requests in flight."""


def create_table(config: Config, workers: int) -> ScoreTable:
    """Create the score table for these servers, with space for as many more."""
    names = len(followed(config))
    rows = max(MIN_ROWS, 2 * (len(config.servers) - names)) + ROWS_OF_A_NAME * names
    return ScoreTable.create(rows=rows, workers=workers)


ALLOCATOR = {"MALLOC_TRIM_THRESHOLD_": str(16 << 20), "MALLOC_MMAP_THRESHOLD_": str(4 << 20)}
"""Bytes of freed memory that glibc keeps for the next long request body.

By default glibc allocated each 100 KB again and the kernel cleared the pages, a quarter of the CPU
time of such a request. Values in the environment take precedence.
"""


class Sockets(msgspec.Struct):
    """Listening sockets.

    Attributes:
        clients: One for each worker.
        admin: One for all workers, for fastroute's own endpoints; None if `clients` serve them.
    """

    clients: list[socket.socket]
    admin: socket.socket | None = None

    def close(self) -> None:
        """Close them all."""
        for listener in self.clients:
            listener.close()
        if self.admin is not None:
            self.admin.close()


class StartedWorker(msgspec.Struct, frozen=True):
    """A worker without a supervisor yet. It exits by itself when `channel` is closed.

    Attributes:
        process: The process; its owner must wait for its exit.
        channel: The supervisor's end of the socket pair.
    """

    process: "subprocess.Popen[bytes]"
    channel: socket.socket


def start_worker(spec: WorkerSpec) -> StartedWorker:
    """Start a worker process.

    Raises:
        OSError: The system cannot start a process.
    """
    ours, theirs = socket.socketpair()
    try:
        with theirs:
            spec = msgspec.structs.replace(spec, channel_fd=theirs.fileno())
            process = subprocess.Popen(
                spec.command,
                stdin=subprocess.DEVNULL,
                pass_fds=spec.descriptors,
                env=ALLOCATOR | os.environ,
                # Its own process group: Ctrl-C must reach only the supervisor.
                process_group=0,
            )
    except BaseException:
        ours.close()
        raise
    return StartedWorker(process, ours)


class Launch:
    """Resources shared by all workers, and the first workers.

    Attributes:
        sockets: Their listening sockets.
        table: The score table.
        logs: Their log settings.
    """

    __slots__ = ("_waiting", "logs", "sockets", "table")

    def __init__(self, sockets: Sockets, table: ScoreTable, logs: LogOptions) -> None:
        """Prepare, without starting anything. Takes ownership of sockets and table."""
        self.sockets = sockets
        self.table = table
        self.logs = logs
        self._waiting: dict[int, StartedWorker] = {}

    def start_ahead(self) -> None:
        """Start all workers, to be fetched with `take`, which retries a failed start."""
        for index in range(len(self.sockets.clients)):
            with contextlib.suppress(OSError):
                self._waiting[index] = start_worker(self._spec(index))

    def take(self, index: int) -> StartedWorker:
        """Return the worker with an index: the one started ahead, or a new one.

        Raises:
            OSError: The system cannot start a process.
        """
        return self._waiting.pop(index, None) or start_worker(self._spec(index))

    def close(self) -> None:
        """Close all resources; workers that were not taken exit."""
        for started in self._waiting.values():
            started.channel.close()
        self.sockets.close()
        self.table.close()

    def _spec(self, index: int) -> WorkerSpec:
        admin = self.sockets.admin
        return WorkerSpec(
            index=index,
            listen_fd=self.sockets.clients[index].fileno(),
            table_fd=self.table.fd,
            admin_fd=None if admin is None else admin.fileno(),
            logs=self.logs,
        )
