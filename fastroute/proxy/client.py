"""One client connection: its transport, its timeouts, and its end."""

import asyncio
import logging
import socket
import struct
from typing import Final

from fastroute.errors import BadRequest
from fastroute.proxy.client_reading import ClientReading
from fastroute.proxy.clients import network_of
from fastroute.proxy.context import WorkerContext
from fastroute.proxy.own_replies import Listener, own_error, own_reply
from fastroute.proxy.request_pipeline import NEVER
from fastroute.proxy.request_reader import BETWEEN, BODY, HEAD, REFUSED
from fastroute.proxy.request_trace import Ended, own_record
from fastroute.proxy.upload_rate import UploadRate
from fastroute.rules.outcome import Outcome

log = logging.getLogger(__name__)

# Bytes in the buffer of a client above which reading from the server pauses (backpressure). A read
# brings at most 256 KiB (uvloop), so the buffer of a slow client has less than this plus one read.
WRITE_HIGH_BYTES = 65536
# Seconds in which a refused client's bytes are still read and dropped: closing with unread bytes
# would reset the connection, and the client would lose the response.
LINGER_S = 2.0
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


class ClientConnection(ClientReading):
    """The protocol of one accepted connection.

    It has the methods of an asyncio.Protocol but not that base class, because a compiled class
    cannot have a base that is not compiled.
    """

    __slots__ = ("_is_uncounted", "_network", "_rate", "_unsent")

    def __init__(self, worker: WorkerContext, listener: Listener) -> None:
        super().__init__(worker, listener)
        self._unsent = 0
        self._is_uncounted = False
        self._network = b""  # set if connections are counted by address
        self._rate = UploadRate()

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
        # The admin port must stay reachable for diagnosis.
        refusal = self._refusal() if self._listener.forwards else None
        worker.clients.add(self)
        if refusal is not None or not self._listener.forwards:
            # Not counted while it lingers: many refused connections would lock out all clients.
            self._do_not_count()
        if refusal is not None:
            self.refuse(refusal)

    def _refusal(self) -> BadRequest | None:
        """Return the error if there are too many connections, of this client or of all."""
        worker = self._worker
        config = worker.settings.config
        per_address = config.max_connections_per_address
        if per_address:
            self._network = network_of(self.address)
            if worker.clients.enter(self._network) > per_address:
                return BadRequest(429, "too many connections from this address")
        if worker.clients.have_room(config.max_connections, worker.stamp):
            return None
        return BadRequest(503, "too many connections; try again shortly")

    def _do_not_count(self) -> None:
        self._is_uncounted = True
        self._worker.clients.exempt()

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
        if self._network:
            worker.clients.leave(self._network)
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

    def held_bytes(self) -> int:
        """Return the size of the request bodies it keeps."""
        size: int = self._reader.held_bytes()
        return size if self._exchange is None else size + len(self._exchange.body)

    def idle_since(self) -> float | None:
        """Return its deadline, which is a fixed time after it became idle; None if it is not."""
        return self._deadline if self._is_idle() else None

    def give_way(self) -> bool:
        """Close for another client, and do not count for `max_connections` from now on."""
        if self._is_uncounted or self._transport.is_closing() or not self._is_idle():
            return False
        self._do_not_count()
        self.close()
        return True

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
        config = self._worker.settings.config
        reading = self._reader.state
        if self._write_paused or (reading is REFUSED and self._exchange is None):
            self._unsent = self._transport.get_write_buffer_size()
            wait = config.client_idle_timeout if self._unsent else LINGER_S
        elif self._exchange is not None:
            self._deadline = NEVER
            return
        elif reading is BETWEEN:
            wait = self._worker.settings.client_idle_timeout
        elif reading is HEAD:
            wait = config.client_header_timeout
        else:
            wait = 0.0 if self._uploads_too_slowly() else config.client_body_timeout
        self._deadline = self._worker.stamp + wait

    def _uploads_too_slowly(self) -> bool:
        config = self._worker.settings.config
        if self._deadline == NEVER:
            self._rate.restart()  # it was a server that the body waited for
        return self._rate.is_too_low(
            len(self._reader.request.body),
            *(self._worker.stamp, config.client_body_timeout, config.client_min_rate),
        )

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
