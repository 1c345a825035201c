"""The two JSON loads: saturated (closed loop), and at a fixed rate (open loop)."""

import asyncio
import time
from collections import Counter, deque

from benchmarks.comparison import replies, traffic
from benchmarks.comparison.pace import Ticker
from benchmarks.comparison.spec import LoadResult, LoadSpec
from benchmarks.comparison.window import Window, percentile, spread

_OK = b"HTTP/1.1 200 "


class JsonConnection(asyncio.Protocol):
    """One keep-alive connection; sends requests for its load, checks and reports responses."""

    __slots__ = ("asking", "due", "load", "port", "received", "request", "transport")

    def __init__(self, load: "JsonLoad", port: int) -> None:
        self.load = load
        self.port = port
        self.received = b""
        self.asking = False
        self.due = 0.0
        head = traffic.request_head(f"127.0.0.1:{port}", load.request_body)
        self.request = head + load.request_body

    def connection_made(self, transport) -> None:
        self.transport = transport

    def ask(self, due: float) -> None:
        """Send the request that was due at `due` (monotonic)."""
        self.due = due
        self.asking = True
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        load = self.load
        # Nearly all responses arrive in one piece; checking those must be very cheap.
        if (
            not self.received
            and data.startswith(_OK)
            and data.endswith(load.expected)
            and data.find(traffic.HEAD_END) + 4 + len(load.expected) == len(data)
            and self.asking
        ):
            self.asking = False
            load.answered(self)
            return
        self.received += data
        self.check_slowly()

    def check_slowly(self) -> None:
        try:
            reply = replies.read_reply(self.received)
        except ValueError as error:
            self.fail(str(error))
            return
        if reply is None:
            return
        reason = replies.why_wrong(reply, self.load.expected)
        if reason is None and (reply.end < len(self.received) or not self.asking):
            reason = "bytes that nobody asked for"
        if reason is not None:
            self.fail(reason)
            return
        self.received = b""
        self.asking = False
        self.load.answered(self)

    def fail(self, reason: str) -> None:
        self.asking = False
        self.transport.abort()
        self.load.failed(reason)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.asking:
            self.load.failed("connection closed before the whole answer")
        self.load.lost(self)


class JsonLoad:
    """Common parts of both loads: connections, counts, the window."""

    def __init__(self, spec: LoadSpec) -> None:
        self.spec = spec
        self.request_body = traffic.chat_request(spec.request_bytes)
        self.expected = traffic.chat_reply()
        self.answers = 0
        self.errors: Counter[str] = Counter()
        self.ended = False
        self.tasks: set[asyncio.Task] = set()
        self.open: set[JsonConnection] = set()

    async def connect(self, port: int) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(
                lambda: JsonConnection(self, port), "127.0.0.1", port
            )
        except OSError as error:
            self.failed(f"cannot connect: {error.strerror}")
            await asyncio.sleep(0.1)
            self.reconnect(port)
            return
        if self.ended:
            connection.transport.abort()
            return
        self.open.add(connection)
        self.connected(connection)

    async def connect_all(self) -> None:
        ports = self.spec.ports
        numbers = range(self.spec.connections)
        await asyncio.gather(*(self.connect(ports[k % len(ports)]) for k in numbers))

    def connected(self, connection: JsonConnection) -> None:
        raise NotImplementedError

    def answered(self, connection: JsonConnection) -> None:
        raise NotImplementedError

    def failed(self, reason: str) -> None:
        if not self.ended:
            self.errors[reason] += 1

    def lost(self, connection: JsonConnection) -> None:
        self.open.discard(connection)
        self.reconnect(connection.port)

    def reconnect(self, port: int) -> None:
        if not self.ended:
            task = asyncio.ensure_future(self.connect(port))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    def end(self) -> None:
        """Close every connection; later events are not errors."""
        self.ended = True
        for task in self.tasks:
            task.cancel()
        for connection in self.open:
            connection.transport.abort()


class ClosedLoad(JsonLoad):
    """Each connection sends a request as soon as it has its response: the proxy is saturated."""

    def connected(self, connection: JsonConnection) -> None:
        connection.ask(0.0)

    def answered(self, connection: JsonConnection) -> None:
        self.answers += 1
        connection.ask(0.0)

    async def run(self) -> LoadResult:
        await self.connect_all()
        await asyncio.sleep(self.spec.warmup)
        window = Window(self.spec)
        window.begin(self.answers)
        await asyncio.sleep(self.spec.seconds)
        window.end(self.answers)
        self.end()
        return window.result(checked=self.answers, errors=self.errors, latencies={})


class PacedLoad(JsonLoad):
    """Requests at a fixed rate. A latency counts from the moment the request was due.

    A proxy that stalls is therefore charged for every request due meanwhile (no
    coordinated omission). A request due with no connection free waits, and that counts too.
    """

    def __init__(self, spec: LoadSpec) -> None:
        super().__init__(spec)
        self.idle: deque[JsonConnection] = deque()
        self.waiting: deque[float] = deque()
        self.ticks = 0
        self.first = 0.0
        self.measuring = False
        self.latencies: list[float] = []
        self.lateness: list[float] = []

    def connected(self, connection: JsonConnection) -> None:
        if self.waiting:
            connection.ask(self.waiting.popleft())
        else:
            self.idle.append(connection)

    def answered(self, connection: JsonConnection) -> None:
        self.answers += 1
        if self.measuring:
            self.latencies.append(time.monotonic() - connection.due)
        self.connected(connection)

    def lost(self, connection: JsonConnection) -> None:
        if connection in self.idle:
            self.idle.remove(connection)
        super().lost(connection)

    def due(self, ticks: int) -> None:
        now = time.monotonic()
        for k in range(self.ticks, self.ticks + ticks):
            moment = self.first + k / self.spec.rate
            if self.measuring:
                self.lateness.append(now - moment)
            if self.idle:
                self.idle.popleft().ask(moment)
            else:
                self.waiting.append(moment)
        self.ticks += ticks

    async def run(self) -> LoadResult:
        await self.connect_all()
        ticker = Ticker(1 / self.spec.rate, self.due)
        self.first = ticker.started
        await asyncio.sleep(self.spec.warmup)
        window = Window(self.spec)
        self.measuring = True
        window.begin(self.answers)
        await asyncio.sleep(self.spec.seconds)
        window.end(self.answers)
        ticker.close()
        self.note_unanswered()
        self.measuring = False
        self.end()
        return window.result(
            checked=self.answers, errors=self.errors, latencies=self.latency_figures()
        )

    def note_unanswered(self) -> None:
        """Count the requests in flight with their current age, and as errors above one second."""
        now = time.monotonic()
        open_since = [one.due for one in self.open if one.asking]
        for moment in (*open_since, *self.waiting):
            self.latencies.append(now - moment)
            if now - moment > 1.0:
                self.failed("no response within a second of the end")

    def latency_figures(self) -> dict[str, float]:
        if not self.latencies:
            return {}
        late = percentile(sorted(self.lateness), 0.99)
        return {**spread(self.latencies), "sent_late_p99": late}
