"""A connection to a server without an exchange or a pool, whose callbacks are recorded."""

from fastroute.proxy.upstream import ReplySink, UpstreamConnection
from fastroute.rules.framing import ReplyEnd
from fastroute.rules.head_match import HeadMatcher
from fastroute.rules.response_head import ReplyHead
from tests.support.memory_transport import MemoryTransport

COMPLETE = (ReplyEnd.REUSABLE, ReplyEnd.SPENT)


class Recorder(ReplySink):
    """Records the callbacks of a response, in order."""

    def __init__(self, method: bytes = b"GET") -> None:
        self.method = method
        self.calls: list[tuple[object, ...]] = []
        self.reason = ""
        self.cancel_at: str | None = None
        self.upstream: UpstreamConnection | None = None

    def _note(self, call: str, *rest: object) -> None:
        self.calls.append((call, *rest))
        if call == self.cancel_at:
            self.upstream.cancel()

    def reply_informs(self, head: ReplyHead, raw: bytes) -> None:
        self._note_head("informs", head, raw)

    def reply_begins(self, head: ReplyHead, raw: bytes, first_body: bytes) -> None:
        self._note_head("begins", head, raw, first_body)

    def reply_bytes(self, data: bytes) -> None:
        assert data
        self._note("bytes", data)

    def reply_ends(self, end: ReplyEnd, reason: str) -> None:
        assert bool(reason) == (end not in COMPLETE)
        self._note("ends", end)
        self.reason = reason

    def _note_head(self, call: str, head: ReplyHead, raw: bytes, *rest: bytes) -> None:
        assert raw.startswith(b"HTTP/1.")
        assert raw.endswith(b"\r\n\r\n")
        self._note(call, head.status, *rest)

    @property
    def body(self) -> bytes:
        """Return all body bytes so far."""
        return b"".join(call[-1] for call in self.calls if call[0] in ("begins", "bytes"))

    @property
    def end(self) -> ReplyEnd | None:
        """Return how the response ended; None if it has not."""
        return self.calls[-1][1] if self.calls and self.calls[-1][0] == "ends" else None


class Owner:
    """The pool's part: is notified of closed idle connections, and has known response headers."""

    def __init__(self) -> None:
        self.lost: list[UpstreamConnection] = []
        self.known_replies: HeadMatcher = HeadMatcher(10)

    def forget_idle(self, upstream: UpstreamConnection) -> None:
        self.lost.append(upstream)


class Connected:
    """Return a connection, its transport and its owner."""

    def __init__(self, max_head_bytes: int = 1000) -> None:
        self.owner = Owner()
        self.upstream = UpstreamConnection(self.owner, max_head_bytes)
        self.transport = MemoryTransport(self.upstream)

    def ask(self, method: bytes = b"GET", *, cancel_at: str | None = None) -> Recorder:
        sink = Recorder(method)
        sink.upstream, sink.cancel_at = self.upstream, cancel_at
        self.upstream.send(sink, b"head", b"")
        return sink
