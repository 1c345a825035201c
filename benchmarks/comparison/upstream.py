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
from pathlib import Path
from urllib.parse import parse_qsl

import orjson
import uvloop

from benchmarks.comparison import replies, traffic
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
REFUSAL = b"HTTP/1.1 %b\r\ncontent-length: %d\r\ncontent-type: text/plain\r\n\r\n%b"
BAD_REQUEST = b"400 Bad Request"
NOT_FOUND = b"404 Not Found"
# From one of the slots of a tick to the next.
SLOT_SECONDS = 100e-6
# What a real server said of itself when all its metrics were asked for: 64 KB.
METRICS = Path(__file__).parents[2] / "tests" / "captures" / "metrics_name_filter.res"


def whole_reply(body: bytes) -> bytes:
    return JSON_HEAD % len(body) + body


def metrics_text() -> bytes:
    """Return the captured metrics, of the model that the load asks for."""
    reply = replies.read_reply(METRICS.read_bytes())
    assert reply is not None, f"{METRICS} holds no whole reply"
    return reply.body.replace(b'model_name="tiny"', b'model_name="%b"' % traffic.MODEL.encode())


def filtered(text: bytes, names: set[bytes]) -> bytes:
    """Return the families of a metrics text that have a sample of one of the names, as vLLM does.

    A family's text is its HELP line, its TYPE line and its samples.
    """
    kept = []
    for family in text.split(b"# HELP ")[1:]:
        lines = family.splitlines(keepends=True)
        samples = [line for line in lines if line.partition(b"{")[0] in names]
        if samples:
            kept += [b"# HELP ", *lines[:2], *samples]
    return b"".join(kept)


# As vLLM answers; routers find out by these what kind of server it is.
MODELS = orjson.dumps(
    {"object": "list", "data": [{"id": traffic.MODEL, "object": "model", "owned_by": "vllm"}]}
)
OWN_PATHS = {
    b"/health": whole_reply(b""),
    b"/v1/models": whole_reply(MODELS),
    b"/version": whole_reply(b'{"version":"0.32.0"}'),
}
JSON_REPLY = whole_reply(traffic.chat_reply())


class Wanted:
    """Reply that a request body asks for."""

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
        slots = max(1, round(tick / SLOT_SECONDS))
        self._slots: list[set[Stream]] = [set() for _ in range(slots)]
        self._period = tick / slots
        self._position = 0
        self._streams = 0
        self._ticker: Ticker | None = None

    def add(self, stream: "Stream") -> None:
        stream.slot = random.randrange(len(self._slots))
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
            self._position = (self._position + 1) % len(self._slots)
            due = self._slots[self._position]
            if due:
                # A copy: a stream that ends takes itself out.
                for stream in tuple(due):
                    stream.send_event()


class Script:
    """The prepared bytes of every answer of one process, shared by its connections."""

    def __init__(self, tick: float, *, stamped: bool, filters: bool) -> None:
        self.wheel = Wheel(tick)
        self.stamped = stamped
        self._filters = filters
        self._metrics = metrics_text()
        self._own = OWN_PATHS | {b"/metrics": whole_reply(self._metrics)}
        self._chunks: list[bytes] = []
        self._wanted: dict[int, Wanted] = {}

    def own_answer(self, target: bytes) -> bytes:
        """Answer a GET, and remember the answer."""
        answer = self._own.get(target)
        if answer is None:
            path, _, query = target.partition(b"?")
            if path != b"/metrics/":
                return refuse(b"unknown path " + path, NOT_FOUND)
            names = {value for name, value in parse_qsl(query) if name == b"name[]"}
            text = filtered(self._metrics, names) if names and self._filters else self._metrics
            answer = self._own[target] = whole_reply(text)
        return answer

    def chunks(self, events: int) -> list[bytes]:
        """Return the framed events of a stream; the list may be longer than `events`."""
        for index in range(len(self._chunks), events):
            self._chunks.append(traffic.chunk(traffic.sse_event(index, stamped=self.stamped)))
        return self._chunks

    def wanted(self, body: bytes) -> Wanted:
        """Read a body, or recognise one seen before: comparing costs less than parsing."""
        known = self._wanted.get(len(body))
        if known is None or known.body != body:
            known = self._wanted[len(body)] = Wanted(body)
        return known


class Stream:
    """One running stream: an event each tick, in a phase of its own."""

    __slots__ = ("chunks", "events", "index", "slot", "stamped", "transport", "wheel")

    def __init__(self, transport, script: Script, events: int) -> None:
        self.transport = transport
        self.chunks = script.chunks(events)
        self.events = events
        self.index = 0
        self.slot = 0
        self.stamped = script.stamped
        self.wheel = script.wheel
        self.transport.write(STREAM_HEAD)
        self.wheel.add(self)

    def send_event(self) -> None:
        chunk = self.chunks[self.index]
        self.transport.write(traffic.stamp(chunk, traffic.now_us()) if self.stamped else chunk)
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
            self.transport.write(self.script.own_answer(data.split(b" ", 2)[1]))
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


def refuse(reason: bytes, status: bytes = BAD_REQUEST) -> bytes:
    return REFUSAL % (status, len(reason), reason)


async def serve(servers: int, script: Script) -> None:
    loop = asyncio.get_running_loop()
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
    parser.add_argument("--stamped", action="store_true", help="events say when they were sent")
    parser.add_argument(
        "--no-filter", action="store_true", help="all metrics are sent, whichever are asked for"
    )
    options = parser.parse_args()
    script = Script(options.tick, stamped=options.stamped, filters=not options.no_filter)
    uvloop.run(serve(options.servers, script))


if __name__ == "__main__":
    main()
