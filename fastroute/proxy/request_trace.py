"""The trace of one request: what is kept of it, while it is on its way, to tell of it later.

An exchange has one only if somebody wants to know: an access log, a trace, or `explain`.
"""

from collections.abc import Callable, Sequence
from random import getrandbits, random
from time import monotonic, time

import msgspec

from fastroute.ipc.request_record import RequestRecord, SpanIds, shortened
from fastroute.proxy.context import WorkerContext
from fastroute.proxy.router import ModelServers
from fastroute.proxy.server import Server
from fastroute.rules.model_name import requested_model
from fastroute.rules.outcome import Outcome
from fastroute.rules.request_head import RequestHead
from fastroute.rules.trace_context import TraceParent, read_traceparent, with_traceparent


class Ended(msgspec.Struct, frozen=True):
    """How a request ended that fastroute answered without a server.

    Attributes:
        outcome: Its outcome.
        status: Of the answer, or None if the client was gone before it.
        bytes_out: Length of the answer.
        reason: Why it did not go as usual, or None.
    """

    outcome: Outcome
    status: int | None
    bytes_out: int = 0
    reason: str | None = None


TRACEPARENT, TRACESTATE = b"traceparent", b"tracestate"


class RequestTrace:
    """What became of one request so far."""

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
        body: bytes | bytearray,
        model: str | None,
    ) -> None:
        """Begin, when the request has been read whole.

        Args:
            worker: What wants to know.
            client: IP address.
            head: The request's.
            body: The request's; it is not kept.
            model: The model it asks for, or None where that is still to be found out.
        """
        config = worker.settings.config
        self._worker = worker
        self._client = client
        self._head = head
        self._request_id = head.request_id
        self._body_bytes = len(body)
        self._model = model or requested_model(head.target, head.content_type, body)
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
        """Take part in writing the reply; returns what is to be called in place of `write`."""
        self._request_id = request_id
        self._write = write
        return self.write

    def write(self, data: bytes) -> None:
        """Pass on a piece of the reply."""
        self._events += 1
        self._write(data)

    def choose(self, group: ModelServers, tried: Sequence[Server]) -> Server | None:
        """Choose a server as the router does, and note why if the client is to be told."""
        router = self._worker.router
        if not self._is_explained:
            return router.choose(group, tried)
        choice = router.choose_and_explain(group, tried)
        if choice is None:
            return None
        self._score, self._reason = choice.score, choice.reason
        return choice.server

    def attempt(self, server: Server) -> None:
        """Note the server that is asked next."""
        self._server = server
        self._attempts += 1

    def failed(self, how: str) -> None:
        """Note why the attempt is over that may be followed by another."""
        if self._server is not None:
            self._failure = f"{how} at {self._server.url}"

    def outgoing(self, head: bytes) -> bytes:
        """Return the request's head as the server is to get it."""
        if self._traceparent is None:
            return head
        return with_traceparent(head, self._traceparent, dropped=self._dropped)

    def replying(self, head: bytes, status: int, events: int, first_byte_at: float) -> bytes:
        """Note that the reply begins to go to the client, with the next call of `write`.

        Args:
            head: Of the reply, as it would go.
            status: Of the reply.
            events: Segments of its body that go with its head.
            first_byte_at: time.monotonic() of its first byte.

        Returns:
            The head as it is to go.
        """
        self._status = status
        self._first_byte = max(0.0, first_byte_at - self._started_at)
        self._events = events - 1  # the write that brings them counts one
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
            outcome: How it ended.
            bytes_out: Length of the response, or of what the client got of it.
            reason: Why it did not go as usual, or None.
            status: Of fastroute's own answer; None where the client got the server's response.
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
        """Take a place below the client's span, or begin a trace.

        A client that does not record its trace does not want ours: its traceparent passes as it
        came. Where we begin a trace and do not record it, the server is told so.
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
    """Return the path, without the query, which may hold a key."""
    return shortened(head.target.partition(b"?")[0].decode("latin-1"))


def own_record(client: bytes, head: RequestHead | None, ended: Ended) -> RequestRecord:
    """Make the record of a request that never had a trace: a local or a refused one.

    Args:
        client: IP address.
        head: The request's, or None where it could not be read.
        ended: How it ended.
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
    """Stand in for the client's connection until the exchange says where it is."""
