"""Message framing: the end of a body, and reuse of the connection after it (RFC 9112).

Ambiguous framing is refused, because it allows request smuggling: two recipients would see
different ends of the same body. The parser (llhttp, strict) already refuses messages with both
lengths, repeated or malformed Content-Length, `chunked` that is not last, bare LF and CR, folded
lines and control characters. This module refuses what the parser accepts and a proxy must not.
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
    """Kind of framing: the way in which the end of a body is found."""

    NONE = enum.auto()
    LENGTH = enum.auto()
    CHUNKED = enum.auto()
    UNTIL_CLOSE = enum.auto()


class ReplyEnd(enum.Enum):
    """Ending of a response: the first two are complete ones, the others failures."""

    REUSABLE = "complete, and its connection may carry another request"
    SPENT = "complete, but its connection must be closed"
    CLOSED = "the server closed the connection properly"
    LOST = "the connection broke"
    HEAD_TOO_LONG = "the head is too long, or one informational head follows another"
    INVALID_HTTP = "the head is not valid HTTP"
    BROKEN_CHUNKS = "the chunked coding of the body is broken"
    UNSOLICITED = "an unsolicited response follows"


# RFC 3986 host and port as allowed in Host: no userinfo, path, spaces or control characters.
_AUTHORITY: Final = re.compile(rb"(?:[A-Za-z0-9\-._~!$&'()*+,;=%]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")


# A DNS name has at most 255 bytes. A longer value is refused, which bounds the cache below.
_MAX_AUTHORITY_BYTES: Final = 300
_VERSION: Final = b"HTTP/1."
_ANY_STATUS: Final = b"HTTP/0.0 000"
_DIGITS_TO_ZERO: Final = bytes.maketrans(b"123456789", b"000000000")
_OTHER_LINE_END: Final = re.compile(rb"(?<!\r)\n|\r(?=[^\n])")
_CODING_AND_TAB: Final = re.compile(rb"(?i)(\r\ntransfer-encoding:[ \t]*+chunked)[ \t]++(?=\r\n)")
# 1 EB: more digits are refused, because Python refuses to read 4,300.
_MAX_LENGTH_DIGITS: Final = 18


def is_authority(value: bytes) -> bool:
    """Return True if `value` is a valid Host header."""
    return len(value) <= _MAX_AUTHORITY_BYTES and _has_authority_form(value)


@lru_cache(256)  # clients name the same few hosts: 0.1 us instead of 0.6
def _has_authority_form(value: bytes) -> bool:
    return _AUTHORITY.fullmatch(value) is not None


def request_body(
    version: str, transfer_encoding: bytes | None, content_length: bytes | None
) -> Body:
    """Return the framing of a request's body.

    Args:
        version: `1.0` or `1.1`.
        transfer_encoding: Value of that header, or None.
        content_length: Value of that header (digits, checked by the parser), or None.

    Raises:
        BadRequest: The framing is ambiguous.
    """
    if transfer_encoding is not None:
        if version != "1.1":
            # RFC 9112 6.1: with HTTP/1.0 the framing must be treated as faulty.
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
    """Return the framing of a response's body, by the ordered list of RFC 9112 section 6.3.

    Args:
        method: Method of the request; a response to HEAD has no body, whatever its headers say.
        status: Status of the response.
        transfer_encoding: Value of that header, or None.
        content_length: Value of that header (digits, checked by the parser), or None.

    Raises:
        BadReply: Both headers are present, or Transfer-Encoding is not exactly one `chunked`: we
            accept no other coding (TE is not sent), and recipients differ in what they make of
            one that they do not know, or of `chunked` twice or not last.
    """
    if transfer_encoding is not None and transfer_encoding.strip(b" \t").lower() != b"chunked":
        raise BadReply("Transfer-Encoding is not exactly one chunked")
    if method == b"HEAD" or status < 200 or status == 204 or status == 304:
        return Body.NONE
    if transfer_encoding is not None:
        if content_length is not None:
            raise BadReply("Content-Length and Transfer-Encoding in one reply")
        return Body.CHUNKED
    if content_length is not None:
        return Body.LENGTH if content_length.strip(b"0 \t") else Body.NONE
    return Body.UNTIL_CLOSE


def is_start_of_head(data: bytes) -> bool:
    """Return True if bytes from a server, at least one, may become a head of HTTP/1.

    Args:
        data: The first bytes of a response.
    """
    first = data[: len(_ANY_STATUS)]
    is_version = _VERSION.startswith(first[: len(_VERSION)])
    return is_version and _ANY_STATUS.startswith(first.translate(_DIGITS_TO_ZERO))


def has_other_line_ends(head: bytes, start: int) -> bool:
    """Return True if a head has an LF without CR, or a CR without LF, so that it never ends.

    Args:
        head: The beginning of a head.
        start: Index of the first byte to look at; those before it have been checked.
    """
    return _OTHER_LINE_END.search(head, start) is not None


def with_plain_coding(head: bytes) -> bytes:
    """Return a head whose Transfer-Encoding the parser reads as it is meant.

    White space around a value is no part of it (RFC 9110 section 5.5), but the parser does not take
    `chunked` and a tab for that coding.

    Args:
        head: The bytes of a head, possibly with others behind it, which stay as they are.
    """
    if b"\t" not in head:
        return head
    end = head.find(b"\r\n\r\n")
    end = len(head) if end < 0 else end + 2
    return _CODING_AND_TAB.sub(rb"\1", head[:end]) + head[end:]


def content_length(fields: Sequence[tuple[bytes, bytes]]) -> int:
    """Return the Content-Length of a message in bytes; 0 if it has none.

    The length belongs to the message, not to its head: a remembered head is shared by messages of
    different lengths.

    Args:
        fields: Names and values from the parser, which has checked that the value is a number.

    Raises:
        ValueError: The number has too many digits, zeros in front of it included.
    """
    for name, value in fields:
        if name.lower() == b"content-length":
            digits = value.strip(b" \t")
            if len(digits) > _MAX_LENGTH_DIGITS:
                raise ValueError(f"Content-Length has more than {_MAX_LENGTH_DIGITS} digits")
            return int(digits)
    return 0


def keeps_alive(version: str, connection_tokens: AbstractSet[bytes]) -> bool:
    """Return True if the connection persists after a message (RFC 9112 section 9.3).

    Args:
        version: `1.0` or `1.1`.
        connection_tokens: Members of the Connection header, in lower case.
    """
    if b"close" in connection_tokens:
        return False
    return version == "1.1" or b"keep-alive" in connection_tokens


def chunked_end_is_exact(segment: bytes) -> bool:
    """Return True if a segment ends exactly at the end of a chunked body.

    The parser has found the end of the body in the segment, but does not report its position. It
    skips CR and LF after the end and refuses all other bytes. So only line ends may be surplus,
    and the two endings below exclude them: the last size line follows a line end, or it is the
    first line of the segment.

    Args:
        segment: The bytes just parsed, in which the body ended.
    """
    return segment.endswith(b"\r\n0\r\n\r\n") or segment == b"0\r\n\r\n"


def chunked_surplus(before: bytes, segment: bytes) -> int:
    """Return the number of line end bytes after the end of a chunked body.

    It handles the ends that `chunked_end_is_exact` does not recognize: those split over several
    segments, and those with trailers.

    Args:
        before: The last bytes before `segment`, at least 5 if there were so many.
        segment: The bytes just parsed, in which the body ended.
    """
    tail = before + segment
    # The body ends with the CRLF of its last line and an empty line; further line ends are surplus.
    return max(0, len(tail) - len(tail.rstrip(b"\r\n")) - 4)


class Unwrapper:
    """Removes the chunked coding from a response body, for an HTTP/1.0 client."""

    __slots__ = ("_parser", "_pieces")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._parser = httptools.HttpResponseParser(self)
        self._parser.feed_data(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Collect a piece; called by the parser."""
        self._pieces.append(body)

    def feed(self, data: bytes) -> bytes:
        """Return the part of the body that `data` contains.

        Raises:
            httptools.HttpParserError: The coding is invalid.
        """
        self._parser.feed_data(data)
        body = b"".join(self._pieces)
        self._pieces.clear()
        return body
