"""One connection, step by step."""

import asyncio
import contextlib
import zlib

import pytest

from fastroute.config import ServerConfig
from fastroute.doctor.measure.wire import GZIP_BITS, Wire
from fastroute.net.http_client import MAX_BODY_BYTES, ClientError
from tests.support.hostile_server import bomb, response
from tests.support.scripted import read_request, replies, scripted
from tests.support.standins import standin

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"
FIELDS = [(b"Host", b"x")]


@contextlib.asynccontextmanager
async def wire_to(url: str):
    with contextlib.closing(await Wire.open(ServerConfig(url=url), None)) as wire:
        async with asyncio.timeout(5):
            yield wire


async def test_chunks_are_yielded_as_they_arrive():
    go_on = asyncio.Event()

    async def handler(reader, writer):
        await read_request(reader)
        writer.write(OK + b"ab")
        await go_on.wait()
        writer.write(b"cd")

    async with scripted(handler) as server, wire_to(server.url) as wire:
        head = await wire.ask("GET", "/", FIELDS)
        assert head.status_code == 200
        pieces = []
        async for piece in wire.body():
            pieces.append(piece)
            go_on.set()
    assert pieces == [b"ab", b"cd"]


async def test_a_body_is_sent():
    requests = []

    async def handler(reader, writer):
        requests.append(await read_request(reader))
        writer.write(OK + b"abcd")

    async with scripted(handler) as server, wire_to(server.url) as wire:
        await wire.ask("POST", "/v1/x", FIELDS, b'{"a": 1}')
    ((head, body),) = requests
    assert body == b'{"a": 1}'
    assert head.startswith(b"POST /v1/x HTTP/1.1\r\nHost: x\r\n")
    assert b"Content-Type: application/json\r\nContent-Length: 8\r\n" in head


async def test_informational_responses_are_skipped():
    async with scripted(replies(b"HTTP/1.1 103 Hints\r\n\r\n", OK + b"abcd")) as server:
        async with wire_to(server.url) as wire:
            assert (await wire.ask("GET", "/", FIELDS)).status_code == 200


@pytest.mark.parametrize("flushed", [True, False], ids=["each-flushed", "held-back"])
async def test_gzip(flushed):
    packer = zlib.compressobj(wbits=GZIP_BITS)
    mode = zlib.Z_SYNC_FLUSH if flushed else zlib.Z_NO_FLUSH
    parts = [packer.compress(text) + packer.flush(mode) for text in (b"ab", b"cd")]
    parts[-1] += packer.flush()
    go_on = asyncio.Event()

    async def handler(reader, writer):
        await read_request(reader)
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b"
            % (len(b"".join(parts)), parts[0])
        )
        if flushed:
            await go_on.wait()
        writer.write(parts[1])

    pieces = []
    async with scripted(handler) as server, wire_to(server.url) as wire:
        await wire.ask("GET", "/", FIELDS)
        async for piece in wire.body():
            pieces.append(piece)
            go_on.set()
    assert pieces == ([b"ab", b"cd"] if flushed else [b"abcd"])


async def test_wait_closed():
    async with standin(keep_alive=0.1) as server, wire_to(server.url) as wire:
        await wire.ask("GET", "/health", FIELDS)
        async for _ in wire.body():
            pass
        await wire.wait_closed()
        assert server.counters.connections_open == 0


async def test_a_reset_is_a_close():
    async def handler(reader, writer):
        await read_request(reader)
        writer.write(OK + b"abcd")
        await writer.drain()
        await reader.readexactly(1)
        writer.transport.abort()

    async with scripted(handler) as server, wire_to(server.url) as wire:
        await wire.ask("GET", "/", FIELDS)
        wire._writer.write(b"x")
        await wire.wait_closed()


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        pytest.param(b"", "^the connection was closed without a response$", id="nothing"),
        pytest.param(b"HTTP/1.1 20", "breaks HTTP", id="half-a-head"),
        pytest.param(OK + b"abc", "breaks HTTP", id="half-a-body"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nab",
            "no gzip",
            id="no-gzip",
        ),
        pytest.param(b"\x15\x03\x01\x00\x02\x02\x46", "breaks HTTP", id="tls"),
        pytest.param(
            response(bomb(64 << 20), b"Content-Encoding: gzip\r\n"), "longer than", id="gzip-bomb"
        ),
        pytest.param(response(b"x" * (MAX_BODY_BYTES + 1)), "longer than", id="long-body"),
        pytest.param(response(b"", b"X: y\r\n" * 201), "more than 200 headers", id="many-headers"),
    ],
)
async def test_broken_replies(reply, reason):
    async def handler(reader, writer):
        await read_request(reader)
        writer.write(reply)

    async with scripted(handler) as server, wire_to(server.url) as wire:
        with pytest.raises(ClientError, match=reason):
            await whole_reply(wire)


async def whole_reply(wire: Wire) -> bytes:
    await wire.ask("GET", "/", FIELDS)
    return b"".join([piece async for piece in wire.body()])
