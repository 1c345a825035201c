"""Backpressure: a slow side slows down the other, and nothing accumulates in between."""

import asyncio
import hashlib

import pytest

from tests.support.scripted import read_request, scripted
from tests.support.standin_client import client, get
from tests.support.standins import until

SIZE = 200_000_000
PIECE = bytes(range(256)) * 1024
HELD_AT_MOST = 65536 + 2 * 262144
"""Maximum bytes in the router for one client: its write limit and one read, with a margin."""
IN_THE_SYSTEM = 20_000_000
"""Maximum bytes in the kernel's buffers of two connections."""


class Pouring:
    """A server that sends SIZE bytes as fast as it can.

    Attributes:
        sent: Number of bytes sent.
    """

    def __init__(self, framing: str) -> None:
        self.sent = 0
        self.digest = hashlib.sha256()
        self._framing = framing

    async def __call__(self, reader, writer):
        await read_request(reader)
        writer.transport.set_write_buffer_limits(high=0)
        field = {
            "length": b"Content-Length: %d\r\n" % SIZE,
            "chunked": b"Transfer-Encoding: chunked\r\n",
            "close": b"",
        }[self._framing]
        writer.write(b"HTTP/1.1 200 OK\r\nDate: x\r\n" + field + b"\r\n")
        left = SIZE
        while left:
            piece = PIECE[:left]
            left -= len(piece)
            if self._framing == "chunked":
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            else:
                writer.write(piece)
            await writer.drain()
            self.sent += len(piece)
            self.digest.update(piece)
        if self._framing == "chunked":
            writer.write(b"0\r\n\r\n")


def held(router) -> int:
    """Return the number of bytes in the router's transports to clients."""
    return sum(c._transport.get_write_buffer_size() for c in router.state.clients)


async def stopped_at(count) -> int:
    """Wait until a number no longer rises for 0.2 s."""
    before = -1
    while before != count():
        before = count()
        await asyncio.sleep(0.2)  # without a change for this time, it has stopped
    return before


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("version", ["1.1", "1.0"])
async def test_a_client_that_does_not_read(start_router, framing, version):
    """Its server is paused; then it continues to read and gets every byte."""
    pouring = Pouring(framing)
    async with scripted(pouring) as server:
        router = await start_router(server.url)
        async with client(router.port) as connection:
            connection.writer.transport.pause_reading()
            request = get("/v1/x", fields="Connection: close\r\n")
            connection.send(request.replace(b"1.1", version.encode()))
            await until(lambda: pouring.sent)
            sent = await stopped_at(lambda: pouring.sent)
            assert sent < IN_THE_SYSTEM
            assert 0 < held(router) <= HELD_AT_MOST
            connection.writer.transport.resume_reading()
            digest = await body_digest(connection, unwrap=(framing, version) == ("chunked", "1.1"))
        assert digest == pouring.digest.digest()
    assert router.total("finished_2xx") == 1


async def test_one_that_stops_and_goes(start_router):
    pouring = Pouring("length")
    async with scripted(pouring) as server:
        router = await start_router(server.url)
        async with client(router.port) as connection:
            connection.send(get("/v1/x"))
            await connection.reader.readuntil(b"\r\n\r\n")
            got, most, pauses, digest = 0, 0, 0, hashlib.sha256()
            while got < SIZE:
                data = await connection.reader.read(1 << 20)
                got += len(data)
                digest.update(data)
                if got * 6 // SIZE > pauses:
                    pauses += 1
                    connection.writer.transport.pause_reading()
                    await stopped_at(lambda: pouring.sent)
                    connection.writer.transport.resume_reading()
                most = max(most, held(router))
            assert digest.digest() == pouring.digest.digest()
            assert most <= HELD_AT_MOST
            # Both connections can be reused.
            connection.send(get("/livez"))
            assert (await connection.receive()).status == 200


async def test_one_that_does_not_read_holds_up_nobody_else(start_router):
    pouring = Pouring("length")
    async with scripted(pouring) as server:
        router = await start_router(server.url)
        async with client(router.port) as stuck:
            stuck.writer.transport.pause_reading()
            stuck.send(get("/v1/x"))
            await until(lambda: pouring.sent)
            await stopped_at(lambda: pouring.sent)
            async with client(router.port) as other:
                other.send(get("/v1/x"))
                await other.reader.readuntil(b"\r\n\r\n")
                await other.reader.readexactly(SIZE)


async def test_fifty_that_do_not_read(start_router):
    pourings = []

    async def handler(reader, writer):
        pouring = Pouring("length")
        pourings.append(pouring)
        await pouring(reader, writer)

    async with scripted(handler) as server:
        router = await start_router(server.url)
        connections = [await router.connect() for _ in range(50)]
        for _, writer in connections:
            writer.transport.pause_reading()
            writer.write(get("/v1/x"))
        await until(lambda: len(pourings) == 50 and all(p.sent for p in pourings), 20)
        await stopped_at(lambda: sum(p.sent for p in pourings))
        assert held(router) <= 50 * HELD_AT_MOST
        for _, writer in connections:
            writer.transport.abort()
        await until(lambda: router.total("aborted") == 50)


async def body_digest(connection, *, unwrap: bool) -> bytes:
    """Read a response to its end and digest its body, optionally without chunked framing."""
    reader, digest = connection.reader, hashlib.sha256()
    await reader.readuntil(b"\r\n\r\n")
    while unwrap and (size := int(await reader.readuntil(b"\r\n"), 16)):
        digest.update(await reader.readexactly(size))
        assert await reader.readexactly(2) == b"\r\n"
    if unwrap:
        assert await reader.read() == b"\r\n"
    while data := await reader.read(1 << 20):
        digest.update(data)
    return digest.digest()
