"""The requests of one client connection, processed in order and one at a time.

They are read ahead (pipelining), up to a limit.
"""

from typing import Final

from fastroute.errors import BadRequest
from fastroute.proxy import clock
from fastroute.proxy.context import WorkerContext
from fastroute.proxy.exchange import Client, Exchange
from fastroute.proxy.loop_lag import note_step
from fastroute.proxy.own_replies import (
    OWN_PREFIX,
    LateReply,
    Listener,
    LocalReply,
    own_error,
    own_reply,
    unknown_model,
)
from fastroute.proxy.request_reader import BODY, Request, RequestReader
from fastroute.proxy.request_trace import Ended, RequestTrace, own_record
from fastroute.proxy.router import UnknownModel
from fastroute.rules.outcome import ENDINGS, Outcome
from fastroute.rules.paths import WAKE_PATHS
from fastroute.rules.request_head import RequestHead

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
NEVER = float("inf")


class RequestPipeline(Client):
    """Responds to requests, or starts their exchanges. The subclass has transport and timeouts."""

    __slots__ = (
        "_advancing",
        "_deadline",
        "_endpoints",
        "_exchange",
        "_forwards",
        "_head_in_hand",
        "_listener",
        "_reader",
        "_waits",
        "_worker",
        "_write_paused",
    )

    def __init__(self, worker: WorkerContext, listener: Listener) -> None:
        # Connection
        self._worker = worker
        self._listener = listener
        self._endpoints = listener.endpoints
        self._forwards = listener.forwards
        self._reader = RequestReader(worker.known_requests)
        self._write_paused = False
        self._waits = False  # for a turn of the event loop
        self._deadline = worker.stamp + worker.settings.config.client_idle_timeout
        self.address = b""
        self.model = None
        # Request
        self._exchange: Exchange | LateReply | None = None
        self._head_in_hand: RequestHead | None = None
        self._advancing = False

    # Implemented by the subclass

    def set_deadline(self) -> None:
        """Set the deadline of the client's next action; none while it waits for a response."""
        raise NotImplementedError

    def refuse(self, refusal: BadRequest) -> None:
        """Send an error for an invalid request, then close after the client had time to read it."""
        raise NotImplementedError

    def close(self) -> None:
        """Close after all written bytes are sent."""
        raise NotImplementedError

    def wait_for_turn(self) -> None:
        """Continue in another turn of the event loop, without reading meanwhile."""
        raise NotImplementedError

    # Requests

    def _advance(self) -> None:
        """Process requests in order until one has to wait for a server."""
        if self._advancing or self._waits:
            return  # called from the loop below, or will be called in another turn
        self._advancing = True
        while self._reader.ready and self._exchange is None and not self._write_paused:
            request: Request = self._reader.ready.popleft()
            assert request.head is not None, "a request was queued unchecked"
            # The reader keeps the last request until the next one; free its body now.
            body, request.body = request.body, b""
            if not self._reader.ready:
                self._serve(request.head, body)
            elif self._serve_one_of_many(request.head, body):
                self.wait_for_turn()
                break
        self._advancing = False
        if self._exchange is None and not self._reader.ready and not self._waits:
            if self._reader.refusal is not None:
                self.refuse(self._reader.refusal)
            elif self._reader.state is BODY:
                self._invite_body()

    def _serve_one_of_many(self, head: RequestHead, body: bytes | bytearray) -> bool:
        """Serve a pipelined request; return True if the others have to wait for a turn."""
        turns = self._worker.turns
        before: float = turns.spent
        started: float = clock.now()
        self._serve(head, body)
        seconds: float = clock.now() - started
        note_step(self._worker.cells.process.slowest_read_us, seconds)
        turns.charge(seconds - (turns.spent - before))
        return turns.is_over

    def _serve(self, head: RequestHead, body: bytes | bytearray) -> None:
        worker = self._worker
        self._head_in_hand = head
        local = self._answer(head)
        if local is not None:
            worker.ledger.own(Outcome.LOCAL)
            self._reply_locally(local, head)
            return
        try:
            is_traced = worker.settings.traces
            group, body, self.model = worker.router.find(
                head.target, head.content_type, body, is_traced
            )
        except UnknownModel as unknown:
            worker.ledger.own(Outcome.UNKNOWN_MODEL)
            trace = None
            if worker.settings.traces:
                trace = RequestTrace(worker, self.address, head, len(body), unknown.model)
            reply = unknown_model(unknown.model, unknown.known)
            reason = ENDINGS[Outcome.UNKNOWN_MODEL].message
            self._reply(reply, Outcome.UNKNOWN_MODEL, reason, trace)
            return
        if not head.is_inference and head.path in WAKE_PATHS:
            group = worker.router.wakeable
        self._deadline = NEVER
        self._exchange = exchange = Exchange()
        exchange.start(worker, self, head, body, group)

    def _answer(self, head: RequestHead) -> LocalReply | LateReply | None:
        """Return fastroute's own response, or None if the request is for a server."""
        # Nearly all requests are for servers, so check this first.
        path = head.path
        if self._forwards and path not in self._endpoints and not path.startswith(OWN_PREFIX):
            return None
        started: float = clock.now()
        reply = self._listener.answer(head.method, head.target)
        seconds: float = clock.now() - started
        note_step(self._worker.cells.process.slowest_endpoint_us, seconds)
        self._worker.turns.charge(seconds)
        return reply

    def _reply_locally(self, local: LocalReply | LateReply, head: RequestHead) -> None:
        if isinstance(local, LateReply):
            self._deadline = NEVER
            self._exchange = local
            local.start(self, head)
        else:
            self._reply(local)

    def late_reply(self, reply: LocalReply, reason: str | None = None) -> None:
        """Send a response of fastroute that was not ready immediately, then continue."""
        self._exchange = None
        self._reply(reply, Outcome.LOCAL, reason)
        self._advance()

    def _invite_body(self) -> None:
        """Send 100 Continue if the client waits for it and no other response comes first."""
        request = self._reader.request
        assert request.head is not None, "a body was read before its head was checked"
        if request.head.expects_continue and not request.continued and not request.body:
            self.write(_CONTINUE)
        request.continued = True

    def exchange_done(self, keep_alive: bool) -> None:
        """Continue with the next request, or close."""
        self._exchange = None
        if keep_alive and not self._worker.clients.draining:
            self.set_deadline()
            self._advance()
        else:
            self.close()

    def exchange_refused(self, outcome: Outcome, message: str) -> None:
        """Send an error of fastroute instead of a server's response."""
        status = ENDINGS[outcome].status
        assert status is not None, f"{outcome} is answered by a server"
        exchange, self._exchange = self._exchange, None
        trace = None if exchange is None else exchange.trace
        self._reply(own_error(status, message), outcome, message, trace)
        self._advance()

    def _reply(
        self,
        reply: LocalReply,
        outcome: Outcome = Outcome.LOCAL,
        reason: str | None = None,
        trace: RequestTrace | None = None,
    ) -> None:
        """Send a response to the request in progress; the other arguments are for its record."""
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
            self.set_deadline()
        else:
            self.close()
