"""The stand-in for a vLLM server under load: raw bytes, as cheap as Python can answer.

Run as `python -m benchmarks.comparison.upstream --servers 4`: one process that listens on so many
ports, each one a server to the proxies. It prints its ports as one line of JSON and runs until its
standard input is closed.

It is not `fastroute.standin`: that one behaves like vLLM, this one only must not be the bottleneck.
The request body says what is wanted (a reply, or a stream of how many events), since some routers
drop the fields of a request head that they do not know.
"""

import argparse
import asyncio
import random
import socket
import sys

import orjson
import uvloop

from benchmarks.comparison import traffic
from benchmarks.comparison.pace import Ticker

JSON_HEAD = (
    b"HTTP/1.1 200 OK\r\n"
    b"date: Mon, 23 Nov 2026 09:43:09 GMT\r\n"
    b"server: uvicorn\r\n"
    b"content-length: %d\r\n"
    b"content-type: application/json\r\n\r\n"
)
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\n"
    b"date: Mon, 23 Nov 2026 09:43:09 GMT\r\n"
    b"server: uvicorn\r\n"
    b"content-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
REFUSAL = b"HTTP/1.1 400 Bad Request\r\ncontent-length: %d\r\ncontent-type: text/plain\r\n\r\n%b"
# Phases of a tick; at 20 ms one is 100 us.
SLOTS = 200
METRICS = b"".join(
    b'vllm:%b{engine="0",model_name="bench"} 0.0\n' % name
    for name in (b"num_requests_running", b"num_requests_waiting", b"kv_cache_usage_perc")
)
MODELS = orjson.dumps({"object": "list", "data": [{"id": traffic.MODEL, "object": "model"}]})


def whole_reply(body: bytes) -> bytes:
    return JSON_HEAD % len(body) + body


OWN_PATHS = {
    b"/health": whole_reply(b""),
    b"/metrics": whole_reply(METRICS),
    b"/v1/models": whole_reply(MODELS),
}
JSON_REPLY = whole_reply(traffic.chat_reply())


class Wanted:
    """What one request body asks for."""

    __slots__ = ("body", "events", "refusal")

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.events = 0
        self.refusal = b""
        try:
            fields = orjson.loads(body)
            prompt = fields["messages"][0]["content"]
            if fields["user"] != traffic.prompt_checksum(prompt):
                self.refusal = b"the prompt is not the one that was sent"
            self.events = fields["max_tokens"] if fields["stream"] else 0
        except (ValueError, KeyError, TypeError, IndexError) as error:
            self.refusal = b"unusable body: " + repr(error).encode()


class Wheel:
    """Every stream's next event: the streams of one slot are sent theirs when the wheel gets there.

    It turns once in a tick. The slots are far finer than the milliseconds of the loop's timers,
    which would let the events of many streams leave together, and so make them cheap for a proxy.
    """

    def __init__(self, tick: float) -> None:
        self._slots: list[set[Stream]] = [set() for _ in range(SLOTS)]
        self._period = tick / SLOTS
        self._position = 0
        self._streams = 0
        self._ticker: Ticker | None = None

    def add(self, stream: "Stream") -> None:
        stream.slot = random.randrange(SLOTS)
        self._slots[stream.slot].add(stream)
        self._streams += 1
        if self._ticker is None:
            self._ticker = Ticker(self._period, self._turn)

    def discard(self, stream: "Stream") -> None:
        if stream not in self._slots[stream.slot]:
            return
        self._slots[stream.slot].remove(stream)
        self._streams -= 1
        if not self._streams and self._ticker is not None:
            self._ticker.close()
            self._ticker = None

    def _turn(self, ticks: int) -> None:
        for _ in range(ticks):
            self._position = (self._position + 1) % SLOTS
            due = self._slots[self._position]
            if due:
                # A copy: a stream that ends takes itself out.
                for stream in tuple(due):
                    stream.send_event()


class Script:
    """The prepared bytes of every answer of one process, shared by its connections."""

    def __init__(self, tick: float) -> None:
        self.wheel = Wheel(tick)
        self._chunks: list[bytes] = []
        self._wanted: dict[int, Wanted] = {}

    def chunks(self, events: int) -> list[bytes]:
        """Return the framed events of a stream; the list may be longer than `events`."""
        for index in range(len(self._chunks), events):
            self._chunks.append(traffic.chunk(traffic.sse_event(index)))
        return self._chunks

    def wanted(self, body: bytes) -> Wanted:
        """Read a body, or recognise one seen before: comparing costs less than parsing."""
        known = self._wanted.get(len(body))
        if known is None or known.body != body:
            known = self._wanted[len(body)] = Wanted(body)
        return known


class Stream:
    """One running stream: an event each tick, in a phase of its own."""

    __slots__ = ("chunks", "events", "index", "slot", "transport", "wheel")

    def __init__(self, transport, script: Script, events: int) -> None:
        self.transport = transport
        self.chunks = script.chunks(events)
        self.events = events
        self.index = 0
        self.slot = 0
        self.wheel = script.wheel
        self.transport.write(STREAM_HEAD)
        self.wheel.add(self)

    def send_event(self) -> None:
        self.transport.write(self.chunks[self.index])
        self.index += 1
        if self.index == self.events:
            self.transport.write(traffic.chunk(traffic.sse_end()) + traffic.LAST_CHUNK)
            self.wheel.discard(self)


class ServerConnection(asyncio.Protocol):
    """One connection that a proxy (or, without one, the load) opened to a stand-in server."""

    __slots__ = ("rest", "script", "stream", "transport")

    def __init__(self, script: Script) -> None:
        self.script = script
        self.rest = b""
        self.stream: Stream | None = None

    def connection_made(self, transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.rest:
            data = self.rest + data
            self.rest = b""
        while data:
            head_end = data.find(traffic.HEAD_END)
            if head_end < 0:
                break
            length = traffic.content_length(data[: head_end + 2]) or 0
            end = head_end + 4 + length
            if len(data) < end:
                break
            self.answer(data, data[head_end + 4 : end])
            data = data[end:]
        self.rest = data

    def answer(self, data: bytes, body: bytes) -> None:
        if data.startswith(b"GET "):
            path = data.split(b" ", 2)[1]
            self.transport.write(OWN_PATHS.get(path) or refuse(b"unknown path " + path))
            return
        wanted = self.script.wanted(body)
        if wanted.refusal:
            self.transport.write(refuse(wanted.refusal))
        elif wanted.events:
            self.stream = Stream(self.transport, self.script, wanted.events)
        else:
            self.transport.write(JSON_REPLY)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.stream is not None:
            self.stream.wheel.discard(self.stream)


def refuse(reason: bytes) -> bytes:
    return REFUSAL % (len(reason), reason)


async def serve(servers: int, tick: float) -> None:
    loop = asyncio.get_running_loop()
    script = Script(tick)
    listeners = [
        await loop.create_server(
            lambda: ServerConnection(script), "127.0.0.1", 0, family=socket.AF_INET, backlog=4096
        )
        for _ in range(servers)
    ]
    print(orjson.dumps([one.sockets[0].getsockname()[1] for one in listeners]).decode(), flush=True)
    # Whoever started us holds the other end of standard input: it closing is the order to stop,
    # and it closes however that process ends.
    stopped = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), stopped.set)
    await stopped.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--servers", type=int, default=4)
    parser.add_argument("--tick", type=float, default=0.02, help="seconds between two events")
    options = parser.parse_args()
    uvloop.run(serve(options.servers, options.tick))


if __name__ == "__main__":
    main()
