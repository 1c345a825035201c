"""What workers need to start, and starting them, before the control plane is there.

They take as long to start as the supervisor's own modules take to be imported, so the two go on
side by side. Nothing here needs a loop.
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
"""Rows of the score table; spare ones are for servers that a reload adds."""

ROWS_OF_A_NAME = 512
"""Rows for the servers that DNS finds by one name, those included that still finish requests."""


def create_table(config: Config, workers: int) -> ScoreTable:
    """Make the score table for these servers, with room for as many again."""
    names = len(followed(config))
    rows = max(MIN_ROWS, 2 * (len(config.servers) - names)) + ROWS_OF_A_NAME * names
    return ScoreTable.create(rows=rows, workers=workers)


ALLOCATOR = {"MALLOC_TRIM_THRESHOLD_": str(16 << 20), "MALLOC_MMAP_THRESHOLD_": str(4 << 20)}
"""Bytes that glibc keeps for the next long body of a request instead of giving them back.

By default it asked for each 100 KB anew and the kernel cleared the pages, a quarter of the CPU that
such a request cost. Who has set them in the environment has it that way.
"""


class Sockets(msgspec.Struct):
    """Listening sockets.

    Attributes:
        clients: One for each worker.
        admin: One for all workers, for fastroute's own endpoints; None: they are at the others.
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
    """A worker that nobody talks to yet. It ends by itself when `channel` is closed.

    Attributes:
        process: Whoever takes it must wait for its end.
        channel: Our end of the socket pair.
    """

    process: "subprocess.Popen[bytes]"
    channel: socket.socket


def start_worker(spec: WorkerSpec) -> StartedWorker:
    """Start a worker process.

    Raises:
        OSError: The system cannot start a process now.
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
                # Its own group: Ctrl-C is for the supervisor, which then drains the workers.
                process_group=0,
            )
    except BaseException:
        ours.close()
        raise
    return StartedWorker(process, ours)


class Launch:
    """What all workers of a fastroute share from its start on, and the first of them.

    Attributes:
        sockets: Where they listen.
        table: The score table.
        logs: How they log.
    """

    __slots__ = ("_waiting", "logs", "sockets", "table")

    def __init__(self, sockets: Sockets, table: ScoreTable, logs: LogOptions) -> None:
        """Prepare, without starting anything; sockets and table are ours to close from now on."""
        self.sockets = sockets
        self.table = table
        self.logs = logs
        self._waiting: dict[int, StartedWorker] = {}

    def start_ahead(self) -> None:
        """Start all workers; each waits for `take`, which tries once more where it went wrong."""
        for index in range(len(self.sockets.clients)):
            with contextlib.suppress(OSError):
                self._waiting[index] = start_worker(self._spec(index))

    def take(self, index: int) -> StartedWorker:
        """Return the worker for a place: the one that was started ahead, or a new one.

        Raises:
            OSError: The system cannot start a process now.
        """
        return self._waiting.pop(index, None) or start_worker(self._spec(index))

    def close(self) -> None:
        """Give everything up; workers that nobody took end."""
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
