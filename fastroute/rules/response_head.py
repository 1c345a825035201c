"""Response heads: parsing of what a server sent, and rendering for the client."""

import re
from collections.abc import Set as AbstractSet
from http import HTTPStatus
from typing import Final

from fastroute.errors import BadReply
from fastroute.rules.framing import Body, keeps_alive, reply_body
from fastroute.rules.headers import (
    HOP_BY_HOP,
    NO_TOKENS,
    SCHEMES,
    Fields,
    connection_tokens,
    header_lines,
)

# Headers of a response that determine its framing, or are sometimes changed.
_REPLY_FRAMING: Final = frozenset(
    (b"content-length", b"transfer-encoding", b"trailer", b"content-type")
)
_REPLY_SPECIAL: Final = (
    HOP_BY_HOP
    | _REPLY_FRAMING
    | {b"x-accel-buffering", b"location", b"retry-after", b"date", b"server"}
)
# Headers that a gateway in front of the server adds again: the first one is the server's.
_PASSED_ONCE: Final = frozenset((b"date", b"server"))
_CHUNKED_FIELDS: Final = frozenset((b"transfer-encoding", b"trailer"))
_DELAY: Final = re.compile(rb"[0-9]{1,6}")
_UNTIL_CLOSE: Final = Body.UNTIL_CLOSE
_STATUS_LINES: Final = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n".encode() for s in HTTPStatus}


class ReplyHead:
    """A validated head of a server's response.

    Attributes:
        status: HTTP status.
        body: Framing of the body.
        keep_alive: True if the server's connection may carry another request.
        is_event_stream: True if the body is a stream of server-sent events.
        lacks_date: True if Date must be added for the client (RFC 9110 section 6.6.1).
        retry_after: Retry-After in seconds; 0 if the header is missing or has a date.
    """

    __slots__ = (
        "_coded",
        "_dropped",
        "_fields",
        "_is_rewritten",
        "_location",
        "_unbuffered",
        "body",
        "is_event_stream",
        "keep_alive",
        "lacks_date",
        "retry_after",
        "status",
    )

    def __init__(self, method: bytes, status: int, version: str, fields: Fields) -> None:
        """Validate a head.

        Args:
            method: Method of the request.
            status: Status of the response.
            version: `1.0` or `1.1`; others are refused.
            fields: Names and values of the headers, in order, from the parser.

        Raises:
            BadReply: The head is malformed, ambiguous or unsolicited.
        """
        if version != "1.1" and version != "1.0":
            raise BadReply(f"HTTP version {version}")
        if status < 100 or status == 101:
            raise BadReply(f"status {status}, which was not asked for")
        special, is_repeated = _special_reply_fields(fields)
        if is_repeated:
            fields = _each_once(fields)
        if version == "1.0" and b"transfer-encoding" in special:
            raise BadReply("Transfer-Encoding in an HTTP/1.0 reply")
        try:
            tokens = connection_tokens(special)
        except ValueError as error:
            raise BadReply(str(error)) from None
        self._dropped: AbstractSet[bytes] = NO_TOKENS
        if not HOP_BY_HOP.isdisjoint(special):
            self._dropped = (HOP_BY_HOP | tokens) - _REPLY_FRAMING
        self._fields = fields
        self._coded = b"transfer-encoding" in special or b"trailer" in special
        self._location = special.get(b"location")
        self._is_rewritten: bool = (
            bool(self._dropped) or self._location is not None or version == "1.0" or is_repeated
        )
        self.status = status
        self.lacks_date: bool = status >= 200 and b"date" not in special
        self.body = reply_body(
            method, status, special.get(b"transfer-encoding"), special.get(b"content-length")
        )
        self.keep_alive = self.body is not _UNTIL_CLOSE and keeps_alive(version, tokens)
        content_type = special.get(b"content-type", b"")
        self.is_event_stream = content_type[:17].lower() == b"text/event-stream"
        self._unbuffered = b"x-accel-buffering" in special
        retry_after = special.get(b"retry-after", b"")
        self.retry_after = int(retry_after) if _DELAY.fullmatch(retry_after) else 0

    def is_ordinary(self) -> bool:
        """Return True if the head's bytes and a length determine all about the response."""
        return not self._is_rewritten and self.keep_alive and not self._coded

    def is_final(self) -> bool:
        """Return True unless this is an informational (1xx) response."""
        return self.status >= 200

    def render(
        self,
        raw: bytes,
        authority: bytes,
        connection: bytes | None = None,
        unwrapped: bool = False,
    ) -> bytes:
        """Render the head for the client; it is `raw` unless something must be changed.

        Args:
            raw: The whole head as received, with its final empty line.
            authority: Host and port of the server. A redirect to it becomes relative, because vLLM
                builds Location from Host and the client cannot reach that address.
            connection: Value of the Connection header for the client, or None.
            unwrapped: True if the chunked coding is removed, for an HTTP/1.0 client.
        """
        head, fields = raw, self._fields
        if self._location is not None:
            fields = [(n, _relative(n, v, authority)) for n, v in fields]
        unwrapped = unwrapped and self._coded
        if self._is_rewritten or unwrapped:
            framing = _CHUNKED_FIELDS if unwrapped else NO_TOKENS
            status_line = b"HTTP/1.1" + head[8 : head.index(b"\r\n") + 2]
            head = b"".join((status_line, *header_lines(fields, self._dropped | framing), b"\r\n"))
        if self.is_event_stream and not self._unbuffered:
            # Without this, an nginx in front of fastroute would buffer events.
            head = head[:-2] + b"x-accel-buffering: no\r\n\r\n"
        if connection is not None:
            head = head[:-2] + b"connection: " + connection + b"\r\n\r\n"
        return head


