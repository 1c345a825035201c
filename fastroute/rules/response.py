"""Response framing: the start and end of a response in the bytes of a server's connection. No I/O.

Bytes are parsed before they are forwarded, so that nothing is forwarded that its recipient could
interpret differently. The parser has no `on_body`: body bytes are forwarded unchanged, and it only
finds the end of chunked bodies (54 ns per event, instead of 115 ns with `on_body`).
"""

import re
from http import HTTPStatus
from typing import Final

import httptools

from fastroute.errors import BadReply
from fastroute.rules.framing import (
    Body,
    ReplyEnd,
    chunked_end_is_exact,
    chunked_surplus,
    content_length,
    has_other_line_ends,
    is_start_of_head,
    with_plain_coding,
)
from fastroute.rules.head_match import HeadMatcher
from fastroute.rules.headers import MAX_FIELDS
from fastroute.rules.response_head import ReplyHead

# Enough to find the end of a chunked body: its last byte that is no line end, and 2 line ends.
_TAIL_BYTES: Final = 5
# An empty line before it, which the parser would skip, may be the rest of another response.
_START: Final = b"HTTP/1."
# RFC 9112 section 4; without the blank behind the status, too, which clients accept.
_STATUS_LINE: Final = re.compile(rb"HTTP/[0-9.]++ [0-9]++(?: [\t -~\x80-\xff]*+)?\r\n")
_NO_START: Final = "it does not start with HTTP/1"
MAX_INFORMATIONAL = 100
"""Number of informational heads before a response; no server needs more than one or two."""

# Access through the class takes 60 ns on Python 3.11, and every event needs some of them.
CHUNKED: Final = Body.CHUNKED
LENGTH: Final = Body.LENGTH
NONE: Final = Body.NONE
UNTIL_CLOSE: Final = Body.UNTIL_CLOSE
REUSABLE: Final = ReplyEnd.REUSABLE
SPENT: Final = ReplyEnd.SPENT

HeadRead = tuple[ReplyHead, bytes, bytes]
"""A head, its bytes as received, and the body bytes that came with it."""


