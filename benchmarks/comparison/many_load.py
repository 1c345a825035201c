"""Thousands of streams with one event per second: delay of events, memory of streams."""

import asyncio
import time
from collections import Counter

from benchmarks.comparison import replies, traffic
from benchmarks.comparison.spec import LoadResult, LoadSpec
from benchmarks.comparison.window import Window, spread

# Far more than arrive before the load closes the streams: none of them ends by itself.
_EVENTS_ASKED_FOR = 600
# Number of streams opened together; the next ones wait for their response headers, because a burst
# of connections would measure the accept queue.
_AT_ONCE = 32
_SECONDS_TO_BEGIN = 20.0
_SECONDS_TO_SETTLE = 0.5


class OpenStream(asyncio.Protocol):
    """One stream that runs until the load closes it; its bytes are kept and checked then."""

    __slots__ = ("begun", "begun_at", "load", "parts", "request", "transport")

    def __init__(self, load: "ManyLoad", port: int) -> None:
        self.load = load
        self.parts: list[bytes] = []
        self.begun = asyncio.Event()
        self.begun_at = 0.0
        head = traffic.request_head(f"127.0.0.1:{port}", load.request_body)
        self.request = head + load.request_body

    def connection_made(self, transport) -> None:
        self.transport = transport
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        now = traffic.now_us()
        self.parts.append(data)
        if not self.begun_at:
            self.begun_at = time.monotonic()
            self.begun.set()
        # A stamp split over two segments is not timed; its arrival is checked at the end.
        for sent in traffic.stamps(data):
            self.load.event(now - sent)

    def connection_lost(self, exc: Exception | None) -> None:
        self.load.lost(self)

    def why_wrong(self, now: float) -> str | None:
        """Return the error in the received bytes, None if they are correct."""
        try:
            reply = replies.read_beginning(b"".join(self.parts))
        except ValueError as error:
            return str(error)
        if reply is None:
            return "no answer"
        if reply.status != 200:
            return f"status {reply.status}: {reply.body[:80].decode(errors='replace')}"
        if not self.load.expected.startswith(traffic.unstamped(reply.body)):
            return "other bytes than were sent"
        events = reply.body.count(traffic.EVENT_START)
        # The first arrives up to one tick after the headers; one more may be in flight.
        due = int((now - self.begun_at) / self.load.spec.tick) - 2
        return f"{due - events} events missing" if events < due else None


class ManyLoad:
    """Opens streams in two steps, lets all of them run, then checks each."""

    def __init__(self, spec: LoadSpec) -> None:
        self.spec = spec
        self.request_body = traffic.chat_request(spec.request_bytes, events=_EVENTS_ASKED_FOR)
        self.expected = traffic.sse_body(_EVENTS_ASKED_FOR, stamped=True)
        self.streams: set[OpenStream] = set()
        self.errors: Counter[str] = Counter()
        self.events = 0
        self.measuring = False
        self.delays: list[float] = []
        self.closing = False

    def event(self, delay_us: int) -> None:
        self.events += 1
        if self.measuring:
            self.delays.append(delay_us / 1e6)

    def lost(self, stream: OpenStream) -> None:
        stream.begun.set()
        if not self.closing:
            self.streams.discard(stream)
            self.errors["a stream that was closed before its end"] += 1

    async def open(self, port: int) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, stream = await loop.create_connection(
                lambda: OpenStream(self, port), "127.0.0.1", port
            )
        except OSError as error:
            self.errors[f"cannot connect: {error.strerror}"] += 1
            return
        self.streams.add(stream)
        try:
            async with asyncio.timeout(_SECONDS_TO_BEGIN):
                await stream.begun.wait()
        except TimeoutError:
            self.errors[f"no response within {_SECONDS_TO_BEGIN:g} s"] += 1

    async def open_up_to(self, connections: int) -> None:
        ports = self.spec.ports
        for k in range(len(self.streams), connections, _AT_ONCE):
            numbers = range(k, min(k + _AT_ONCE, connections))
            await asyncio.gather(*(self.open(ports[n % len(ports)]) for n in numbers))
        # Until each has received its first event.
        await asyncio.sleep(_SECONDS_TO_SETTLE + self.spec.tick)

    async def run(self) -> LoadResult:
        spec = self.spec
        window = Window(spec)
        steps = [(0, window.resident_bytes())]
        for connections in (spec.first_connections, spec.connections):
            await self.open_up_to(connections)
            steps.append((len(self.streams), window.resident_bytes()))
        await asyncio.sleep(spec.warmup)
        self.measuring = True
        window.begin(self.events)
        await asyncio.sleep(spec.seconds)
        window.end(self.events)
        self.measuring = False
        self.check()
        result = window.result(
            checked=len(self.streams), errors=self.errors, latencies=spread(self.delays)
        )
        result.resident_steps = steps
        return result

    def check(self) -> None:
        """Check each stream, after all were aborted at the same time."""
        self.closing = True
        now = time.monotonic()
        for stream in self.streams:
            stream.transport.abort()
        for stream in self.streams:
            reason = stream.why_wrong(now)
            if reason is not None:
                self.errors[reason] += 1
