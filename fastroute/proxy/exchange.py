"""One request: chooses a server, tries again, relays the response, and is counted once.

This is the only place where the client's side and the server's side meet.

    start ──> attempt: CONNECTING ──> WAITING ──> REPLYING ──> end
                 ^        │              │            │
                 └────────┴── retry <────┴────────────┘

An exchange has one attempt at a time. Until the client has got a byte of a response the end of an
attempt may lead to another one, as `ENDINGS` says; a response that may lead to one is held back to
its end. Each end of an attempt, and of the exchange, is an `Outcome`:

    no server to ask   NO_USABLE_SERVER
    CONNECTING         CONNECT_FAILED, OUT_OF_RESOURCES
    WAITING            STALE_CONNECTION, CONNECTION_LOST, TIMED_OUT
    REPLYING, held     BROKEN_RESPONSE, TIMED_OUT, OVERLOADED, SERVER_ERROR, SHUTTING_DOWN
    REPLYING, passed   ANSWERED, OVERLOADED, SERVER_ERROR, SHUTTING_DOWN, TRUNCATED, STALLED
    any                CLIENT_GONE_*, STOPPED_*
"""

import logging
from collections.abc import Callable
from typing import Final

from fastroute.proxy import clock
from fastroute.proxy.attempt import Attempt, AttemptSink
from fastroute.proxy.context import WorkerContext
from fastroute.proxy.model_servers import ModelServers
from fastroute.proxy.reply import Reply
from fastroute.proxy.request_trace import RequestTrace
from fastroute.proxy.retries import Retries
from fastroute.proxy.server import Server
from fastroute.proxy.upstream import UpstreamConnection
from fastroute.rules.framing import Body
from fastroute.rules.outcome import ENDINGS, Next, Outcome, Phase, Side
from fastroute.rules.request_head import RequestHead
from fastroute.rules.server_state import ServerState

log = logging.getLogger(__name__)

# Through their classes each costs 60 ns on Python 3.11.
ANSWERED: Final = Outcome.ANSWERED
TRIAL: Final = ServerState.TRIAL
FIRST_ERROR: Final = 400
NONE_TRIED: Final[tuple[Server, ...]] = ()
UNTIL_CLOSE: Final = Body.UNTIL_CLOSE


class Client:
    """The client's side of an exchange.

    Attributes:
        address: IP address, for X-Forwarded-For.
        model: Model that the current request names, as its servers have it, or None.
        write: Sends bytes of the response.
    """

    __slots__ = ("address", "model", "write")

    address: bytes
    model: str | None
    write: Callable[[bytes], None]

    def exchange_done(self, keep_alive: bool) -> None:
        """Note that the response is whole."""
        raise NotImplementedError

    def exchange_refused(self, outcome: Outcome, message: str) -> None:
        """Answer with an error of our own; no byte of a response has been written."""
        raise NotImplementedError

    def exchange_broken(self, reset: bool) -> None:
        """End the connection so that the part of a response it got is not taken for a whole one.

        Args:
            reset: True if only a reset tells the client, since the close is the response's end.
        """
        raise NotImplementedError


