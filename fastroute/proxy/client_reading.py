"""Reading of a client's bytes, within what its worker can spend and keep for it."""

import asyncio
from typing import Final

from fastroute.errors import BadRequest
from fastroute.proxy import clock
from fastroute.proxy.context import WorkerContext
from fastroute.proxy.loop_lag import note_step
from fastroute.proxy.own_replies import Listener
from fastroute.proxy.request_pipeline import RequestPipeline
from fastroute.proxy.request_reader import BODY, REFUSED

# Size above which the work for the bytes of one read is measured; a read brings at most 256 KiB.
LARGE_READ_BYTES: Final = 16384
# Size up to which a body is accepted beyond `max_buffered_bytes`.
SMALL_BODY_BYTES: Final = 65536


class ClientReading(RequestPipeline):
    """Feeds the requests of a connection; the subclass has its timeouts and its end."""

    __slots__ = ("_transport", "_unread")

    _transport: asyncio.Transport

    def __init__(self, worker: WorkerContext, listener: Listener) -> None:
        super().__init__(worker, listener)
        self._unread = b""  # waits for a turn of the event loop

    def data_received(self, data: bytes) -> None:
        """Read requests and process those that are complete."""
        if len(data) > LARGE_READ_BYTES:
            self._take_large(data)
        else:
            self._take(data)

    def take_turn(self) -> None:
        """Continue after a wait for a turn of the event loop."""
        self._waits = False
        data, self._unread = self._unread, b""
        if self._transport.is_closing():
            return
        self._transport.resume_reading()
        if self._exchange is None:
            self._advance()
        if self._waits:
            self._unread = data
        elif data:
            self._take_large(data)

    def wait_for_turn(self) -> None:
        """Continue in another turn of the event loop, without reading meanwhile."""
        if not self._waits and not self._transport.is_closing():
            self._waits = True
            self._transport.pause_reading()
            self._worker.turns.wait(self)

    def _take_large(self, data: bytes) -> None:
        """Measure the work for a large read; if there is no time for it in this turn, wait."""
        worker = self._worker
        turns = worker.turns
        if turns.is_over:
            self._unread = data
            self.wait_for_turn()
            return
        before: float = turns.spent
        started: float = clock.now()
        self._take(data)
        seconds: float = clock.now() - started
        note_step(worker.cells.process.slowest_read_us, seconds)
        turns.charge(seconds - (turns.spent - before))

    def _take(self, data: bytes) -> None:
        reader = self._reader
        before = reader.state
        if before is REFUSED:
            return
        if (before is BODY or len(data) > SMALL_BODY_BYTES) and not self._may_buffer(len(data)):
            return
        if self._exchange is None and not self._write_paused:
            match = reader.known_request(data, self._worker.settings)
            if match is not None:
                self._serve(match.head, data[match.body_start :])
                return
        reader.feed(data, self._worker.settings)
        if reader.state is not before or before is BODY:
            self.set_deadline()
        if self._exchange is None:
            self._advance()

    def _may_buffer(self, size: int) -> bool:
        """Count bytes of a body; return False if it is refused, because there are too many."""
        worker, reader = self._worker, self._reader
        worker.buffered += size
        if worker.buffered <= worker.settings.config.max_buffered_bytes:
            return True
        read: int = size + len(reader.request.body)
        if read <= SMALL_BODY_BYTES:
            return True
        worker.buffered -= read  # so that those that came first go on
        reader.refuse(BadRequest(503, "too many request bodies are buffered; try again shortly"))
        if self._exchange is None:
            self._advance()
        return False
