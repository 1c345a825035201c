"""Random bytes from both sides: nothing fails, and nothing is left over.

The random generator is seeded, so that a failure is reproducible. The fixtures check that there is
no exception in the loop, no open connection and no request in flight; a valid client is served
afterwards.
"""

import asyncio
import contextlib
import random

import pytest

from tests.support.endings import finish, half_close, reset
from tests.support.scripted import read_request, scripted
from tests.support.standin_client import ask, chat, get, post
from tests.support.standins import standin, until

ECHO = b"POST /standin/echo HTTP/1.1\r\nHost: x\r\n"
OK = b"HTTP/1.1 200 OK\r\n"
REQUESTS = [
    get("/v1/models"),
    get("/livez"),
    get("/standin/bytes?size=100000"),
    post("/standin/echo", bytes(range(256)) * 4),
    chat(max_tokens=3),
    chat(stream=True, max_tokens=5),
    ECHO + b"Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n3\r\nabc\r\n0\r\nX-T: y\r\n\r\n",
    ECHO + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
    b"GET /v1/models HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"GET http://x/v1/models HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
    chat(model="standin", max_tokens=1),
    chat(model="unheard-of", max_tokens=1),
    post(
        "/v1/audio/transcriptions",
        b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nstandin\r\n--b--\r\n',
        fields="Content-Type: multipart/form-data; boundary=b\r\n",
    ),
    b"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
]
REPLIES = [
    OK + b"Content-Length: 5\r\n\r\nhello",
    OK + b"Transfer-Encoding: chunked\r\n\r\n6\r\ndata: \r\n3\r\n{}\n\r\n1\r\n\n\r\n0\r\n\r\n",
    OK + b"Transfer-Encoding: chunked\r\nTrailer: X\r\n\r\n3;x=y\r\nabc\r\n0\r\nX: y\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n",
    b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 4\r\n\r\nbusy",
    b"HTTP/1.1 500 Oops\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno!",
    b"HTTP/1.1 307 Moved\r\nLocation: http://127.0.0.1:1/x\r\nContent-Length: 0\r\n\r\n",
]
WORDS = [
    *(b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b";", b",", b"\r\n\r\n", b"0\r\n\r\n"),
    *(b"Content-Length: 0\r\n", b"Content-Length: 99999999999999999999\r\n", b"Host: y\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip\r\n", b"Connection: close\r\n"),
    *(b"Connection: content-length\r\n", b"Upgrade: websocket\r\n", b"HTTP/1.1", b"HTTP/2.0"),
    *(b"CONNECT x:1 ", b"\xff\xfe", b"\xc3\x28", b"ffffffffffffffff\r\n", b"PRI * HTTP/2.0\r\n"),
]
DONE_WITHIN = 20.0


def spoiled(dice: random.Random, good: list[bytes]) -> bytes:
    """Return one to three valid messages with up to four mutations."""
    data = bytearray(b"".join(dice.choices(good, k=dice.randint(1, 3))))
    for _ in range(dice.randrange(5)):
        at = dice.randrange(len(data) + 1)
        match dice.randrange(5):
            case 0 if at < len(data):
                data[at] = dice.randrange(256)
            case 1:
                data[at:at] = dice.choice(WORDS)
            case 2:
                del data[at : at + dice.choice((1, 2, 5, 100))]
            case 3:
                data[at:at] = data[dice.randrange(len(data) + 1) :][:50]
            case 4:
                data[at:at] = dice.randbytes(dice.choice((1, 10, 1000)))
        data = data or bytearray(b"G")
    return bytes(data)


async def say(dice: random.Random, writer, data: bytes) -> None:
    """Send bytes in a few segments."""
    cuts = sorted(dice.randrange(len(data) + 1) for _ in range(dice.choice((0, 0, 1, 2, 10))))
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        if writer.transport.is_closing():
            return
        writer.write(data[start:end])
        for _ in range(dice.randrange(3)):
            await asyncio.sleep(0)


