"""Where a message's body ends, and whether its connection may carry another message (RFC 9112).

Everything ambiguous is refused here or, before it, by the parser: a body that two parties measure
differently is how requests are smuggled. The parser (llhttp, strict) already refuses both lengths
at once, repeated or malformed Content-Length, `chunked` that is not last, bare LF and CR, folded
lines and control characters; what it lets through and a proxy must not, is decided here.
"""

import enum
import re
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from typing import Final

import httptools

from fastroute.errors import BadReply, BadRequest


class Body(enum.Enum):
    """How the end of a body is found."""

    NONE = enum.auto()
    LENGTH = enum.auto()
    CHUNKED = enum.auto()
    UNTIL_CLOSE = enum.auto()


class ReplyEnd(enum.Enum):
    """How a response ended: the first two are complete, of the others no byte more will come."""

    REUSABLE = "complete, and its connection may carry another request"
    SPENT = "complete, but its connection must be closed"
    CLOSED = "the server closed the connection in order"
    LOST = "the connection broke"
    HEAD_TOO_LONG = "the head is too long, or one informational head follows another"
    INVALID_HTTP = "the head is not valid HTTP"
    BROKEN_CHUNKS = "the chunked coding of the body is broken"
    UNSOLICITED = "another response follows that nobody asked for"


# RFC 3986 host and port as they may stand in Host: no userinfo, path, spaces or controls.
_AUTHORITY: Final = re.compile(rb"(?:[A-Za-z0-9\-._~!$&'()*+,;=%]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")


@lru_cache(256)  # clients name the same few hosts: 0.1 us in place of 0.6
def is_authority(value: bytes) -> bool:
    """Whether `value` may stand in a Host field."""
    return _AUTHORITY.fullmatch(value) is not None


def request_body(
    version: str, transfer_encoding: bytes | None, content_length: bytes | None
) -> Body:
    """Find how a request's body ends.

    Args:
        version: `1.0` or `1.1`.
        transfer_encoding: The field's value, or None.
        content_length: The field's value (digits, checked by the parser), or None.

    Raises:
        BadRequest: The framing is not one that every recipient understands alike.
    """
    if transfer_encoding is not None:
        if version != "1.1":
            # RFC 9112 6.1: with HTTP/1.0 the framing must be taken as faulty.
            raise BadRequest(400, "Transfer-Encoding is not allowed in an HTTP/1.0 request")
        if content_length is not None:
            raise BadRequest(400, "Content-Length and Transfer-Encoding exclude each other")
        if transfer_encoding.strip().lower() != b"chunked":
            raise BadRequest(400, "Transfer-Encoding must be chunked and nothing else")
        return Body.CHUNKED
    if content_length is not None:
        return Body.LENGTH
    return Body.NONE


def reply_body(
    method: bytes, status: int, transfer_encoding: bytes | None, content_length: bytes | None
) -> Body:
    """Find how a reply's body ends, by the ordered list of RFC 9112 section 6.3.

    Args:
        method: Of the request answered; a reply to HEAD has no body whatever its fields say.
        status: Of the reply.
        transfer_encoding: The field's value, or None.
        content_length: The field's value (digits, checked by the parser), or None.

    Raises:
        BadReply: Both kinds of length are given.
    """
    if method == b"HEAD" or status < 200 or status == 204 or status == 304:
        return Body.NONE
    if transfer_encoding is not None:
        if content_length is not None:
            raise BadReply("Content-Length and Transfer-Encoding in one reply")
        if transfer_encoding.rpartition(b",")[2].strip().lower() == b"chunked":
            return Body.CHUNKED
        return Body.UNTIL_CLOSE
    if content_length is not None:
        return Body.LENGTH if int(content_length) else Body.NONE
    return Body.UNTIL_CLOSE


def content_length(fields: Sequence[tuple[bytes, bytes]]) -> int:
    """Return the length in bytes that a message's headers name; 0 if they name none.

    It belongs to one message: a head that was remembered is that of others, too.

    Args:
        fields: Names and values as the parser gave them; it has checked the value.
    """
    for name, value in fields:
        if name.lower() == b"content-length":
            return int(value)
    return 0


def keeps_alive(version: str, connection_tokens: AbstractSet[bytes]) -> bool:
    """Whether the connection persists after a message (RFC 9112 section 9.3).

    Args:
        version: `1.0` or `1.1`.
        connection_tokens: The Connection field's members, in lower case.
    """
    if b"close" in connection_tokens:
        return False
    return version == "1.1" or b"keep-alive" in connection_tokens


def chunked_end_is_exact(segment: bytes) -> bool:
    """Whether a segment in which the parser saw the end of a chunked body ends right there.

    The parser passes over any CR and LF after the end, and tells no position. All else after the
    end is an error to it. So only line ends may be surplus, and these two endings leave no room
    for them: the final size line is preceded by a line end or is all that came.

    Args:
        segment: The bytes just parsed, in which the body ended.
    """
    return segment.endswith(b"\r\n0\r\n\r\n") or segment == b"0\r\n\r\n"


def chunked_surplus(before: bytes, segment: bytes) -> int:
    """Count the line end bytes behind the end of a chunked body that ended in `segment`.

    For an end that `chunked_end_is_exact` cannot vouch for: split over segments, or with trailers.

    Args:
        before: The last bytes before `segment`, 5 or more if there were so many.
        segment: The bytes just parsed.
    """
    tail = before + segment
    # The end is the CRLF of the last line and an empty line. All else at the end is surplus.
    return max(0, len(tail) - len(tail.rstrip(b"\r\n")) - 4)


class Unwrapper:
    """Takes the chunked coding off a reply body, for a client that speaks HTTP/1.0."""

    __slots__ = ("_parser", "_pieces")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._parser = httptools.HttpResponseParser(self)
        self._parser.feed_data(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Collect a piece; called by the parser."""
        self._pieces.append(body)

    def feed(self, data: bytes) -> bytes:
        """Return what `data` holds of the body itself.

        Raises:
            httptools.HttpParserError: The coding is broken.
        """
        self._parser.feed_data(data)
        body = b"".join(self._pieces)
        self._pieces.clear()
        return body