class Exchange(AttemptSink):
    """A request, from the choice of a server to the last byte of the response.

    Attributes:
        body: Body of the request; empty from the start of the response on.
        trace: Its trace, or None if none is wanted.
    """

    __slots__ = ("_attempt", "_client", "_context", "_group", "_retries", "_started_at", "body",
                 "trace")  # fmt: skip

    body: bytes | bytearray
    trace: RequestTrace | None
    _attempt: Attempt | None
    _client: Client
    _context: WorkerContext
    _group: ModelServers
    _retries: Retries | None
    _started_at: float

    def __repr__(self) -> str:
        return f"<Exchange {self.request_id!r} {self._attempt!r}>"

    def start(
        self,
        context: WorkerContext,
        client: Client,
        head: RequestHead,
        body: bytes | bytearray,
        group: ModelServers,
    ) -> None:
        """Choose a server and send the request. Compiled, a constructor's arguments cost more."""
        self._context = context
        self._client = client
        self.body = body
        self._group = group
        self.request_id = head.request_id or context.request_ids.new()
        self._retries = None
        self._started_at = 0.0
        self.request = head
        self.paused = False
        self.write = client.write
        self._attempt = self.trace = None
        if context.settings.traces:
            self.trace = RequestTrace(context, client.address, head, len(body), client.model)
            self.write = self.trace.follow(self.request_id, client.write)
        context.ledger.requests += 1
        server = (self.trace or context.router).choose(self._group, NONE_TRIED)
        if server is None:
            context.ledger.own(Outcome.NO_USABLE_SERVER)
            self._end(Outcome.NO_USABLE_SERVER)
        else:
            self._ask(server)

    # From the client

    def pause_reply(self) -> None:
        """Stop reading from the server: the client does not keep up."""
        self.paused = True
        if self._attempt is not None:
            self._attempt.pause()

    def resume_reply(self) -> None:
        """Go on reading from the server."""
        self.paused = False
        if self._attempt is not None:
            self._attempt.resume()

    def cancel(self) -> None:
        """Stop at once, in whatever phase: the client is gone and vLLM need not generate on."""
        attempt = self._attempt
        if attempt is None:
            return
        phase = attempt.phase()
        is_waiting = phase is not Phase.REPLYING
        outcome = Outcome.CLIENT_GONE_WAITING if is_waiting else Outcome.CLIENT_GONE_REPLYING
        self._end(outcome, phase.value)

    def cut(self) -> None:
        """Stop at once, and let the client see that it was not the end."""
        attempt = self._attempt
        if attempt is not None:
            passed_on = attempt.is_passed_on()
            self._end(Outcome.STOPPED_REPLYING if passed_on else Outcome.STOPPED_WAITING)

    def sweep(self, now: float) -> None:
        """Fail if the server has been silent for too long. A client's own pause does not count."""
        if self._attempt is not None and not self.paused:
            self._attempt.sweep(now)

    # From the attempt

    def send_request(self, attempt: Attempt, upstream: UpstreamConnection) -> None:
        """Send the request, as this server is to get it."""
        server, body, client = attempt.server, self.body, self._client.address
        authority, key, request_id = server.authority, server.authorization, self.request_id
        if self._retries is not None:
            request_id = self._retries.request_id(request_id)
        head = self.request.render(authority, key, client, request_id, len(body))
        if self.trace is not None:
            head = self.trace.outgoing(head)
        self._context.ledger.send(server.row, len(head) + len(body), upstream.reused)
        upstream.send(attempt, head, body)
        if self.paused:
            upstream.transport.pause_reading()

    def begin_response(self, reply: Reply, head: bytes, body: bytes) -> None:
        """Write what came with the head, in one system call; but hold what may be tried again.

        So is the head of an event stream until its first event: vLLM sends it within milliseconds,
        and the first token after queue and prefill. Until then a server that dies can be replaced.
        """
        if reply.head.status >= FIRST_ERROR and self._may_lead_on(reply):
            if not (reply.hold(head) and (not body or reply.hold(body))):
                self.release_response(reply)
        elif body or not reply.head.is_event_stream or reply.outcome is not ANSWERED:
            self._pass_on(reply, head, body, 1 if body else 0)
        else:
            reply.hold_until_body(head)

    def release_response(self, reply: Reply) -> None:
        """Write what was held."""
        if reply.held is not None:
            held = reply.release()
            self._pass_on(reply, held[0], b"".join(held[1:]), len(held) - 1)

    def end_response(self, reply: Reply) -> None:
        """Count the request and tell the client, or try again."""
        if reply.outcome is not ANSWERED:
            reply.judge_body()
        if reply.held is not None:
            if reply.outcome is not ANSWERED and self._retry(reply.outcome, ""):
                return
            self.release_response(reply)
        self._end(reply.outcome)

    def follow(self, outcome: Outcome) -> Next:
        return self._failures().follow(outcome, 0)

    def end_attempt(self, outcome: Outcome, reason: str) -> None:
        """Do what the retry rule of a failure says."""
        if not self._retry(outcome, reason):
            self._end(outcome, reason)

    # Within

    def _ask(self, server: Server) -> None:
        """Start an attempt at a server."""
        if self.trace is not None:
            self.trace.attempt(server)
        context, attempt = self._context, Attempt()
        self._attempt = attempt
        upstream = server.take_idle(context.stamp)
        if self._retries is not None and upstream is not None:
            upstream = self._retries.connection_for(upstream)
        attempt.begin(context, self, server, upstream)
        if not self._started_at:
            self._started_at = attempt.started_at
        context.ledger.start(server.row)
        if upstream is None:
            attempt.connect()
        else:
            self.send_request(attempt, upstream)

    def _pass_on(self, reply: Reply, head: bytes, body: bytes, events: int) -> None:
        """Write the start; from now on the response passes as it comes, and nothing is retried."""
        attempt = self._attempt
        assert attempt is not None, "a response of no attempt"
        self.body = b""  # a long stream must not hold its request
        if reply.outcome is ANSWERED:
            # It answers: others need not wait until this stream ends.
            if attempt.server.state is TRIAL:
                self._context.observer.observe(attempt.seen(ANSWERED, ""), self._group)
            if self._retries is not None:
                self._retries.confirm()
        # Counted only now: a refusal that is tried elsewhere is no answer.
        self._context.ledger.first_byte(attempt.server.row, attempt.first_byte)
        if self.trace is not None:
            at = attempt.started_at + attempt.first_byte
            head = self.trace.replying(head, reply.head.status, events, at)
        data = head + body
        reply.bytes_out = len(data)
        self.write(data)

    def _may_lead_on(self, reply: Reply) -> bool:
        """Judge an error; return True if it must be held, as another attempt may follow its end."""
        attempt = self._attempt
        assert attempt is not None, "a response of no attempt"
        is_inference = self.request.is_inference
        key_is_ours = is_inference and attempt.server.authorization is not None
        if not reply.judge(key_is_ours, is_inference and bool(self._group.name)):
            return True
        return self._failures().follow(reply.outcome, reply.head.status) is not Next.GIVE_UP

    def _failures(self) -> Retries:
        if self._retries is None:
            self._retries = Retries(self._context, self.request, self._group, self.trace)
        return self._retries

    def _retry(self, outcome: Outcome, reason: str) -> bool:
        """Make another attempt after one with this outcome; False if there is none to make."""
        attempt, retries = self._attempt, self._failures()
        assert attempt is not None, "a retry of no attempt"
        reply, server = attempt.reply, attempt.server
        status = 0 if reply is None else reply.head.status
        other = retries.next_server(server, outcome, status)
        if other is None:
            return False
        if self.trace is not None:
            self.trace.failed(ENDINGS[outcome].retry_message.format(status))
        attempt.excuse(False)
        retries.note(outcome, attempt.seen(outcome, reason))
        self._context.ledger.retry(outcome, server.row, status, other.row)
        self._ask(other)
        return True

    def _end(self, outcome: Outcome, reason: str = "") -> None:
        """End the request: count it, record it, and tell the client; once.

        Args:
            outcome: How it ended.
            reason: Details for people; empty after a whole response.
        """
        attempt, self._attempt = self._attempt, None
        if attempt is None:
            _fail(self._client, self.trace, outcome, reason, None)
            return
        context, server, reply = self._context, attempt.server, attempt.reply
        row, slot = server.row, self._group.slot
        attempt.excuse(False)
        unusual = outcome is not ANSWERED or self._retries is not None or server.state is TRIAL
        if (unusual or context.router.refusals.penalties) and (
            self._retries is None or self._retries.settle(outcome)
        ):
            context.observer.observe(attempt.seen(outcome, reason), self._group)
        if reply is None or not (outcome is ANSWERED or ENDINGS[outcome].is_response):
            attempt.drop()
            bytes_out = 0 if reply is None else reply.bytes_out
            context.ledger.fail(outcome, row, slot, bytes_out)
            _fail(self._client, self.trace, outcome, reason, reply)
            return
        seconds = clock.now() - self._started_at
        if reply.is_proof:
            context.ledger.prove(row, slot)
        context.ledger.answer(row, slot, reply.head.status, seconds, reply.bytes_out)
        if self.trace is not None:
            self.trace.end(outcome, bytes_out=reply.bytes_out)
        self._client.exchange_done(reply.keep_alive)


def _fail(
    client: Client, trace: RequestTrace | None, outcome: Outcome, reason: str, reply: Reply | None
) -> None:
    """Record a request without a whole response, and tell the client."""
    ending = ENDINGS[outcome]
    message = ending.message.format(reason)
    if ending.status is not None:
        client.exchange_refused(outcome, message)
        return
    if trace is not None:
        trace.end(outcome, bytes_out=0 if reply is None else reply.bytes_out, reason=message)
    if ending.by is not Side.CLIENT and reply is not None:
        client.exchange_broken(reply.body is UNTIL_CLOSE)