async def visit(dice: random.Random, router, data: bytes, patience: float) -> None:
    """Run one client that sends this, reads for a while, and disconnects in some way."""
    reader, writer = await router.connect()
    with contextlib.suppress(OSError):  # ENOTCONN, if it is already closed
        await say(dice, writer, data)
        if dice.random() < 0.2 and not writer.transport.is_closing():
            half_close(writer)
        if dice.random() < 0.8:
            await asyncio.wait_for(reader.read(), patience)
    dice.choice((finish, reset))(writer)
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def all_is_well(router, answer_from: bytes) -> None:
    """Assert that nothing is open, and that the next client is served."""
    await until(lambda: not router.state.clients, DONE_WITHIN)
    await until(lambda: not any(router.table.in_flight_totals()))
    assert (await ask(router.port, answer_from)).status == 200


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("models", [None, ("standin",)], ids=["any model", "named models"])
async def test_clients(start_router, seed, models):
    dice = random.Random(seed)
    async with standin(slots=100) as server:
        router = await start_router(
            server.url, client_header_timeout=0.5, client_body_timeout=0.5, client_idle_timeout=0.5
        )
        router.configure({"models": models})
        for _ in range(10):
            visits = (
                visit(random.Random(dice.random()), router, spoiled(dice, REQUESTS), 0.02)
                for _ in range(40)
            )
            await asyncio.wait_for(asyncio.gather(*visits), DONE_WITHIN)
        await all_is_well(router, get("/v1/models"))
        assert not server.engine.running


@pytest.mark.parametrize("seed", range(3))
async def test_servers(start_router, seed):
    dice = random.Random(seed)
    behave = True

    async def handler(reader, writer):
        while True:
            await read_request(reader)
            if behave:
                writer.write(REPLIES[0])
                continue
            await say(dice, writer, spoiled(dice, REPLIES))
            if dice.random() < 0.5:
                dice.choice((finish, reset))(writer)
                return

    async def forgiving(reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError):
            await handler(reader, writer)

    async with scripted(forgiving) as server, scripted(forgiving) as other:
        router = await start_router(
            *(server.url, other.url), request_timeout=0.3, client_idle_timeout=0.5
        )
        behave = False
        for _ in range(2):
            requests = (
                dice.choice(REQUESTS).replace(b"Host: x\r\n", b"Host: x\r\nConnection: close\r\n")
                for _ in range(200)
            )
            # Every client sees the end of its connection.
            answers = (answered(router, request) for request in requests)
            await asyncio.gather(*answers)
        behave = True
        for pool in router.state.router.servers:
            pool.close_idle()
        await all_is_well(router, get("/v1/x"))


async def answered(router, request: bytes) -> None:
    with contextlib.suppress(ConnectionError):
        await router.ask(request, timeout=DONE_WITHIN)


@pytest.mark.parametrize("seed", range(3))
async def test_both(start_router, seed):
    dice = random.Random(seed)

    async def handler(reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError):
            while dice.random() < 0.9:
                await read_request(reader)
                good = dice.random() < 0.5
                reply = dice.choice(REPLIES) if good else spoiled(dice, REPLIES)
                await say(dice, writer, reply)
        dice.choice((finish, reset))(writer)

    async with scripted(handler) as server, standin() as other:
        router = await start_router(
            *(server.url, other.url),
            **dict.fromkeys(
                ("client_header_timeout", "client_body_timeout", "client_idle_timeout"), 0.5
            ),
            request_timeout=0.3,
        )
        for _ in range(10):
            visits = (
                visit(random.Random(dice.random()), router, spoiled(dice, REQUESTS), 0.05)
                for _ in range(40)
            )
            await asyncio.wait_for(asyncio.gather(*visits), DONE_WITHIN)
        await until(lambda: not router.state.clients, DONE_WITHIN)
        assert router.total("started") > 50


async def test_pure_noise(start_router):
    dice = random.Random(7)
    async with standin() as server:
        router = await start_router(server.url)
        visits = (
            visit(random.Random(n), router, dice.randbytes(dice.randrange(1, 5000)), 1.0)
            for n in range(200)
        )
        await asyncio.wait_for(asyncio.gather(*visits), DONE_WITHIN)
        assert router.total("started") == 0
        await all_is_well(router, get("/v1/models"))
