"""A connection to a server without an exchange or a pool: what it says of a reply is recorded."""

from fastroute.proxy.upstream import ReplySink, UpstreamConnection
from fastroute.rules.head_match import KnownHeads
from fastroute.rules.message import ReplyHead
from tests.support.memory_transport import MemoryTransport


class Recorder(ReplySink):
    """Takes a reply and writes down what it was told, in order."""

    def __init__(self, method: bytes = b"GET") -> None:
        self.method = method
        self.calls: list[object] = []
        self.cancel_at: str | None = None
        self.upstream: UpstreamConnection | None = None

    def _note(self, call: str, *rest: object) -> None:
        self.calls.append((call, *rest) if rest else call)
        if call == self.cancel_at:
            self.upstream.cancel()

    def reply_started(self) -> None:
        self._note("started")

    def reply_head(self, head: ReplyHead, raw: bytes) -> None:
        assert raw.startswith(b"HTTP/1.")
        assert raw.endswith(b"\r\n\r\n")
        self._note("head", head.status)

    def reply_head_sent(self) -> None:
        self._note("head sent")

    def reply_bytes(self, data: bytes) -> None:
        self._note("bytes", data)

    def reply_complete(self, reusable: bool) -> None:
        self._note("complete", "reusable" if reusable else "spent")

    def reply_failed(self, reason: str) -> None:
        self._note("failed", reason)


class Owner:
    """A pool's part: hears of idle connections that end, and knows heads of replies."""

    def __init__(self) -> None:
        self.lost: list[UpstreamConnection] = []
        self.known_replies: KnownHeads = KnownHeads(10)

    def idle_lost(self, upstream: UpstreamConnection) -> None:
        self.lost.append(upstream)


class Connected:
    """A connection, its transport and its owner."""

    def __init__(self, max_head_bytes: int = 1000) -> None:
        self.owner = Owner()
        self.upstream = UpstreamConnection(self.owner, max_head_bytes)
        self.transport = MemoryTransport(self.upstream)

    def ask(self, method: bytes = b"GET", *, cancel_at: str | None = None) -> Recorder:
        sink = Recorder(method)
        sink.upstream, sink.cancel_at = self.upstream, cancel_at
        self.upstream.send(sink, b"head", b"")
        return sink
