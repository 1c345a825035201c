"""The streaming load: many concurrent streams, each stored and checked completely at its end."""

import asyncio
from collections import Counter

from benchmarks.comparison import replies, traffic
from benchmarks.comparison.spec import LoadResult, LoadSpec
from benchmarks.comparison.window import Window

# Streams start before and end after the window; a stream that ends inside it is an error.
_MARGIN_SECONDS = 1.2


class StreamConnection(asyncio.Protocol):
    """One stream on its own connection, like those of a browser or the openai client."""

    __slots__ = ("events", "load", "parts", "request", "size", "transport")

    def __init__(self, load: "StreamLoad", port: int) -> None:
        self.load = load
        self.parts: list[bytes] = []
        self.events = 0
        head = traffic.request_head(f"127.0.0.1:{port}", load.request_body)
        self.request = head + load.request_body

    def connection_made(self, transport) -> None:
        self.transport = transport
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.parts.append(data)
        load = self.load
        # Quick and nearly exact (a segment may end inside the marker): the exact count is that of
        # the whole body, at the end.
        events = data.count(traffic.EVENT_START)
        load.events += events
        if not self.events and events:
            load.begun += 1
        self.events += events
        if self.events > load.events_per_stream or data.endswith(traffic.LAST_CHUNK):
            self.finish()

    def finish(self) -> None:
        try:
            reply = replies.read_reply(b"".join(self.parts))
        except ValueError as error:
            self.load.ended(self, str(error))
            return
        if reply is not None:
            self.load.ended(self, self.why_wrong(reply))

    def why_wrong(self, reply: replies.Reply) -> str | None:
        events = reply.body.count(traffic.EVENT_START) - 1
        expected = self.load.events_per_stream
        if reply.status == 200 and events != expected:
            return f"{events} events instead of {expected}"
        return replies.why_wrong(reply, self.load.expected)

    def connection_lost(self, exc: Exception | None) -> None:
        self.load.ended(self, "connection closed before the end of the stream")


class StreamLoad:
    """Opens all streams, measures while all of them run, then waits for each one's end."""

    def __init__(self, spec: LoadSpec) -> None:
        self.spec = spec
        duration = spec.warmup + spec.seconds + 2 * _MARGIN_SECONDS
        self.events_per_stream = round(duration / spec.tick)
        self.request_body = traffic.chat_request(spec.request_bytes, events=self.events_per_stream)
        self.expected = traffic.sse_body(self.events_per_stream)
        self.events = 0
        self.begun = 0
        self.checked = 0
        self.errors: Counter[str] = Counter()
        self.running: set[StreamConnection] = set()
        self.all_ended = asyncio.Event()

    def ended(self, stream: StreamConnection, reason: str | None) -> None:
        if stream not in self.running:
            return
        self.running.discard(stream)
        stream.transport.abort()
        self.checked += reason is None
        if reason is not None:
            self.errors[reason] += 1
        if not self.running:
            self.all_ended.set()

    async def open(self, port: int) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, stream = await loop.create_connection(
                lambda: StreamConnection(self, port), "127.0.0.1", port
            )
        except OSError as error:
            self.errors[f"cannot connect: {error.strerror}"] += 1
            return
        self.running.add(stream)

    async def run(self) -> LoadResult:
        spec = self.spec
        # Eight at a time: a burst of connections would measure the accept queue.
        for k in range(0, spec.connections, 8):
            numbers = range(k, min(k + 8, spec.connections))
            await asyncio.gather(*(self.open(spec.ports[n % len(spec.ports)]) for n in numbers))
        await self.wait_for_first_events()
        await asyncio.sleep(spec.warmup)
        window = Window(spec)
        window.begin(self.events)
        before = len(self.running)
        await asyncio.sleep(spec.seconds)
        window.end(self.events)
        if len(self.running) < before:
            self.errors["streams that ended inside the window"] += before - len(self.running)
        await self.wait_for_end()
        return window.result(checked=self.checked, errors=self.errors, latencies={})

    async def wait_for_first_events(self) -> None:
        # Both margins: a busy machine may take the second one too, as long as all streams still
        # run when the window ends.
        for _ in range(round(2 * _MARGIN_SECONDS / 0.05)):
            if self.begun >= len(self.running):
                return
            await asyncio.sleep(0.05)
        self.errors["streams without an event in time"] += len(self.running) - self.begun

    async def wait_for_end(self) -> None:
        if not self.running:
            return
        try:
            async with asyncio.timeout(2 * _MARGIN_SECONDS + 5):
                await self.all_ended.wait()
        except TimeoutError:
            self.errors["streams that did not end"] += len(self.running)
