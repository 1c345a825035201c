"""The record of an ended request.

A worker makes records only if the access log or tracing is on; the supervisor writes them as lines
of the access log, as spans, or both. A record has sizes, times and names, never a body, a query or
a key.
"""

import msgspec

from fastroute.rules.outcome import ENDINGS, Outcome

MAX_TEXT = 256
"""Maximum number of characters of a text from a client (path, model, id) or of a reason."""


class SpanIds(msgspec.Struct, frozen=True, array_like=True):
    """Ids of a request's trace and spans, all in lower-case hexadecimal digits.

    Attributes:
        trace: Id of the trace, 32 digits.
        span: Id of fastroute's span, 16 digits.
        parent: Id of the client's span, or empty if fastroute started the trace.
    """

    trace: str
    span: str
    parent: str = ""


class RequestRecord(msgspec.Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """One request, from its last byte to the last byte of its response.

    Attributes:
        started_at: Unix time in seconds at which the request was read completely.
        client: IP address.
        status: Status that the client received, or None if no response was started.
        outcome: Ending of the request.
        id: X-Request-Id as sent to the server, or None.
        method: HTTP method; None if the request could not be parsed.
        path: Path without the query, which may hold a key; None if the request could not be
            parsed.
        model: Requested model, with an alias resolved; None if the request named none.
        server: URL of the server of the last attempt, or None.
        bytes_in: Size of the request's body without its chunked coding.
        bytes_out: Size of the response, headers included, written to the client's connection.
        events: Number of segments of the response's body, as received from the server.
        first_byte: Seconds until the first byte of the response was forwarded, or None.
        duration: Seconds until the end.
        attempts: Number of attempts.
        reason: Description of a failure or retry, or None.
        span: Ids of its span, or None if it has no span.
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
        """Side that ended the request, as the access log names it."""
        return ENDINGS[self.outcome].by.value


def shortened(text: str) -> str:
    """Return a text of unlimited length, shortened to `MAX_TEXT` characters."""
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 3] + "..."
