"""One attempt at a server: connects, sends the request, hands the response to its exchange.

An attempt has a server from its first moment and ends once: with `Exchange.take_response` after a
whole response, with `Exchange.take_failure` after anything else, or by `drop`, without a word.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from fastroute.printable import printable_bytes
from fastroute.proxy import clock
from fastroute.proxy.context import WorkerContext
from fastroute.proxy.observer import Seen
from fastroute.proxy.reply import Reply
from fastroute.proxy.server import Server
from fastroute.proxy.upstream import ReplySink, UpstreamConnection
from fastroute.rules.evidence import OWN_LIMITS
from fastroute.rules.framing import ReplyEnd
from fastroute.rules.outcome import ENDINGS, Next, Outcome, Phase, evidence_of, outcome_of_failure
from fastroute.rules.request_head import RequestHead
from fastroute.rules.response_head import ReplyHead

log = logging.getLogger(__name__)

# Through their classes each costs 60 ns on Python 3.11.
ANSWERED: Final = Outcome.ANSWERED
REUSABLE: Final = ReplyEnd.REUSABLE
SPENT: Final = ReplyEnd.SPENT


class AttemptSink:
    """Receives what becomes of an attempt: the exchange.

    Attributes:
        paused: True while the client does not keep up.
        request: Head of the client's request.
        request_id: Its id.
        write: Sends bytes of a response to the client.
    """

    __slots__ = ("paused", "request", "request_id", "write")

    paused: bool
    request: RequestHead
    request_id: bytes
    write: Callable[[bytes], None]

    def send_request(self, attempt: "Attempt", upstream: UpstreamConnection) -> None:
        """Send the request on an idle connection."""
        raise NotImplementedError

    def begin_response(self, reply: Reply, head: bytes, body: bytes) -> None:
        """Take the first bytes of a response.

        Args:
            reply: The response; its attempt writes what follows, unless it is held.
            head: As it is for the client.
            body: What came with it.
        """
        raise NotImplementedError

    def release_response(self, reply: Reply) -> None:
        """Write what was held."""
        raise NotImplementedError

    def end_response(self, reply: Reply) -> None:
        """Take the end of a whole response."""
        raise NotImplementedError

    def follow(self, outcome: Outcome) -> Next:
        """Return what may follow an attempt without a whole response."""
        raise NotImplementedError

    def end_attempt(self, outcome: Outcome, reason: str) -> None:
        """Take the end of an attempt without a whole response."""
        raise NotImplementedError


class Attempt(ReplySink):
    """One try to get the response from one server.

    Attributes:
        server: The one that is asked.
        upstream: The connection to it, or None before there is one and after a whole response.
        started_at: When the server was chosen, in seconds by `clock`.
        heard_at: When the server sent something last, in seconds of the coarse clock.
        is_excused: True while it is counted as not waiting for its server.
        first_byte: Seconds from the start to the first byte of the response.
        reply: The response, or None until its head has come.
    """

    __slots__ = (
        "_connecting",
        "_context",
        "_sink",
        "first_byte",
        "heard_at",
        "is_excused",
        "reply",
        "server",
        "started_at",
        "upstream",
    )

    _context: WorkerContext
    _connecting: asyncio.Task[None] | None
    _sink: AttemptSink
    first_byte: float
    heard_at: float
    is_excused: bool
    reply: Reply | None
    server: Server
    started_at: float
    upstream: UpstreamConnection | None

    def begin(
        self,
        context: WorkerContext,
        sink: AttemptSink,
        server: Server,
        upstream: UpstreamConnection | None,
    ) -> None:
        """Set all attributes; compiled, arguments of a constructor cost 0.1 us more.

        Args:
            context: What the connections of a worker share.
            sink: Receives what becomes of it.
            server: The one to ask.
            upstream: An idle connection to it, or None: then call `connect`.
        """
        self._context = context
        self._sink = sink
        self._connecting = None
        self.method = sink.request.method
        self.server = server
        self.upstream = upstream
        self.started_at = clock.now()
        self.heard_at = context.stamp
        self.reply = None
        self.is_excused = False
        if sink.paused or not sink.request.is_inference:
            self.excuse(True)

    def __repr__(self) -> str:
        return f"{self.phase().name} server={self.server.url}"

    def connect(self) -> None:
        """Open a connection, then have the request sent on it."""
        self._connecting = self._context.loop.create_task(self._connect())

    def drop(self) -> None:
        """Stop at once: vLLM then stops generating."""
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        if self.upstream is not None:
            self.upstream.cancel()

    def excuse(self, excused: bool) -> None:
        """Count the request among those that do not wait for their server, or not any more.

        Those whose client does not read, and those that are no work for the engine, say nothing
        about its progress.
        """
        if excused is not self.is_excused:
            self.is_excused = excused
            self._context.ledger.excuse(self.server.row, 1 if excused else -1)

    def pause(self) -> None:
        """Stop reading from the server."""
        self.excuse(True)
        if self.upstream is not None:
            self.upstream.transport.pause_reading()

    def resume(self) -> None:
        """Go on reading from the server."""
        self.excuse(not self._sink.request.is_inference)
        if self.upstream is not None:
            self.heard_at = self._context.stamp
            self.upstream.transport.resume_reading()

    def seen(self, outcome: Outcome, reason: str) -> Seen | None:
        """Return its end as evidence about the server, or None.

        Args:
            outcome: How it ended.
            reason: Details for people.
        """
        kind = evidence_of(outcome, self._sink.request.is_inference)
        reply = self.reply
        if kind is None or (outcome is ANSWERED and (reply is None or not reply.is_proof)):
            return None
        detail, retry_after = f"{self.phase().value}: {reason}", 0.0
        if reply is not None:
            retry_after = reply.head.retry_after
            if ENDINGS[outcome].is_response:
                detail = ENDINGS[outcome].message.format(reply.head.status)
        return Seen(self.server, kind, detail, retry_after, self.started_at)

    def sweep(self, now: float) -> None:
        """Fail if the server has been silent for too long."""
        if self.upstream is None:
            return  # connecting has a timeout of its own
        timeout = self._context.settings.config.request_timeout
        if now - self.heard_at >= timeout:
            self.drop()
            self._fail(f"silent for {timeout:g} s", silent=True)

    def phase(self) -> Phase:
        """Return how far it has come."""
        if self.reply is not None:
            # A head alone says nothing: vLLM sends it before it looks at the request.
            return Phase.WAITING if self.reply.awaits_body() else Phase.REPLYING
        if self.upstream is None:
            return Phase.CONNECTING
        return Phase.REPLYING if self.upstream.first_byte_at else Phase.WAITING

    def is_passed_on(self) -> bool:
        """Return True if the client has a part of the response."""
        return self.reply is not None and self.reply.held is None

    # From the server's connection

    def reply_informs(self, head: ReplyHead, raw: bytes) -> None:
        """Pass an informational head on; HTTP/1.0 knows none."""
        sink = self._sink
        if not sink.request.http_1_0:
            sink.write(head.render(raw, self.server.authority))

    def reply_begins(self, head: ReplyHead, raw: bytes, first_body: bytes) -> None:
        """Hand on the head, and what came with it."""
        context, server, upstream, sink = self._context, self.server, self.upstream, self._sink
        assert upstream is not None, "a reply from no connection"
        self.heard_at = context.stamp
        self.first_byte = upstream.first_byte_at - self.started_at
        reply = self.reply = Reply()
        rendered = reply.begin(head, raw, server.authority, sink.request, context.clients.draining)
        if first_body:
            if reply.is_proof:
                context.ledger.events[server.row] += 1
            if reply.unwrapper is not None:
                first_body = reply.unwrapper.feed(first_body)
        sink.begin_response(reply, rendered, first_body)

    def reply_bytes(self, data: bytes) -> None:
        """Pass a piece of the body on, in the loop turn it came in."""
        context, reply = self._context, self.reply
        assert reply is not None, "a body without a head"
        self.heard_at = context.stamp
        if reply.passes:
            context.ledger.events[self.server.row] += 1
            reply.bytes_out += len(data)
            self._sink.write(data)
        else:
            self._take_other_bytes(reply, data)

    def reply_ends(self, end: ReplyEnd, reason: str) -> None:
        """Give the connection back or close it, then hand the end on."""
        upstream = self.upstream
        assert upstream is not None, "a reply from no connection"
        if end is REUSABLE:
            if self._sink.paused:
                upstream.transport.resume_reading()
            self.server.give_back(upstream, self._context.stamp)
        elif end is SPENT:
            upstream.cancel()
        else:
            self._fail(reason, silent=False)
            return
        self.upstream = None
        assert self.reply is not None, "an end without a head"
        self._sink.end_response(self.reply)

    # Within

    def _take_other_bytes(self, reply: Reply, data: bytes) -> None:
        """Decode or hold a piece, or pass on one that shows no progress."""
        if reply.is_proof:
            self._context.ledger.events[self.server.row] += 1
        if reply.unwrapper is not None:
            data = reply.unwrapper.feed(data)
        if reply.held is None:
            reply.bytes_out += len(data)
            self._sink.write(data)
        elif not reply.hold(data):
            self._sink.release_response(reply)

    async def _connect(self) -> None:
        timeout = self._context.settings.config.connect_timeout
        try:
            upstream = await self.server.connect(timeout)
        except TimeoutError:
            self._connecting = None
            self._fail(f"no connection within {timeout:g} s", silent=False)
            return
        except (OSError, ValueError) as error:  # ValueError: a name that IDNA refuses
            self._connecting = None
            if isinstance(error, OSError) and error.errno in OWN_LIMITS:
                log.error(
                    "no connection can be made: %s; raise the limit (ulimit -n)", error.strerror
                )
                self._sink.end_attempt(Outcome.OUT_OF_RESOURCES, "")
                return
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            self._fail(reason, silent=False)
            return
        self._connecting = None
        if not upstream.is_idle():
            self._fail("the connection ended as soon as it was made", silent=False)
            return
        self.heard_at = self._context.stamp
        self.upstream = upstream
        self._sink.send_request(self, upstream)

    def _fail(self, reason: str, *, silent: bool) -> None:
        # A connection that brought a head was not stale.
        reused = self.reply is None and self.upstream is not None and self.upstream.reused
        outcome = outcome_of_failure(
            self.phase(), reused=reused, silent=silent, begun=self.is_passed_on()
        )
        _log_failure(self, self._sink, reason, self._sink.follow(outcome))
        self._sink.end_attempt(outcome, reason)


def _log_failure(attempt: Attempt, sink: AttemptSink, reason: str, follow: Next) -> None:
    request = sink.request
    log.warning(
        "server %s failed while %s: %s; %s %s, request %s: %s",
        attempt.server.url,
        attempt.phase().value,
        reason,
        printable_bytes(request.method),
        printable_bytes(request.path),  # a query may hold a key
        printable_bytes(sink.request_id),
        follow.value,
    )
