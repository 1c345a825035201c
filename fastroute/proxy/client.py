"""One client connection: answers its requests in order, and keeps time.

Requests are read ahead (pipelining) up to a bound, and answered one at a time.
"""

import asyncio
import logging
import socket
import struct
from typing import Final

from fastroute.errors import BadRequest
from fastroute.proxy.context import WorkerContext
from fastroute.proxy.exchange import Client, Exchange
from fastroute.proxy.own_replies import (
    OWN_PREFIX,
    LateReply,
    Listener,
    LocalReply,
    own_error,
    own_reply,
    unknown_model,
)
from fastroute.proxy.request_reader import BETWEEN, BODY, HEAD, REFUSED, Request, RequestReader
from fastroute.proxy.request_trace import Ended, RequestTrace, own_record
from fastroute.proxy.router import UnknownModel
from fastroute.rules.outcome import ENDINGS, Outcome
from fastroute.rules.request_head import RequestHead

log = logging.getLogger(__name__)

# Bytes the transport may hold for a client before the server is no longer read. A read brings
# 256 KiB at most (uvloop), so a slow client holds less than this and one read.
WRITE_HIGH_BYTES = 65536
# How long we go on reading, and throwing away, what a refused client still sends: closing with
# unread bytes would reset the connection and destroy the answer on its way.
LINGER_S = 2.0
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_NEVER: Final = float("inf")


