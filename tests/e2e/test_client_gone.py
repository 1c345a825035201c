"""Client disconnects in every phase: the server must see it within 50 ms, to stop generating."""

import asyncio
import gc
import os
from dataclasses import dataclass

import pytest

from tests.support.endings import ended, finish, half_close, refusing_url, reset, silent_url
from tests.support.scripted import read_request, scripted
from tests.support.standin_client import client, get, post
from tests.support.standins import standin, until

WITHIN = 0.05
"""Seconds."""

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = b'10\r\ndata: {"a": 12}\n\r\n'
SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
CHAT = post("/v1/chat/completions", {"stream": True})

each_ending = pytest.mark.parametrize(
    "leave", [finish, reset, half_close], ids=["fin", "rst", "half-close"]
)


@dataclass
class Stage:
    """Progress of the server's response when the client disconnects.

    Attributes:
        sent: Bytes that the server has sent by then.
        seen: Bytes of them that the client has received.
        phase: The router's phase of the request.
    """

    sent: bytes
    seen: bytes
    phase: str


STAGES = {
    "no byte yet": Stage(b"", b"", "WAITING"),
    "half a head": Stage(HEAD[:20], b"", "REPLYING"),
    "an interim reply": Stage(*(b"HTTP/1.1 103 Early Hints\r\n\r\n",) * 2, "REPLYING"),
    "the head of a stream": Stage(HEAD, b"", "WAITING"),  # held until its first event
    "in mid-stream": Stage(HEAD + 3 * EVENT, 3 * EVENT, "REPLYING"),
    "in mid-chunk": Stage(HEAD + EVENT[:7], EVENT[:7], "REPLYING"),
    "in a body of known length": Stage(SIZED + b"0123", b"0123", "REPLYING"),
    "in a body until close": Stage(b"HTTP/1.1 200 OK\r\n\r\n0123", b"0123", "REPLYING"),
}


def phase_is(router, phase: str) -> bool:
    return any(f" {phase} " in repr(connection) for connection in router.state.clients)


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def lasting_descriptors() -> int:
    """Count the remaining ones: tables of earlier tests are closed when garbage-collected."""
    gc.collect()
    return open_descriptors()


@each_ending
@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES.keys())
@pytest.mark.alone
async def test_the_server_sees_it_at_once(start_router, stage, leave):
    gone: asyncio.Queue[float] = asyncio.Queue()

    async def handler(reader, writer):
        await read_request(reader)
        writer.write(stage.sent)
        gone.put_nowait(await ended(reader))

    async with scripted(handler) as server:
        router = await start_router(server.url)
        delays = []
        # Other processes may delay this one for longer, so take the best of three.
        for _ in range(3):
            async with client(router.port) as connection:
                connection.send(CHAT)
                if stage.seen:
                    await connection.reader.readuntil(stage.seen)
                await until(lambda: phase_is(router, stage.phase))
                left = asyncio.get_running_loop().time()
                leave(connection.writer)
                delays.append(await asyncio.wait_for(gone.get(), 5) - left)
        assert min(delays) < WITHIN
        await until(lambda: router.total("aborted") == 3)
        assert router.total("failed") == 0


@each_ending
async def test_while_connecting(start_router, leave):
    with silent_url() as url:
        router = await start_router(url, connect_timeout=60.0)
        before = lasting_descriptors()
        async with client(router.port) as connection:
            connection.send(CHAT)
            await until(lambda: phase_is(router, "CONNECTING"))
            assert open_descriptors() == before + 3, "the client's two and the one connecting"
            leave(connection.writer)
            await until(lambda: router.total("aborted") == 1, 1.0)
            assert sum(router.table.in_flight_totals()) == 0
        await until(lambda: open_descriptors() == before)


@each_ending
async def test_while_connecting_to_the_second_server(start_router, leave):
    with refusing_url() as refusing, silent_url() as silent:
        router = await start_router(refusing, silent, connect_timeout=60.0)
        before = lasting_descriptors()
        async with client(router.port) as connection:
            connection.send(CHAT)
            await until(lambda: phase_is(router, "CONNECTING"))
            await until(lambda: router.state.cells.in_flight[1] == 1)
            leave(connection.writer)
            await until(lambda: router.total("aborted") == 1, 1.0)
        await until(lambda: open_descriptors() == before)


