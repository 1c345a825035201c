"""What there is to tell about one request once it has ended.

A worker makes one only if somebody wants it, and the supervisor writes it: as a line of the access
log, as a span, or both. It holds sizes, times and names, never a body, a query or a key.
"""

import msgspec

from fastroute.rules.outcome import ENDINGS, Outcome

MAX_TEXT = 256
"""Characters of what a client chose (path, model, id) or of a reason that are kept."""


class SpanIds(msgspec.Struct, frozen=True, array_like=True):
    """Where a request has its place in a trace; all in lower-case hexadecimal digits.

    Attributes:
        trace: Id of the trace, 32 digits.
        span: Of fastroute's own span, 16 digits.
        parent: Of the client's span, or empty where fastroute began the trace.
    """

    trace: str
    span: str
    parent: str = ""


class RequestRecord(msgspec.Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """One request, from its last byte to the last byte of its reply.

    Attributes:
        started_at: Unix time in seconds at which the request had been read whole.
        client: IP address.
        status: As the client saw it, or None if no reply was begun.
        outcome: How it ended.
        id: X-Request-Id as the server saw it, or None.
        method: None where the request could not be read.
        path: Without the query, which may hold a key; None where the request could not be read.
        model: The one that was asked for, an alias resolved; None where none was named.
        server: URL of the last one tried, or None.
        bytes_in: Of the request's body, without its chunked coding.
        bytes_out: Of the reply, head and all, handed to the client's connection.
        events: Segments of the reply's body as they came from the server.
        first_byte: Seconds until the first byte of the reply that was passed on, or None.
        duration: Seconds until the end.
        attempts: How often a server was asked.
        reason: Why it did not go as usual, or None.
        span: Its place in a trace, or None if nobody wants a span of it.
    """

    started_at: float
    client: str
    status: int | None
    outcome: Outcome
    id: str | None = None
    method: str | None = None
    path: str | None = None
    model: str | None = None
    server: str | None = None
    bytes_in: int = 0
    bytes_out: int = 0
    events: int = 0
    first_byte: float | None = None
    duration: float = 0.0
    attempts: int = 0
    reason: str | None = None
    span: SpanIds | None = None

    @property
    def ended_by(self) -> str:
        """Return the side that ended it, as the access log names it."""
        return ENDINGS[self.outcome].by.value


def shortened(text: str) -> str:
    """Return what is kept of a text that somebody else chose the length of."""
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 3] + "..."
