"""One connection to a vLLM server: sends a request, reads the reply's head, relays its body.

The parser reads first and the bytes go on second, so that nothing is sent on that the client could
read in another way. The parser has no `on_body`: body bytes pass as they came and the parser only
watches for the end (54 ns for an event, against 115 with `on_body`).
"""

import asyncio
import enum
from typing import Final, Protocol

import httptools

from fastroute.errors import BadReply
from fastroute.proxy import clock
from fastroute.rules.framing import (
    Body,
    ReplyEnd,
    chunked_end_is_exact,
    chunked_surplus,
    content_length,
)
from fastroute.rules.head_match import HeadMatcher
from fastroute.rules.message import ReplyHead

# Enough to see the end of a chunked body in: its last byte that is no line end, and 2 line ends.
_TAIL_BYTES: Final = 5
# Informational replies and the answer; more is no server's honest doing.
_MAX_HEADS: Final = 100
# Up to this, copying a body behind its head is cheaper than a vectored write.
_JOIN_BYTES: Final = 65536


class State(enum.Enum):
    """What the next byte from the server means."""

    IDLE = enum.auto()  # nothing is owed: any byte is a fault
    AWAITING_HEAD = enum.auto()  # the request is sent, no byte of the reply has come
    READING_HEAD = enum.auto()
    READING_BODY = enum.auto()
    CLOSED = enum.auto()


# Through the class each costs 60 ns on Python 3.11, and every event looks at some.
IDLE: Final = State.IDLE
AWAITING_HEAD: Final = State.AWAITING_HEAD
READING_HEAD: Final = State.READING_HEAD
READING_BODY: Final = State.READING_BODY
CLOSED: Final = State.CLOSED
CHUNKED: Final = Body.CHUNKED
LENGTH: Final = Body.LENGTH
NONE: Final = Body.NONE
UNTIL_CLOSE: Final = Body.UNTIL_CLOSE
REUSABLE: Final = ReplyEnd.REUSABLE
SPENT: Final = ReplyEnd.SPENT


class ReplySink:
    """Receives the response to one request: the exchange.

    Any number of `reply_informs`, then `reply_begins`, any number of `reply_bytes` and, last,
    `reply_ends`. A response that fails may end before it began. Each call may cancel the exchange;
    then no other follows.

    Attributes:
        method: Method of the request, which decides whether the response has a body.
    """

    __slots__ = ("method",)

    method: bytes

    def reply_informs(self, head: ReplyHead, raw: bytes) -> None:
        """Take an informational (1xx) head, parsed and as it came; the response is still to come.

        It has a call of its own because it begins nothing: no body, no end and no reuse of the
        connection belong to it.
        """
        raise NotImplementedError

    def reply_begins(self, head: ReplyHead, raw: bytes, first_body: bytes) -> None:
        """Take the response's head and the body bytes that came with it.

        Args:
            head: Parsed.
            raw: As it came, with its final empty line.
            first_body: As `reply_bytes` takes it; empty if the body's first byte is still to come.
        """
        raise NotImplementedError

    def reply_bytes(self, data: bytes) -> None:
        """Take body bytes as they came, with their chunked coding; at least one."""
        raise NotImplementedError

    def reply_ends(self, end: ReplyEnd, reason: str) -> None:
        """Take the end of the response.

        After REUSABLE and SPENT the caller must pool the connection or close it. After all others
        it is closed already.

        Args:
            end: How it ended.
            reason: Why it is not complete, for people; empty if it is complete.
        """
        raise NotImplementedError


class IdleOwner(Protocol):
    """Who keeps the connection while it is idle: the pool."""

    @property
    def known_replies(self) -> HeadMatcher:
        """Heads of this server's replies."""

    def idle_lost(self, upstream: "UpstreamConnection") -> None:
        """Forget an idle connection that ended by itself."""