async def test_at_every_moment_of_connecting(start_router):
    """The client disconnects 0, 1, 2 ... loop iterations later: no connection may be left over."""
    gone = 0

    async def handler(reader, writer):
        nonlocal gone
        await ended(reader)
        gone += 1

    async with scripted(handler) as server:
        router = await start_router(server.url)
        for turns in range(40):
            async with client(router.port) as connection:
                connection.send(CHAT)
                for _ in range(turns):
                    await asyncio.sleep(0)
                reset(connection.writer)
            await until(lambda: not router.state.clients)
        await until(lambda: gone == server.connections)
        assert router.total("aborted") == router.total("started") >= 20


@each_ending
@pytest.mark.parametrize("waiting", [1, 40, 150], ids=["1", "40", "more than are allowed"])
@pytest.mark.alone
async def test_with_requests_waiting_behind(start_router, leave, waiting):
    gone: asyncio.Queue[float] = asyncio.Queue()

    async def handler(reader, writer):
        await read_request(reader)
        gone.put_nowait(await ended(reader))

    async with scripted(handler) as server:
        router = await start_router(server.url)
        delays = []
        for _ in range(3):
            async with client(router.port) as connection:
                connection.send(CHAT)
                await until(lambda: phase_is(router, "WAITING"))
                # In separate segments, so that reading may pause between them.
                for _ in range(waiting):
                    connection.send(get("/v1/models"))
                    await asyncio.sleep(0)
                left = asyncio.get_running_loop().time()
                leave(connection.writer)
                delays.append(await asyncio.wait_for(gone.get(), 5) - left)
        assert min(delays) < WITHIN
        assert server.connections == router.total("started") == 3, "those behind are not served"


@each_ending
@pytest.mark.alone
async def test_while_its_server_is_held_back(start_router, leave):
    """The client reads nothing, so the server is not read either; then the client disconnects."""
    gone: asyncio.Queue[float] = asyncio.Queue()
    blocked = asyncio.Event()
    piece = bytes(1 << 20)

    async def handler(reader, writer):
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        watch = asyncio.ensure_future(ended(reader))
        while not watch.done():
            writer.write(piece)
            try:
                await asyncio.wait_for(writer.drain(), 0.3)
            except TimeoutError:
                blocked.set()
                break
        gone.put_nowait(await watch)

    async with scripted(handler) as server:
        router = await start_router(server.url)
        async with client(router.port) as connection:
            connection.writer.transport.pause_reading()
            connection.send(CHAT)
            await asyncio.wait_for(blocked.wait(), 20)
            left = asyncio.get_running_loop().time()
            leave(connection.writer)
            assert await asyncio.wait_for(gone.get(), 5) - left < 2 * WITHIN
        await until(lambda: router.total("aborted") == 1)


async def test_leaving_with_a_broken_request_behind_a_good_one(start_router):
    gone: asyncio.Queue[float] = asyncio.Queue()

    async def handler(reader, writer):
        await read_request(reader)
        gone.put_nowait(await ended(reader))

    async with scripted(handler) as server:
        router = await start_router(server.url)
        async with client(router.port) as connection:
            connection.send(CHAT + b"\0\r\n\r\n")
            await until(lambda: phase_is(router, "WAITING"))
            finish(connection.writer)
            await asyncio.wait_for(gone.get(), 1)
        await until(lambda: router.total("aborted") == 1)


@pytest.mark.parametrize(
    "part",
    [
        b"",
        b"GET / HT",
        CHAT[:-5],
        b"POST /v1/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n",
    ],
    ids=["nothing sent", "half a head", "half a body", "no end of the head"],
)
@each_ending
async def test_before_its_request_is_whole(start_router, part, leave):
    async with standin() as server:
        router = await start_router(server.url)
        async with client(router.port) as connection:
            connection.send(part)
            await until(lambda: router.state.clients)
            leave(connection.writer)
            await until(lambda: not router.state.clients)
        assert router.total("started") == 0
        assert router.state.cells.process.requests_refused[0] == 0


async def test_half_close_after_the_whole_answer_is_an_ordinary_end(start_router):
    async with standin() as server:
        router = await start_router(server.url)
        async with client(router.port) as connection:
            connection.send(get("/v1/models"))
            assert (await connection.receive()).status == 200
            half_close(connection.writer)
            assert await connection.is_closed()
        assert (router.total("finished_2xx"), router.total("aborted")) == (1, 0)
