"""The trace of one request: data about its progress, from which its record is made.

An exchange has a trace only if the access log, tracing or `explain` is on.
"""

from collections.abc import Callable, Sequence
from random import getrandbits, random
from time import monotonic, time

import msgspec

from fastroute.ipc.request_record import RequestRecord, SpanIds, shortened
from fastroute.proxy.context import WorkerContext
from fastroute.proxy.model_servers import ModelServers
from fastroute.proxy.server import Server
from fastroute.rules.outcome import Outcome
from fastroute.rules.request_head import RequestHead
from fastroute.rules.trace_context import TraceParent, read_traceparent, with_traceparent


class Ended(msgspec.Struct, frozen=True):
    """Ending of a request to which fastroute responded without a server.

    Attributes:
        outcome: Outcome of the request.
        status: Status of the response, or None if the client disconnected before it.
        bytes_out: Length of the response.
        reason: Description of a failure, or None.
    """

    outcome: Outcome
    status: int | None
    bytes_out: int = 0
    reason: str | None = None


TRACEPARENT, TRACESTATE = b"traceparent", b"tracestate"


class RequestTrace:
    """Progress of one request so far."""

    __slots__ = (
        "_attempts",
        "_body_bytes",
        "_client",
        "_dropped",
        "_events",
        "_failure",
        "_first_byte",
        "_head",
        "_is_explained",
        "_model",
        "_reason",
        "_request_id",
        "_score",
        "_server",
        "_span",
        "_started_at",
        "_status",
        "_traceparent",
        "_worker",
        "_write",
    )

    def __init__(
        self,
        worker: WorkerContext,
        client: bytes,
        head: RequestHead,
        body_bytes: int,
        model: str | None,
    ) -> None:
        """Start when the request has been read completely.

        Args:
            worker: What wants to know.
            client: IP address.
            head: Head of the request.
            body_bytes: Size of the request's body.
            model: Requested model, with an alias resolved; None if the request names none.
        """
        config = worker.settings.config
        self._worker = worker
        self._client = client
        self._head = head
        self._request_id = head.request_id
        self._body_bytes = body_bytes
        self._model = model
        self._started_at = monotonic()
        self._is_explained = config.explain
        self._score = 0.0
        self._reason = ""
        self._server: Server | None = None
        self._attempts = 0
        self._failure = ""
        self._first_byte: float | None = None
        self._status: int | None = None
        self._events = 0
        self._write: Callable[[bytes], None] = _nowhere
        self._span: SpanIds | None = None
        self._traceparent: TraceParent | None = None
        self._dropped: list[bytes] = []
        if config.otlp_endpoint:
            self._begin_span(config.otlp_sample_ratio)

    # From the exchange

    def follow(self, request_id: bytes, write: Callable[[bytes], None]) -> Callable[[bytes], None]:
        """Observe the response; return the function to call instead of `write`."""
        self._request_id = request_id
        self._write = write
        return self.write

    def write(self, data: bytes) -> None:
        """Write a piece of the response, and count it."""
        self._events += 1
        self._write(data)

    def choose(self, group: ModelServers, tried: Sequence[Server]) -> Server | None:
        """Choose a server like the router; note the reason if `explain` is on."""
        router = self._worker.router
        if not self._is_explained:
            return router.choose(group, tried)
        choice = router.choose_and_explain(group, tried)
        if choice is None:
            return None
        self._score, self._reason = choice.score, choice.reason
        return choice.server

    def attempt(self, server: Server) -> None:
        """Note the server of the next attempt."""
        self._server = server
        self._attempts += 1

    def failed(self, how: str) -> None:
        """Note the failure of an attempt, which a retry may follow."""
        if self._server is not None:
            self._failure = f"{how} at {self._server.url}"

    def outgoing(self, head: bytes) -> bytes:
        """Return the request's head with the traceparent for the server."""
        if self._traceparent is None:
            return head
        return with_traceparent(head, self._traceparent, dropped=self._dropped)

    def replying(self, head: bytes, status: int, events: int, first_byte_at: float) -> bytes:
        """Note the start of the response, which the next call of `write` sends to the client.

        Args:
            head: Rendered head of the response.
            status: Status of the response.
            events: Number of segments of the body that are sent with the head.
            first_byte_at: time.monotonic() of the first byte.

        Returns:
            The head to send, with the headers of `explain`.
        """
        self._status = status
        self._first_byte = max(0.0, first_byte_at - self._started_at)
        self._events = events - 1  # the write that sends them counts one
        if not self._is_explained or self._server is None:
            return head
        reason = f"retry after {self._failure}" if self._failure else self._reason
        return b"%bx-fastroute-server: %b\r\n%b" % (
            head[:-2],
            self._server.url.encode(),
            f"x-fastroute-score: {self._score:.4g}\r\nx-fastroute-attempts: {self._attempts}\r\n"
            f"x-fastroute-reason: {reason}\r\n\r\n".encode("latin-1", "replace"),
        )

    # The end

    def end(
        self,
        outcome: Outcome,
        *,
        bytes_out: int,
        reason: str | None = None,
        status: int | None = None,
    ) -> None:
        """Record the request.

        Args:
            outcome: Outcome of the request.
            bytes_out: Number of bytes of the response that were sent to the client.
            reason: Description of a failure, or None.
            status: Status of fastroute's own response; None if the client got the server's.
        """
        recorder = self._worker.recorder
        if recorder is None:
            return
        if reason is None and self._failure:
            reason = f"retried after {self._failure}"
        head, server, model, request_id = self._head, self._server, self._model, self._request_id
        duration = monotonic() - self._started_at
        recorder.add(
            RequestRecord(
                started_at=time() - duration,
                client=self._client.decode("latin-1"),
                status=self._status if status is None else status,
                outcome=outcome,
                id=None if request_id is None else shortened(request_id.decode("latin-1")),
                method=head.method.decode("latin-1"),
                path=path_of(head),
                model=shortened(model) if model else None,
                server=None if server is None else server.url,
                bytes_in=self._body_bytes,
                bytes_out=bytes_out,
                events=self._events,
                first_byte=self._first_byte,
                duration=duration,
                attempts=self._attempts,
                reason=None if reason is None else shortened(reason),
                span=self._span,
            )
        )

    # The trace

    def _begin_span(self, sample_ratio: float) -> None:
        """Start a child of the client's span, or a new trace.

        If the client does not record its trace, its traceparent is forwarded unchanged. If a new
        trace is not sampled, the traceparent for the server says so.
        """
        values = self._head.values(TRACEPARENT)
        parent = read_traceparent(values)
        if parent is not None and not parent.sampled:
            return
        if values:
            self._dropped.append(TRACEPARENT)
        span = f"{getrandbits(64) or 1:016x}"
        if parent is not None:
            self._span = SpanIds(parent.trace, span, parent.span)
            self._traceparent = TraceParent(parent.trace, span, sampled=True)
            return
        if self._head.values(TRACESTATE):
            self._dropped.append(TRACESTATE)
        trace, is_sampled = f"{getrandbits(128) or 1:032x}", random() < sample_ratio
        self._traceparent = TraceParent(trace, span, is_sampled)
        if is_sampled:
            self._span = SpanIds(trace, span)


def path_of(head: RequestHead) -> str:
    """Return the path without the query, which may hold a key."""
    return shortened(head.target.partition(b"?")[0].decode("latin-1"))


def own_record(client: bytes, head: RequestHead | None, ended: Ended) -> RequestRecord:
    """Make the record of a request without a trace: a local or a refused one.

    Args:
        client: IP address.
        head: Head of the request, or None if it could not be parsed.
        ended: Its ending.
    """
    request_id = None if head is None else head.request_id
    return RequestRecord(
        started_at=time(),
        client=client.decode("latin-1"),
        status=ended.status,
        outcome=ended.outcome,
        id=None if request_id is None else shortened(request_id.decode("latin-1")),
        method=None if head is None else head.method.decode("latin-1"),
        path=None if head is None else path_of(head),
        bytes_out=ended.bytes_out,
        reason=None if ended.reason is None else shortened(ended.reason),
    )


def _nowhere(data: bytes) -> None:
    """Drop bytes; a placeholder until `follow` gives the client's connection."""
