"""One connection to a vLLM server: sends requests and passes their responses to exchanges."""

import asyncio
import enum
from typing import Final, Protocol

from fastroute.proxy import clock
from fastroute.rules.framing import ReplyEnd
from fastroute.rules.head_match import HeadMatcher
from fastroute.rules.response import ResponseFramer
from fastroute.rules.response_head import ReplyHead

# Size up to which copying head and body together is cheaper than a vectored write.
_JOIN_BYTES: Final = 65536


class State(enum.Enum):
    """Part of a response that the next byte belongs to."""

    IDLE = enum.auto()  # none: any byte is an error
    READING_HEAD = enum.auto()  # the request is sent
    READING_BODY = enum.auto()
    CLOSED = enum.auto()


# Access through the class takes 60 ns on Python 3.11, and every event needs some of them.
IDLE: Final = State.IDLE
READING_HEAD: Final = State.READING_HEAD
READING_BODY: Final = State.READING_BODY
CLOSED: Final = State.CLOSED
REUSABLE: Final = ReplyEnd.REUSABLE
SPENT: Final = ReplyEnd.SPENT


class ReplySink:
    """Receiver of the response to one request: the exchange.

    The calls are any number of `reply_informs`, then `reply_begins`, any number of `reply_bytes`
    and, last, `reply_ends`. A response that fails may end without a start. Each call may cancel the
    exchange; then no other call follows.

    Attributes:
        method: Method of the request, which decides whether the response has a body.
    """

    __slots__ = ("method",)

    method: bytes

    def reply_informs(self, head: ReplyHead, raw: bytes) -> None:
        """Take an informational (1xx) head, parsed and as received.

        This is not the start of the response: no body, no end and no reuse of the connection
        belong to it.
        """
        raise NotImplementedError

    def reply_begins(self, head: ReplyHead, raw: bytes, first_body: bytes) -> None:
        """Take the response's head and the body bytes that came with it.

        Args:
            head: The parsed head.
            raw: The head as received, with its final empty line.
            first_body: Body bytes as in `reply_bytes`; empty if none came with the head.
        """
        raise NotImplementedError

    def reply_bytes(self, data: bytes) -> None:
        """Take body bytes as received, with their chunked coding; at least one."""
        raise NotImplementedError

    def reply_ends(self, end: ReplyEnd, reason: str) -> None:
        """Take the end of the response.

        After REUSABLE and SPENT, the receiver must return the connection to the server's idle ones
        or close it. After all others it is already closed.

        Args:
            end: Ending of the response.
            reason: Reason why it is incomplete, for people; empty if it is complete.
        """
        raise NotImplementedError


class IdleOwner(Protocol):
    """Owner of idle connections: the server."""

    @property
    def known_replies(self) -> HeadMatcher:
        """Remembered heads of this server's responses."""

    def forget_idle(self, upstream: "UpstreamConnection") -> None:
        """Remove an idle connection that has ended."""


class UpstreamConnection:
    """The protocol of one connection to a server; it carries one exchange at a time.

    It has the methods of an asyncio.Protocol but not that base class, because a compiled class
    cannot have a base that is not compiled.

    Attributes:
        reused: True if it carried an earlier exchange.
        first_byte_at: Time of the first byte of the response, in seconds of the clock for
            durations; 0 before it.
        idle_since: Loop time in seconds; set by the owner.
        transport: Set once connected.
    """

    __slots__ = (
        "_eof",
        "_framer",
        "_owner",
        "_sink",
        "_state",
        "first_byte_at",
        "idle_since",
        "reused",
        "transport",
    )

    transport: asyncio.Transport

    def __init__(self, owner: IdleOwner, max_head_bytes: int) -> None:
        # Connection
        self._owner = owner
        self._framer = ResponseFramer(owner.known_replies, max_head_bytes)
        self._state = IDLE
        self._eof = False
        self.reused = False
        self.idle_since = 0.0
        # Exchange
        self._sink: ReplySink | None = None
        self.first_byte_at = 0.0

    def __repr__(self) -> str:
        return f"<UpstreamConnection {self._state.name} reused={self.reused}>"

    def is_idle(self) -> bool:
        """Return True if a request may be sent."""
        return self._state is IDLE

    def send(self, sink: ReplySink, head: bytes, body: bytes | bytearray) -> None:
        """Send a request; its response goes to `sink`. The connection must be idle."""
        assert self._state is IDLE, f"a request was sent on {self!r}"
        self._sink = sink
        self._state = READING_HEAD
        self.first_byte_at = 0.0
        self._framer.start(sink.method)
        # uvloop writes immediately, so two writes are two system calls and wake the server twice.
        if len(body) <= _JOIN_BYTES:
            self.transport.write(head + body)
        else:
            self.transport.writelines((head, body))

    def cancel(self) -> None:
        """Drop the exchange and close the connection, so that vLLM stops generating."""
        self._sink = None
        self._close()

    # From the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = transport  # type: ignore[assignment]  # create_connection makes no other

    def data_received(self, data: bytes) -> None:
        """Pass on a piece of the body, or read a head."""
        if self._state is READING_BODY:
            if self._framer.passes(data):
                assert self._sink is not None, "a body without a sink"
                self._sink.reply_bytes(data)
            else:
                self._end_body(data)
        elif self._state is READING_HEAD:
            if not self.first_byte_at:
                self.first_byte_at = clock.now()
            self._read_heads(data)
        elif self._state is IDLE:
            # Unsolicited bytes: the next request would take them for its response.
            self._owner.forget_idle(self)
            self._close()

    def pause_writing(self) -> None:
        """Do nothing: a request is written completely in one call."""

    def resume_writing(self) -> None:
        """Do nothing."""

    def eof_received(self) -> None:
        """Note that the server announced the end of the connection (TLS: close_notify)."""
        self._eof = True

    def connection_lost(self, exc: Exception | None) -> None:
        """Report the end of the connection to its owner or its exchange."""
        state, sink, framer = self._state, self._sink, self._framer
        self._state = CLOSED
        self._sink = None
        if state is IDLE:
            self._owner.forget_idle(self)
        elif sink is not None and state is not CLOSED:
            end = framer.close(in_order=self._eof, error=exc)
            sink.reply_ends(end, framer.reason)
        framer.release()

    # Reading

    def _read_heads(self, data: bytes) -> None:
        """Read heads up to the final one; pass it on with the body bytes that came with it."""
        sink, framer = self._sink, self._framer
        assert sink is not None, "a response without a sink"
        found = framer.read_head(data)
        while found is not None:
            head, raw, first_body = found
            if head.is_final():
                self._state = READING_BODY
                sink.reply_begins(head, raw, first_body)
                break
            sink.reply_informs(head, raw)
            if self._sink is not sink:
                return
            found = framer.read_head(b"")
        if framer.end is not None:
            self._end()

    def _end_body(self, data: bytes) -> None:
        """Pass on the last bytes of a valid body, and end the exchange."""
        body = self._framer.end_body(data)
        if body and self._sink is not None:
            self._sink.reply_bytes(body)
        self._end()

    def _end(self) -> None:
        """End the exchange with the framer's result; close the connection after a failure."""
        sink, end = self._sink, self._framer.end
        if sink is None or end is None:
            return  # cancelled while the last bytes were passed on
        self._sink = None
        if end is REUSABLE or end is SPENT:
            self._state = IDLE
            if self.transport.get_write_buffer_size():
                # The server responded before it read the whole request; the rest is not sent yet.
                end = SPENT
        else:
            self._close()
        sink.reply_ends(end, self._framer.reason)

    def _close(self) -> None:
        self._state = CLOSED
        self.transport.abort()
