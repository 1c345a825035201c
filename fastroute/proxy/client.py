"""One client connection: its transport, its timeouts, and its end."""

import asyncio
import logging
import socket
import struct
from typing import Final

from fastroute.errors import BadRequest
from fastroute.proxy import clock
from fastroute.proxy.context import WorkerContext
from fastroute.proxy.loop_lag import note_step
from fastroute.proxy.own_replies import Listener, own_error, own_reply
from fastroute.proxy.request_pipeline import NEVER, RequestPipeline
from fastroute.proxy.request_reader import BETWEEN, BODY, HEAD, REFUSED
from fastroute.proxy.request_trace import Ended, own_record
from fastroute.rules.outcome import Outcome

log = logging.getLogger(__name__)

# Bytes in the buffer of a client above which reading from the server pauses (backpressure). A read
# brings at most 256 KiB (uvloop), so the buffer of a slow client has less than this plus one read.
WRITE_HIGH_BYTES = 65536
# Size above which the work for the bytes of one read is measured; a read brings at most 256 KiB.
LARGE_READ_BYTES = 16384
# Seconds in which a refused client's bytes are still read and dropped: closing with unread bytes
# would reset the connection, and the client would lose the response.
LINGER_S = 2.0
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


class ClientConnection(RequestPipeline):
    """The protocol of one accepted connection.

    It has the methods of an asyncio.Protocol but not that base class, because a compiled class
    cannot have a base that is not compiled.
    """

    __slots__ = ("_is_uncounted", "_transport", "_unread", "_unsent")

    _transport: asyncio.Transport

    def __init__(self, worker: WorkerContext, listener: Listener) -> None:
        super().__init__(worker, listener)
        self._unsent = 0
        self._unread = b""  # waits for a turn of the event loop
        self._is_uncounted = False

    def __repr__(self) -> str:
        return f"<ClientConnection {self.address!r} {self._reader.state.name} {self._exchange!r}>"

    # From the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept the connection, or refuse it if there are too many."""
        worker = self._worker
        self._transport = transport  # type: ignore[assignment]  # TCP gives a two-way transport
        self.write = self._transport.write
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        peer = transport.get_extra_info("peername")
        # Log the address of an IPv4 client at an IPv6 socket in the usual form.
        self.address = peer[0].removeprefix("::ffff:").encode() if peer else b"unknown"
        worker.clients.add(self)
        if not self._listener.forwards:
            # The admin port must stay reachable for diagnosis.
            self._do_not_count()
        elif worker.clients.exceed(worker.settings.config.max_connections):
            # Not counted while it lingers: many refused connections would lock out all clients.
            self._do_not_count()
            self.refuse(BadRequest(503, "too many connections; try again shortly"))

    def _do_not_count(self) -> None:
        self._is_uncounted = True
        self._worker.clients.exempt()

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

    def eof_received(self) -> None:
        """Treat EOF as a disconnect of the client, as vLLM does."""
        if self._exchange is None:
            self.close()  # finished responses must still be sent
        else:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Abort the client's request."""
        worker = self._worker
        self._reader.stop()
        self._reader.release()
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.cancel()
        worker.clients.remove(self, exempt=self._is_uncounted)

    def pause_writing(self) -> None:
        """Pause reading from the server, because the client does not keep up (backpressure)."""
        self._write_paused = True
        self.set_deadline()
        if self._exchange is not None:
            self._exchange.pause_reply()

    def resume_writing(self) -> None:
        """Resume reading from the server."""
        self._write_paused = False
        self.set_deadline()
        if self._exchange is not None:
            self._exchange.resume_reply()
        else:
            self._advance()

    # From the worker

    def sweep(self, now: float) -> None:
        """Handle deadlines that have passed."""
        if now >= self._deadline:
            self._time_out()
        elif self._exchange is not None:
            self._exchange.sweep(now)

    def drain(self) -> None:
        """Close now if idle, else after the response in progress."""
        if self._is_idle():
            self.close()

    def cut(self) -> bool:
        """Close immediately, so that the client notices a truncated response.

        Returns:
            True if a request was in progress.
        """
        exchange = self._exchange
        self._reader.stop()
        if exchange is not None:
            exchange.cut()
        if not self._transport.is_closing():
            self.close()
        return exchange is not None

    def exchange_broken(self, reset: bool) -> None:
        """End the connection so that the client notices a truncated response."""
        self._exchange = None
        if reset:
            # The response is framed by the close, so only a reset shows that it is truncated.
            sock = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self._transport.abort()
        else:
            # The missing last chunk, or the missing bytes, show it. The client gets all bytes
            # before, as it would directly from the server.
            self.close()

    def refuse(self, refusal: BadRequest) -> None:
        """Send an error for an invalid request, then close after the client had time to read it."""
        self._worker.ledger.own(Outcome.REFUSED)
        # The record of a request that could not be parsed has no method and path.
        head = self._reader.request.head if self._reader.state is BODY else None
        self._reader.stop()
        reply = own_error(refusal.status, refusal.message)
        written = own_reply(reply, method=b"", connection=b"close")
        self.write(written)
        if self._worker.recorder is not None:
            ended = Ended(Outcome.REFUSED, refusal.status, len(written), refusal.message)
            self._worker.recorder.add(own_record(self.address, head, ended))
        self._transport.write_eof()
        self.set_deadline()

    def close(self) -> None:
        """Close after all written bytes are sent."""
        self._reader.stop()
        self.set_deadline()
        self._transport.close()

    # Time

    def set_deadline(self) -> None:
        """Set the deadline of the client's next action; none while it waits for a response."""
        wait: float
        reading = self._reader.state
        if self._write_paused or (reading is REFUSED and self._exchange is None):
            self._unsent = self._transport.get_write_buffer_size()
            wait = self._worker.settings.config.client_idle_timeout if self._unsent else LINGER_S
        elif self._exchange is not None:
            self._deadline = NEVER
            return
        elif reading is BETWEEN:
            wait = self._worker.settings.client_idle_timeout
        elif reading is HEAD:
            wait = self._worker.settings.config.client_header_timeout
        else:
            wait = self._worker.settings.config.client_body_timeout
        self._deadline = self._worker.stamp + wait

    def _time_out(self) -> None:
        unsent = self._transport.get_write_buffer_size()
        if 0 < unsent < self._unsent:
            self.set_deadline()  # the client reads slowly
        elif unsent or self._reader.state is REFUSED:
            self._transport.abort()
        elif self._reader.state is BETWEEN:
            self.close()
        else:
            part = "headers" if self._reader.state is HEAD else "body"
            self.refuse(BadRequest(408, f"the request's {part} did not arrive in time"))

    def _is_idle(self) -> bool:
        if self._waits or self._reader.ready:
            return False
        return self._exchange is None and self._reader.state is BETWEEN