class ClientConnection(Client):
    """The protocol of one accepted connection.

    It has the methods of an asyncio.Protocol but not that base: compiled classes take none that is
    not compiled.
    """

    __slots__ = (
        "_advancing",
        "_deadline",
        "_endpoints",
        "_exchange",
        "_forwards",
        "_head_in_hand",
        "_is_uncounted",
        "_listener",
        "_reader",
        "_transport",
        "_unsent",
        "_worker",
        "_write_paused",
    )

    _transport: asyncio.Transport

    def __init__(self, worker: WorkerContext, listener: Listener) -> None:
        # Connection
        self._worker = worker
        self._listener = listener
        self._endpoints = listener.endpoints
        self._forwards = listener.forwards
        self._reader = RequestReader(worker.known_requests)
        self._write_paused = False
        self._deadline = worker.stamp + worker.settings.config.client_idle_timeout
        self._unsent = 0
        self._is_uncounted = False
        self.address = b""
        # Request
        self._exchange: Exchange | LateReply | None = None
        self._head_in_hand: RequestHead | None = None
        self._advancing = False

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
            self._refuse(BadRequest(503, "too many connections; try again shortly"))

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
            self._set_deadline()
        if self._exchange is None:
            self._advance()

    def eof_received(self) -> None:
        """Take the end of the client's bytes for its going away, as vLLM does."""
        if self._exchange is None:
            self._close()  # what was answered already must still reach it
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
        self._set_deadline()
        if self._exchange is not None:
            self._exchange.pause_reply()

    def resume_writing(self) -> None:
        """Go on."""
        self._write_paused = False
        self._set_deadline()
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
            self._close()

    def cut(self) -> bool:
        """Close at once, but not so that a part of a reply looks whole; whether there was one."""
        exchange = self._exchange
        self._reader.stop()
        if exchange is not None:
            exchange.cut()
        if not self._transport.is_closing():
            self._close()
        return exchange is not None

    # Answering

    def _advance(self) -> None:
        """Answer requests in order until one has to wait for a server."""
        if self._advancing:
            return  # further up the stack the loop below is running
        self._advancing = True
        while self._reader.ready and self._exchange is None and not self._write_paused:
            request: Request = self._reader.ready.popleft()
            assert request.head is not None, "a request was queued unchecked"
            # The reader keeps the last request, for as long as the client is there.
            body, request.body = request.body, b""
            self._serve(request.head, body)
        self._advancing = False
        if self._exchange is None and not self._reader.ready:
            if self._reader.refusal is not None:
                self._refuse(self._reader.refusal)
            elif self._reader.state is BODY:
                self._invite_body()

    def _serve(self, head: RequestHead, body: bytes | bytearray) -> None:
        worker = self._worker
        self._head_in_hand = head
        local = self._answer(head)
        if local is not None:
            worker.ledger.own(Outcome.LOCAL)
            self._reply_locally(local, head)
            return
        try:
            group, body = worker.router.find(head.target, head.content_type, body)
        except UnknownModel as unknown:
            worker.ledger.own(Outcome.UNKNOWN_MODEL)
            trace = None
            if worker.settings.traces:
                trace = RequestTrace(worker, self.address, head, body, unknown.model)
            reply = unknown_model(unknown.model, unknown.known)
            reason = ENDINGS[Outcome.UNKNOWN_MODEL].message
            self._reply(reply, Outcome.UNKNOWN_MODEL, reason, trace)
            return
        self._deadline = _NEVER
        self._exchange = exchange = Exchange()
        exchange.start(worker, self, head, body, group)

    def _answer(self, head: RequestHead) -> LocalReply | LateReply | None:
        """Return fastroute's own answer, or None where it is a server's to answer."""
        # Nearly all requests are for servers: see that with little ado.
        path = head.path
        if self._forwards and path not in self._endpoints and not path.startswith(OWN_PREFIX):
            return None
        return self._listener.answer(head.method, head.target)

    def _reply_locally(self, local: LocalReply | LateReply, head: RequestHead) -> None:
        if isinstance(local, LateReply):
            self._deadline = _NEVER
            self._exchange = local
            local.start(self, head)
        else:
            self._reply(local)

    def late_reply(self, reply: LocalReply, reason: str | None = None) -> None:
        """Send fastroute's own reply that had to be waited for, then go on."""
        self._exchange = None
        self._reply(reply, Outcome.LOCAL, reason)
        self._advance()

    def _invite_body(self) -> None:
        """Send 100 Continue where the client waits for it and no other reply is due."""
        request = self._reader.request
        assert request.head is not None, "a body was read before its head was checked"
        if request.head.expects_continue and not request.continued and not request.body:
            self.write(_CONTINUE)
        request.continued = True

    def exchange_done(self, keep_alive: bool) -> None:
        """Go on with the next request, or close."""
        self._exchange = None
        if keep_alive and not self._worker.clients.draining:
            self._set_deadline()
            self._advance()
        else:
            self._close()

    def exchange_refused(self, outcome: Outcome, message: str) -> None:
        """Answer with an error of our own in place of a server's reply."""
        status = ENDINGS[outcome].status
        assert status is not None, f"{outcome} is answered by a server"
        exchange, self._exchange = self._exchange, None
        trace = None if exchange is None else exchange.trace
        self._reply(own_error(status, message), outcome, message, trace)
        self._advance()

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
            self._close()

    def _reply(
        self,
        reply: LocalReply,
        outcome: Outcome = Outcome.LOCAL,
        reason: str | None = None,
        trace: RequestTrace | None = None,
    ) -> None:
        """Answer the request in progress; all but the reply is for its record."""
        head = self._head_in_hand
        assert head is not None, "an answer to no request"
        keep_alive = head.keep_alive and not self._worker.clients.draining
        connection = None if keep_alive else b"close"
        if keep_alive and head.http_1_0:
            connection = b"keep-alive"
        known = head.field(b"if-none-match") if reply.fields else None
        written = own_reply(reply, method=head.method, connection=connection, if_none_match=known)
        self.write(written)
        if trace is not None:
            trace.end(outcome, bytes_out=len(written), reason=reason, status=reply.status)
        elif self._worker.recorder is not None:
            ended = Ended(outcome, reply.status, len(written), reason)
            self._worker.recorder.add(own_record(self.address, head, ended))
        if keep_alive:
            self._set_deadline()
        else:
            self._close()

    def _refuse(self, refusal: BadRequest) -> None:
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
        self._set_deadline()

    def _close(self) -> None:
        """Close when all that was written is sent."""
        self._reader.stop()
        self._set_deadline()
        self._transport.close()

    # Time

    def _set_deadline(self) -> None:
        """Give the client time for what it owes next; while it waits for us it owes nothing."""
        wait: float
        reading = self._reader.state
        if self._write_paused or (reading is REFUSED and self._exchange is None):
            self._unsent = self._transport.get_write_buffer_size()
            wait = self._worker.settings.config.client_idle_timeout if self._unsent else LINGER_S
        elif self._exchange is not None:
            self._deadline = _NEVER
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
            self._set_deadline()  # it reads slowly, but it reads
        elif unsent or self._reader.state is REFUSED:
            self._transport.abort()
        elif self._reader.state is BETWEEN:
            self._close()
        else:
            part = "head" if self._reader.state is HEAD else "body"
            self._refuse(BadRequest(408, f"the request's {part} did not come in time"))

    def _is_idle(self) -> bool:
        return self._exchange is None and self._reader.state is BETWEEN
