"""One client connection: its transport, its timeouts, and its end."""

import asyncio
import logging
import socket
import struct
from typing import Final

from fastroute.errors import BadRequest
from fastroute.proxy.context import WorkerContext
from fastroute.proxy.own_replies import Listener, own_error, own_reply
from fastroute.proxy.request_pipeline import NEVER, RequestPipeline
from fastroute.proxy.request_reader import BETWEEN, BODY, HEAD, REFUSED
from fastroute.proxy.request_trace import Ended, own_record
from fastroute.rules.outcome import Outcome

log = logging.getLogger(__name__)

# Bytes the transport may hold for a client before the server is no longer read. A read brings
# 256 KiB at most (uvloop), so a slow client holds less than this and one read.
WRITE_HIGH_BYTES = 65536
# How long we go on reading, and throwing away, what a refused client still sends: closing with
# unread bytes would reset the connection and destroy the answer on its way.
LINGER_S = 2.0
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


class ClientConnection(RequestPipeline):
    """The protocol of one accepted connection.

    It has the methods of an asyncio.Protocol but not that base: compiled classes take none that is
    not compiled.
    """

    __slots__ = ("_is_uncounted", "_transport", "_unsent")

    _transport: asyncio.Transport

    def __init__(self, worker: WorkerContext, listener: Listener) -> None:
        super().__init__(worker, listener)
        self._unsent = 0
        self._is_uncounted = False

    def __repr__(self) -> str:
        return f"<ClientConnection {self.address!r} {self._reader.state.name} {self._exchange!r}>"

    # From the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection on, or turn it away when there are too many."""
        worker = self._worker
        self._transport = transport  # type: ignore[assignment]  # TCP gives a two-way transport
        self.write = self._transport.write
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        peer = transport.get_extra_info("peername")
        # An IPv6 socket shows IPv4 clients in a form that no list of addresses has.
        self.address = peer[0].removeprefix("::ffff:").encode() if peer else b"unknown"
        worker.clients.add(self)
        if not self._listener.forwards:
            # The admin port stays open to those who want to know what is wrong.
            self._do_not_count()
        elif worker.clients.exceed(worker.settings.config.max_connections):
            # Not counted while it lingers: a storm of them would keep everybody out.
            self._do_not_count()
            self.refuse(BadRequest(503, "too many connections; try again shortly"))

    def _do_not_count(self) -> None:
        self._is_uncounted = True
        self._worker.clients.exempt()

    def data_received(self, data: bytes) -> None:
        """Read requests and answer what can be answered."""
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
        """Take the end of the client's bytes for its going away, as vLLM does."""
        if self._exchange is None:
            self.close()  # what was answered already must still reach it
        else:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop whatever is being done for the client."""
        worker = self._worker
        self._reader.stop()
        self._reader.release()
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.cancel()
        worker.clients.remove(self, exempt=self._is_uncounted)

    def pause_writing(self) -> None:
        """Stop the server's side: the client does not keep up."""
        self._write_paused = True
        self.set_deadline()
        if self._exchange is not None:
            self._exchange.pause_reply()

    def resume_writing(self) -> None:
        """Go on."""
        self._write_paused = False
        self.set_deadline()
        if self._exchange is not None:
            self._exchange.resume_reply()
        else:
            self._advance()

    # From the worker

    def sweep(self, now: float) -> None:
        """Act on deadlines that have passed."""
        if now >= self._deadline:
            self._time_out()
        elif self._exchange is not None:
            self._exchange.sweep(now)

    def drain(self) -> None:
        """Close now if nothing is asked, else with the answer in hand."""
        if self._is_idle():
            self.close()

    def cut(self) -> bool:
        """Close at once, but not so that a part of a reply looks whole; whether there was one."""
        exchange = self._exchange
        self._reader.stop()
        if exchange is not None:
            exchange.cut()
        if not self._transport.is_closing():
            self.close()
        return exchange is not None

    def exchange_broken(self, reset: bool) -> None:
        """End the connection so that a part of a reply is not taken for a whole one."""
        self._exchange = None
        if reset:
            # The close is the end of this reply, so only a reset says that it is not whole.
            sock = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self._transport.abort()
        else:
            # The missing last chunk, or the missing bytes, say it. What came before is the
            # client's to have, as it would have had it from the server.
            self.close()

    def refuse(self, refusal: BadRequest) -> None:
        """Answer a broken request, then close once the client had the time to read it."""
        self._worker.ledger.own(Outcome.REFUSED)
        # Of what cannot be understood, nothing is said but that.
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
        """Close when all that was written is sent."""
        self._reader.stop()
        self.set_deadline()
        self._transport.close()

    # Time

    def set_deadline(self) -> None:
        """Give the client time for what it owes next; while it waits for us it owes nothing."""
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
            self.set_deadline()  # it reads slowly, but it reads
        elif unsent or self._reader.state is REFUSED:
            self._transport.abort()
        elif self._reader.state is BETWEEN:
            self.close()
        else:
            part = "head" if self._reader.state is HEAD else "body"
            self.refuse(BadRequest(408, f"the request's {part} did not come in time"))

    def _is_idle(self) -> bool:
        return self._exchange is None and self._reader.state is BETWEEN
