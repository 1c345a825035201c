"""One worker process as the supervisor sees it: talking to it, noticing its end."""

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
        observed: Called with what it saw of a server.
        records: Called with requests that have ended.
        metrics: Called with a request for /metrics, and what sends the reply.
    """

    ready: Callable[["WorkerProcess"], None]
    observed: Callable[[Observed], None]
    records: Callable[[list[RequestRecord]], None] = lambda _: None
    metrics: Callable[[MetricsRequest, Callable[[MetricsReply], None]], None] = lambda *_: None


class WorkerProcess(asyncio.Protocol):
    """A started worker. Whoever attends to it must await `wait()`, or the process stays a zombie.

    Attributes:
        index: Its place among the workers.
        name: What log lines call it.
        was_ready: Whether it has said that it accepts clients.
    """

    __slots__ = ("_channel", "_code", "_exited", "_process", "_reader", "_reports", "index",
                 "name", "was_ready")  # fmt: skip

    def __init__(self, index: int, process: "subprocess.Popen[bytes]", reports: Reports) -> None:
        """Take charge of a process that was just started; use `attend`."""
        self.index = index
        self.name = f"worker {index} (pid {process.pid})"
        self._process = process
        self._reports = reports
        self.was_ready = False
        self._reader = MessageReader()
        self._channel: asyncio.Transport | None = None
        self._code: int | None = None
        self._exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        # The kernel tells of the exit itself; a closed channel is only a sign of it.
        pidfd = os.pidfd_open(process.pid)
        asyncio.get_running_loop().add_reader(pidfd, self._process_exited, pidfd)

    @classmethod
    async def attend(cls, index: int, started: StartedWorker, reports: Reports) -> Self:
        """Open the channel to a worker.

        Args:
            index: Its place among the workers.
            started: It.
            reports: Called with what it reports.
        """
        worker = cls(index, started.process, reports)
        loop = asyncio.get_running_loop()
        await loop.create_unix_connection(lambda: worker, sock=started.channel)
        return worker

    def send(self, message: Message) -> None:
        """Send a message; one to a worker that is gone is dropped."""
        if self._channel is not None and not self._channel.is_closing():
            self._channel.write(encode(message))

    def hang_up(self) -> None:
        """Have the process end by itself, at once: it closes its clients in order."""
        if self._channel is not None:
            self._channel.close()

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()

    async def wait(self) -> int:
        """Wait for the end of the process, and of what it had to say.

        Returns:
            Its exit code, or the negative number of the signal that ended it.
        """
        return await asyncio.shield(self._exited)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._channel = cast(asyncio.Transport, transport)  # uvloop's is none by its class.

    def data_received(self, data: bytes) -> None:
        try:
            messages = self._reader.feed(data)
        except ValueError:
            # Out of step with its supervisor, it could never be told to drain.
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
                self.hang_up()  # It says no more, and waits for this.
            case _:
                self.kill()

    def _process_exited(self, pidfd: int) -> None:
        asyncio.get_running_loop().remove_reader(pidfd)
        os.close(pidfd)
        self._code = self._process.wait()
        if self._channel is None or self._channel.is_closing():
            self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        # Only now all is read that it said last; an exit may be noticed before.
        if self._code is not None:
            self._end()

    def _end(self) -> None:
        if self._code is not None and not self._exited.done():
            self._exited.set_result(self._code)


def exit_text(code: int) -> str:
    """Say how a process ended, from what `wait()` returned."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