def with_date(head: bytes, date: bytes) -> bytes:
    """Add Date to a rendered head."""
    return b"%bdate: %b\r\n\r\n" % (head[:-2], date)


def render_reply(status: int, fields: Fields, body: bytes, *, with_body: bool = True) -> bytes:
    """Render a response of fastroute itself, including Content-Length.

    Args:
        status: HTTP status.
        fields: All other headers.
        body: The body; it determines Content-Length even if it is not sent, as for HEAD.
        with_body: True to send the body.
    """
    lines = header_lines(fields, NO_TOKENS)
    length = b"content-length: %d\r\n\r\n" % len(body)
    return b"".join((_STATUS_LINES[status], *lines, length, body if with_body else b""))


def _special_reply_fields(fields: Fields) -> tuple[dict[bytes, bytes], bool]:
    """Return special headers by lower-case name, and if one is repeated that is passed once."""
    special: dict[bytes, bytes] = {}
    is_repeated = False
    for name, value in fields:
        lowered = name.lower()
        if lowered in _REPLY_SPECIAL:
            if lowered not in special:
                special[lowered] = value
            else:
                special[lowered] += b", " + value
                is_repeated = is_repeated or lowered in _PASSED_ONCE
    return special, is_repeated


def _each_once(fields: Fields) -> list[tuple[bytes, bytes]]:
    """Return the headers, and of each of `_PASSED_ONCE` only the first."""
    kept: list[tuple[bytes, bytes]] = []
    seen: set[bytes] = set()
    for name, value in fields:
        lowered = name.lower()
        if lowered not in seen:
            kept.append((name, value))
        if lowered in _PASSED_ONCE:
            seen.add(lowered)
    return kept


def _relative(name: bytes, value: bytes, authority: bytes) -> bytes:
    """Return the value of a header; of a Location at `authority`, only the path."""
    if name.lower() != b"location":
        return value
    for scheme in SCHEMES:
        origin = scheme + authority
        if value == origin or value.startswith((origin + b"/", origin + b"?")):
            return _own_path(value[len(origin) :])
    return value


def _own_path(path: bytes) -> bytes:
    """Return a path, or what follows it, as a reference that a browser resolves at this origin.

    It would take `//name/...` for another host. Browsers read a backslash as a slash and skip tabs.
    """
    path = path.replace(b"\t", b"")
    if not path.startswith(b"/"):
        return b"/" + path
    # RFC 3986 section 4.2: the segment "." keeps an empty one after it from being a host.
    return b"/." + path if path[1:2] in (b"/", b"\\") else path
