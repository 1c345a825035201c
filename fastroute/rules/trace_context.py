"""W3C Trace Context: reading a client's traceparent, and putting another into a request's head."""

import re
from collections.abc import Sequence
from typing import NamedTuple

_FORM = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_PARENT_LINE = re.compile(rb"\r\ntraceparent:[^\r\n]*", re.IGNORECASE)
_STATE_LINE = re.compile(rb"\r\ntracestate:[^\r\n]*", re.IGNORECASE)
_SAMPLED = 1


class TraceParent(NamedTuple):
    """A place in a trace.

    Attributes:
        trace: Id of the trace, 32 hexadecimal digits.
        span: Id of the span, 16 hexadecimal digits.
        sampled: Whether the trace is recorded.
    """

    trace: str
    span: str
    sampled: bool

    def render(self) -> bytes:
        """Write it as the value of a traceparent field."""
        return b"00-%b-%b-%02x" % (self.trace.encode(), self.span.encode(), self.sampled)


def read_traceparent(values: Sequence[bytes]) -> TraceParent | None:
    """Read a request's traceparent fields; None where there is no single valid one.

    Of a later version only what version 00 knows is read (Trace Context, section 3.2).

    Args:
        values: Of all fields of that name.
    """
    match = _FORM.fullmatch(values[0].strip(b" \t")) if len(values) == 1 else None
    if match is None:
        return None
    version, trace, span, flags, more = match.groups()
    if version == b"ff" or (version == b"00" and more is not None):
        return None
    if not trace.strip(b"0") or not span.strip(b"0"):
        return None
    return TraceParent(trace.decode(), span.decode(), bool(int(flags, 16) & _SAMPLED))


def with_traceparent(head: bytes, parent: TraceParent, *, keep_state: bool) -> bytes:
    """Put a traceparent into a rendered head, in place of what it has.

    Args:
        head: A request's head with its final empty line.
        parent: What the server's spans are to hang below.
        keep_state: Whether tracestate stays; it belongs to the trace the client named.
    """
    head = _PARENT_LINE.sub(b"", head)
    if not keep_state:
        head = _STATE_LINE.sub(b"", head)
    return b"%btraceparent: %b\r\n\r\n" % (head[:-2], parent.render())