class UpstreamConnection:
    """The protocol of one connection to a server; it carries one exchange at a time.

    It has the methods of an asyncio.Protocol but not that base: compiled classes take none that is
    not compiled.

    Attributes:
        reused: True if it carried another exchange before the present one.
        first_byte_at: Time of the first byte of the response, by the clock of durations, in
            seconds; 0 while none has come.
        idle_since: Loop time in seconds; kept by the pool.
        transport: Set once connected.
    """

    __slots__ = (
        "_body",
        "_body_left",
        "_complete",
        "_end",
        "_eof",
        "_fields",
        "_head_bytes",
        "_head_read",
        "_keep_alive",
        "_max_head_bytes",
        "_owner",
        "_parser",
        "_sink",
        "_state",
        "_surplus",
        "_tail",
        "first_byte_at",
        "idle_since",
        "reused",
        "transport",
    )

    transport: asyncio.Transport

    def __init__(self, owner: IdleOwner, max_head_bytes: int) -> None:
        # Connection
        self._owner = owner
        self._max_head_bytes = max_head_bytes
        self._parser = httptools.HttpResponseParser(self)
        self._state = IDLE
        self.reused = False
        self.idle_since = 0.0
        # Exchange
        self._sink: ReplySink | None = None
        # Reply
        self.first_byte_at = 0.0
        self._head_bytes = b""
        self._fields: list[tuple[bytes, bytes]] = []
        self._head_read = False
        self._body = NONE
        self._body_left = 0
        self._keep_alive = False
        self._complete = False
        self._surplus = False
        self._end: ReplyEnd | None = None
        self._eof = False
        self._tail = b""

    def __repr__(self) -> str:
        return f"<UpstreamConnection {self._state.name} reused={self.reused}>"

    def is_idle(self) -> bool:
        """Whether a request may be sent."""
        return self._state is IDLE

    def send(self, sink: ReplySink, head: bytes, body: bytes | bytearray) -> None:
        """Send a request; its reply goes to `sink`. The connection must be idle."""
        assert self._state is IDLE, f"a request was sent on {self!r}"
        self._sink = sink
        self._state = AWAITING_HEAD
        self.first_byte_at = 0.0
        # uvloop writes at once, so two writes are two system calls and wake the server twice.
        if len(body) <= _JOIN_BYTES:
            self.transport.write(head + body)
        else:
            self.transport.writelines((head, body))

    def cancel(self) -> None:
        """Drop the exchange and the connection at once: vLLM then stops generating."""
        self._sink = None
        self._close()

    # From the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take note of the transport."""
        self.transport = transport  # type: ignore[assignment]  # create_connection makes no other

    def data_received(self, data: bytes) -> None:
        """Read a head or relay a piece of body, as the state says."""
        state = self._state
        if state is READING_BODY:
            body = self._read_body(data)
            sink = self._sink
            if body and sink is not None:
                sink.reply_bytes(body)
            if self._end is not None:
                self._finish()
        elif state is AWAITING_HEAD:
            self._state = READING_HEAD
            self.first_byte_at = clock.now()
            if not self._read_known_head(data):
                self._read_head(data)
        elif state is READING_HEAD:
            self._read_head(data)
        elif state is IDLE:
            # What an idle connection says belongs to no request; the next would read it.
            self._owner.idle_lost(self)
            self._close()

    def pause_writing(self) -> None:
        """Nothing to do: a request is written once and whole."""

    def resume_writing(self) -> None:
        """Nothing to do."""

    def eof_received(self) -> None:
        """Note that the server ended the connection in order; TLS says so with close_notify."""
        self._eof = True

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell who owns the connection now that the server ended it."""
        state = self._state
        sink = self._sink
        self._state = CLOSED
        self._sink = None
        if state is IDLE:
            self._owner.idle_lost(self)
        elif sink is not None and state is not CLOSED:
            if state is READING_BODY and self._body is UNTIL_CLOSE and self._eof:
                sink.reply_ends(SPENT, "")
            elif exc is None:
                sink.reply_ends(ReplyEnd.CLOSED, "connection closed")
            else:
                sink.reply_ends(ReplyEnd.LOST, f"connection lost: {exc}")
        # The parser holds our bound methods: without this only the collector would free us.
        self._parser = None  # type: ignore[assignment]

    # From the parser: these only record

    def on_message_begin(self) -> None:
        """Record that a reply begins; behind the end of another, that one is surplus."""
        if self._complete:
            self._surplus = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Record a field; those behind a chunked body are trailers, which pass as they came."""
        if not self._head_read:
            self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """Record that the head was whole."""
        self._head_read = True

    def on_message_complete(self) -> None:
        """Record that the body was whole."""
        self._complete = True

    # Reading

    def _read_head(self, data: bytes) -> None:
        """Read heads up to the response's own, then the part of its body that came with it."""
        if self._head_bytes:
            data = self._head_bytes + data
            self._head_bytes = b""
        for _ in range(_MAX_HEADS):
            end = data.find(b"\r\n\r\n") + 4
            if end < 4 and len(data) <= self._max_head_bytes:
                self._head_bytes = data
                return
            if end < 4 or end > self._max_head_bytes:
                reason = f"its reply's head is longer than {self._max_head_bytes} bytes"
                self._fail(ReplyEnd.HEAD_TOO_LONG, reason)
                return
            raw = data[:end]
            head = self._parse_head(raw)
            if head is None:
                return
            if head.is_final():
                self._body_left = content_length(self._fields)
                self._remember(data, head)
                self._start_body(head, raw, data[end:])
                return
            sink = self._sink
            assert sink is not None, "a reply without a sink"
            sink.reply_informs(head, raw)
            if self._sink is not sink:
                return
            data = data[end:]
            self._start_reply()
        self._fail(ReplyEnd.HEAD_TOO_LONG, "one informational reply came after another")

    def _parse_head(self, raw: bytes) -> ReplyHead | None:
        """Return the head; None if it is invalid, which was the end of the exchange."""
        assert self._sink is not None, "a reply without a sink"
        try:
            if not raw.startswith(b"HTTP/1."):
                # An empty line, which the parser passes over, may be the rest of another reply.
                raise BadReply("it does not begin with HTTP/1")
            self._parser.feed_data(raw)
            version = self._parser.get_http_version()
            status = self._parser.get_status_code()
            return ReplyHead(self._sink.method, status, version, self._fields)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade, BadReply) as error:
            self._fail(ReplyEnd.INVALID_HTTP, f"its reply is not valid HTTP: {error}")
            return None

    def _remember(self, data: bytes, head: ReplyHead) -> None:
        # The same head in answer to HEAD has no body.
        if head.is_ordinary() and self._sink is not None and self._sink.method != b"HEAD":
            self._owner.known_replies.remember(data, head, self._body_left)

    def _read_known_head(self, data: bytes) -> bool:
        """Read a head that came before, without the parser; whether it was one."""
        sink = self._sink
        assert sink is not None, "a reply without a sink"
        known: HeadMatcher = self._owner.known_replies
        match = known.find(data)
        if match is None or sink.method == b"HEAD" or match.body_start > self._max_head_bytes:
            return False
        self._complete = True
        self._body_left = match.body_length
        self._start_body(match.head, data[: match.body_start], data[match.body_start :])
        return True

    def _start_reply(self) -> None:
        if self._fields:
            self._fields = []  # the head that was read keeps the old ones
        self._head_read = False
        self._complete = False

    def _start_body(self, head: ReplyHead, raw: bytes, data: bytes) -> None:
        """Hand the head over, with the part of the body that came with it."""
        self._body = head.body
        self._keep_alive = head.keep_alive
        self._state = READING_BODY
        if head.body is NONE:
            if not self._complete:
                # A reply to HEAD: the parser waits for the body that its length speaks of.
                self._parser = httptools.HttpResponseParser(self)
            self._set_end(surplus=len(data))
            data = b""
        elif data:
            data = self._read_body(data)
        sink = self._sink
        if sink is None:
            return  # the body was broken
        sink.reply_begins(head, raw, data)
        if self._end is not None:
            self._finish()

    def _read_body(self, data: bytes) -> bytes:
        """Return the part of `data` that is body, and set `_end` if the body ends in it.

        It is empty if the exchange failed.
        """
        body = self._body
        if body is CHUNKED:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserError as error:
                self._fail(ReplyEnd.BROKEN_CHUNKS, f"its chunked coding is broken: {error}")
                return b""
            if self._complete:
                return self._end_chunked(data)
            self._tail = data if len(data) >= _TAIL_BYTES else (self._tail + data)[-8:]
        elif body is LENGTH:
            left = self._body_left - len(data)
            if left < 0:
                data = data[:left]
            self._body_left = left
            if not self._complete:  # then the parser has not seen the head either
                self._parser.feed_data(data)
            if left <= 0:
                self._set_end(surplus=-left)
        return data

    def _end_chunked(self, data: bytes) -> bytes:
        if self._surplus:
            reason = "another reply came unasked behind the end of this one"
            self._fail(ReplyEnd.UNSOLICITED, reason)
            return b""
        surplus = 0 if chunked_end_is_exact(data) else chunked_surplus(self._tail, data)
        self._set_end(surplus=surplus)
        return data[: len(data) - surplus] if surplus else data

    def _set_end(self, surplus: int) -> None:
        """Note that the response is complete; after more bytes than it had, trust no other."""
        self._end = REUSABLE if self._keep_alive and not surplus else SPENT

    def _finish(self) -> None:
        """End the exchange with a complete response."""
        sink, end = self._sink, self._end
        self._end = None
        if sink is None or end is None:
            return  # cancelled while its last bytes were handed over
        if self.transport.get_write_buffer_size():
            # The server answered before it read the whole request; the rest would still be sent.
            end = SPENT
        self._sink = None
        self._state = IDLE
        self._start_reply()
        self._tail = b""
        sink.reply_ends(end, "")

    def _fail(self, end: ReplyEnd, reason: str) -> None:
        sink = self._sink
        self._sink = None
        self._close()
        if sink is not None:
            sink.reply_ends(end, reason)

    def _close(self) -> None:
        self._state = CLOSED
        self.transport.abort()
