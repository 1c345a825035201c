"""The supervisor's side of a worker process: messages, and detection of its exit."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable
from typing import Self, cast

import msgspec

from fastroute.control.workers.launch import StartedWorker
from fastroute.ipc.messages import (
    Drained,
    Message,
    MessageReader,
    MetricsReply,
    MetricsRequest,
    Observed,
    Ready,
    Records,
    encode,
)
from fastroute.ipc.request_record import RequestRecord


class Reports(msgspec.Struct, frozen=True):
    """Callbacks for what a worker reports.

    Attributes:
        ready: Called when the worker says that it accepts clients.
        observed: Called with an event about a server.
        records: Called with records of ended requests.
        metrics: Called with a request for /metrics, and a function that sends the reply.
    """

    ready: Callable[["WorkerProcess"], None]
    observed: Callable[[Observed], None]
    records: Callable[[list[RequestRecord]], None] = lambda _: None
    metrics: Callable[[MetricsRequest, Callable[[MetricsReply], None]], None] = lambda *_: None


class WorkerProcess(asyncio.Protocol):
    """A started worker. Its owner must await `wait()`, or the process remains a zombie.

    Attributes:
        index: Index of the worker.
        name: Its name in log lines.
        pid: Its process id.
        was_ready: True once it has reported that it accepts clients.
    """

    __slots__ = ("_channel", "_code", "_exited", "_process", "_reader", "_reports", "index",
                 "name", "pid", "was_ready")  # fmt: skip

    def __init__(self, index: int, process: "subprocess.Popen[bytes]", reports: Reports) -> None:
        """Manage a started process; call `attend` instead."""
        self.index = index
        self.pid = process.pid
        self.name = f"worker {index} (pid {process.pid})"
        self._process = process
        self._reports = reports
        self.was_ready = False
        self._reader = MessageReader()
        self._channel: asyncio.Transport | None = None
        self._code: int | None = None
        self._exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        # The kernel reports the exit itself; a closed channel is only an indication.
        pidfd = os.pidfd_open(process.pid)
        asyncio.get_running_loop().add_reader(pidfd, self._process_exited, pidfd)

    @classmethod
    async def attend(cls, index: int, started: StartedWorker, reports: Reports) -> Self:
        """Open the channel to a worker.

        Args:
            index: Index of the worker.
            started: The started worker.
            reports: Callbacks for what it reports.
        """
        worker = cls(index, started.process, reports)
        loop = asyncio.get_running_loop()
        await loop.create_unix_connection(lambda: worker, sock=started.channel)
        return worker

    def send(self, message: Message) -> None:
        """Send a message; drop it if the worker has exited."""
        if self._channel is not None and not self._channel.is_closing():
            self._channel.write(encode(message))

    def hang_up(self) -> None:
        """Make the process exit immediately, after closing its clients' connections."""
        if self._channel is not None:
            self._channel.close()

    def kill(self) -> None:
        """Kill the process."""
        self._process.kill()

    async def wait(self) -> int:
        """Wait for the exit of the process and for its last messages.

        Returns:
            Its exit code, or the negative number of the signal that killed it.
        """
        return await asyncio.shield(self._exited)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._channel = cast(asyncio.Transport, transport)  # uvloop's transport is not a subclass.

    def data_received(self, data: bytes) -> None:
        try:
            messages = self._reader.feed(data)
        except ValueError:
            # After an invalid message the worker could no longer be drained.
            self.kill()
            return
        for message in messages:
            self._take(message)

    def _take(self, message: Message) -> None:
        match message:
            case Ready():
                self.was_ready = True
                self._reports.ready(self)
            case Observed():
                self._reports.observed(message)
            case Records():
                self._reports.records(message.records)
            case MetricsRequest():
                self._reports.metrics(message, self.send)
            case Drained():
                self.hang_up()  # The worker sends nothing more, and waits for this.
            case _:
                self.kill()

    def _process_exited(self, pidfd: int) -> None:
        asyncio.get_running_loop().remove_reader(pidfd)
        os.close(pidfd)
        self._code = self._process.wait()
        if self._channel is None or self._channel.is_closing():
            self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        # Its last messages have been read only now; the exit may be detected earlier.
        if self._code is not None:
            self._end()

    def _end(self) -> None:
        if self._code is not None and not self._exited.done():
            self._exited.set_result(self._code)


def exit_text(code: int) -> str:
    """Return in words how a process ended, given the result of `wait()`."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