class ResponseFramer:
    """Splits the bytes of one connection to a server into heads and bodies.

    For each request, call `start`, then `read_head` until it returns the final head, then `passes`
    for all later bytes, and `end_body` if `passes` returns False. The response has ended once `end`
    is set.

    Attributes:
        end: Ending of the response; None while it is in progress.
        reason: Reason why the response is incomplete, for people; empty if it is complete.
    """

    __slots__ = (
        "_another",
        "_body",
        "_fields",
        "_informational",
        "_keep_alive",
        "_known",
        "_left",
        "_max_head_bytes",
        "_method",
        "_parser",
        "_parser_is_idle",
        "_pending",
        "_tail",
        "end",
        "reason",
    )

    def __init__(self, known: HeadMatcher, max_head_bytes: int) -> None:
        """Prepare for the first request.

        Args:
            known: Heads of this server's responses; new ones are added.
            max_head_bytes: Limit for a head.
        """
        # Connection
        self._known = known
        self._max_head_bytes = max_head_bytes
        self._parser = httptools.HttpResponseParser(self)
        self._parser_is_idle = True
        # Response
        self._method = b""
        self._pending = b""  # the start of an incomplete head
        self._informational = 0
        self._fields: list[tuple[bytes, bytes]] = []
        self._keep_alive = False
        self._body = NONE
        self._left = 0  # missing bytes of a body with a length
        self._tail = b""  # the latest bytes of a chunked body
        self._another = False  # True if another response started after a chunked body
        self.end: ReplyEnd | None = None
        self.reason = ""

    def start(self, method: bytes) -> None:
        """Prepare for the response to a request with this method."""
        self._method = method
        self._informational = 0
        self._body = NONE
        self.end = None

    def read_head(self, data: bytes) -> HeadRead | None:
        """Read one head.

        After an informational head, call this again immediately, with no bytes: the next head may
        have come with it. After the final head, `end` may already be set.

        Args:
            data: Bytes in the order in which they were received.

        Returns:
            The head; None if it is incomplete or if the response failed. `end` is set in the
            second case.
        """
        read: int = len(self._pending)
        if read:
            data = self._pending + data
            self._pending = b""
        elif self._method != b"HEAD":  # the same head in response to HEAD has no body
            match = self._known.find(data)
            if match is not None and match.body_start <= self._max_head_bytes:
                start: int = match.body_start
                return self._start_body(match.head, match.body_length, data[:start], data[start:])
        stop: int = data.find(b"\r\n\r\n") + 4
        if 4 <= stop <= self._max_head_bytes:
            return self._read_whole_head(data, stop)
        if data and not is_start_of_head(data):
            self._fail(ReplyEnd.INVALID_HTTP, _NO_START)
        elif stop >= 4 or len(data) > self._max_head_bytes:
            reason = f"its head is longer than {self._max_head_bytes} bytes"
            self._fail(ReplyEnd.HEAD_TOO_LONG, reason)
        elif has_other_line_ends(data, max(0, read - 1)):
            self._fail(ReplyEnd.INVALID_HTTP, "a line of its head does not end with CR LF")
        else:
            self._pending = data
        return None

    def passes(self, data: bytes) -> bool:
        """Read body bytes; return True if all of them are body and the body continues.

        Otherwise call `end_body` with the same bytes.
        """
        if self._body is CHUNKED:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserError as error:
                self._fail(ReplyEnd.BROKEN_CHUNKS, f"its chunked coding is broken: {error}")
                return False
            if self._parser_is_idle:
                return False
            self._tail = data if len(data) >= _TAIL_BYTES else (self._tail + data)[-8:]
            return True
        if self._body is UNTIL_CLOSE:
            return True
        self._left -= len(data)
        return self._left > 0

    def end_body(self, data: bytes) -> bytes:
        """Set `end` and return the part of `data` that is body; empty if the body is invalid.

        Args:
            data: The bytes for which `passes` returned False.
        """
        if self.end is not None:
            return b""  # the chunked coding is invalid
        surplus: int = -self._left if self._body is not CHUNKED else self._chunked_surplus(data)
        if self._another:
            self._fail(ReplyEnd.UNSOLICITED, "an unsolicited response follows")
            return b""
        # A connection with surplus bytes cannot be trusted with another request.
        self.end = REUSABLE if self._keep_alive and not surplus else SPENT
        return data[: len(data) - surplus] if surplus else data

    def close(self, in_order: bool, error: Exception | None) -> ReplyEnd:
        """Set and return `end` for a connection that ended before the response did.

        Args:
            in_order: True if the server announced the end (TLS: close_notify). Only then, a body
                that is framed by the close of the connection is complete.
            error: Error that broke the connection, or None.
        """
        if self._body is UNTIL_CLOSE and in_order:
            end = SPENT
        elif error is None:
            end, self.reason = ReplyEnd.CLOSED, "connection closed"
        else:
            end, self.reason = ReplyEnd.LOST, f"connection lost: {error}"
        self.end = end
        return end

    def release(self) -> None:
        """Release the parser, whose references to this object would need the garbage collector."""
        self._parser = None  # type: ignore[assignment]

    # Called by the parser: these methods only record

    def on_message_begin(self) -> None:
        """Record that a response starts; after the end of a chunked body it is unsolicited."""
        if self._body is CHUNKED:
            self._another = True
        else:
            self._parser_is_idle = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Record a header; after a chunked body it is a trailer, which is forwarded unchanged."""
        if self._body is not CHUNKED:
            fields: list[tuple[bytes, bytes]] = self._fields
            if len(fields) >= MAX_FIELDS:
                raise BadReply(f"its head has more than {MAX_FIELDS} headers")
            fields.append((name, value))

    def on_message_complete(self) -> None:
        """Record that the response is complete."""
        self._parser_is_idle = True

    # Reading

    def _read_whole_head(self, data: bytes, stop: int) -> HeadRead | None:
        raw, rest = data[:stop], data[stop:]
        try:
            head = self._parse(raw)
            length: int = content_length(self._fields)
        except (httptools.HttpParserError, BadReply, ValueError) as error:
            self._fail(ReplyEnd.INVALID_HTTP, str(error))
            return None
        if head.is_final():
            if head.is_ordinary() and self._method != b"HEAD":
                self._known.remember(data, head, length)
            return self._start_body(head, length, raw, rest)
        self._informational += 1
        if self._informational > MAX_INFORMATIONAL:
            reason = f"its head follows more than {MAX_INFORMATIONAL} informational ones"
            self._fail(ReplyEnd.HEAD_TOO_LONG, reason)
            return None
        self._pending = rest
        return head, raw, b""

    def _parse(self, raw: bytes) -> ReplyHead:
        if not raw.startswith(_START):
            raise BadReply(_NO_START)
        if not _STATUS_LINE.match(raw):
            # The parser lets them pass, and clients may take them for the end of the line.
            raise BadReply("its status line has control characters")
        if not self._parser_is_idle:
            # It has read the head of the previous response and expects its body.
            self._parser = httptools.HttpResponseParser(self)
        parser = self._parser
        self._fields = []  # a new list: the previous head keeps its own
        try:
            parser.feed_data(with_plain_coding(raw))
        except httptools.HttpParserCallbackError as error:
            raise error.__context__ or error from None
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if parser.get_status_code() != HTTPStatus.SWITCHING_PROTOCOLS:
                raise  # ReplyHead refuses that status with a better message
        version = parser.get_http_version()
        return ReplyHead(self._method, parser.get_status_code(), version, self._fields)

    def _start_body(self, head: ReplyHead, length: int, raw: bytes, data: bytes) -> HeadRead | None:
        self._body = head.body
        self._keep_alive = head.keep_alive
        self._left = 0
        if head.body is LENGTH:
            if len(data) == length:  # usually the whole body came with the head
                self.end = REUSABLE if head.keep_alive else SPENT
                return head, raw, data
            self._left = length
        if (data or head.body is NONE) and not self.passes(data):
            data = self.end_body(data)
        return None if self.reason else (head, raw, data)

    def _chunked_surplus(self, data: bytes) -> int:
        tail, self._tail = self._tail, b""
        return 0 if chunked_end_is_exact(data) else chunked_surplus(tail, data)

    def _fail(self, end: ReplyEnd, reason: str) -> None:
        self.end = end
        self.reason = f"the response breaks HTTP: {reason}"
