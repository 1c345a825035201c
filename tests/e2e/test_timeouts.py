"""Timeouts of a server (504, or the response is aborted) and of a client (408, or closed).

Deadlines are checked every half second, so a test of "not yet" stays below the deadline by less
than that: a timeout may be late, but never early.
"""

import asyncio
import contextlib
import logging
import socket

import pytest

from tests.support.endings import ended
from tests.support.scripted import read_request, scripted
from tests.support.standin_client import ask, chat, client, get, post
from tests.support.standins import standin, until

STREAM = (
    b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Type: text/event-stream\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
EVENT = b'10\r\ndata: {"a": 12}\n\r\n'
END = b"0\r\n\r\n"
CHAT = post("/v1/chat/completions", {"stream": True})
LAST = post("/v1/completions", {}, fields="Connection: close\r\n")
BUFFERED = 80_000
"""Bytes; slightly more than the router buffers for a client before it stops reading."""
LATE = 1.5
"""Seconds by which a timeout may be late here: the timer tick, and a busy machine."""


def now() -> float:
    return asyncio.get_running_loop().time()


def saying(*parts: bytes):
    """A server that sends this and nothing more; it records when its connection was closed."""
    gone: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def handler(reader, writer):
        await read_request(reader)
        for part in parts:
            writer.write(part)
            await writer.drain()
        gone.set_result(await ended(reader))

    return handler, gone


class TestASilentServer:
    @pytest.mark.parametrize(
        "said",
        [b"", b"HTTP/1.1 200 OK\r\nDate: x\r\nConte", b"HTTP/1.1 103 Early Hints\r\n\r\n"],
        ids=["nothing", "half a head", "an interim reply"],
    )
    async def test_before_its_reply_is_a_504(self, start_router, caplog, said):
        handler, gone = saying(said)
        async with scripted(handler) as server:
            router = await start_router(server.url, request_timeout=1.0)
            async with client(router.port) as connection:
                asked = now()
                connection.send(CHAT)
                answer = await connection.receive()
                if answer.status == 103:
                    answer = await connection.receive()
                waited = now() - asked
                assert answer.status == 504
                assert answer.json()["error"]["type"] == "GatewayTimeoutError"
                assert 1.0 <= waited < 1.0 + LATE
                await asyncio.wait_for(gone, 1)
                # The client's connection can be reused.
                connection.send(get("/livez"))
                assert (await connection.receive()).status == 200
        assert (server.connections, router.total("started"), router.total("failed")) == (1, 1, 1)
        (line,) = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
        assert server.url in line
        assert "silent for 1 s" in line

    @pytest.mark.parametrize(
        ("said", "got"),
        [
            (STREAM + 2 * EVENT, 2 * EVENT),
            (b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 100\r\n\r\n12345", b"12345"),
        ],
        ids=["chunked", "content-length"],
    )
    async def test_in_mid_reply_cuts_it(self, start_router, caplog, said, got):
        handler, gone = saying(said)
        async with scripted(handler) as server:
            router = await start_router(server.url, request_timeout=1.0)
            asked = now()
            answer = await router.ask(CHAT)
            assert 1.0 <= now() - asked < 1.0 + LATE
            await asyncio.wait_for(gone, 1)
        assert answer.endswith(got), "no zero chunk, nothing of ours"
        assert router.total("failed") == 1
        (line,) = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
        assert "replying" in line
        assert "silent for 1 s" in line

    async def test_in_a_body_until_close_resets_the_client(self, start_router):
        handler, _ = saying(b"HTTP/1.1 200 OK\r\nDate: x\r\n\r\n12345")
        async with scripted(handler) as server:
            router = await start_router(server.url, request_timeout=0.5)
            with pytest.raises(ConnectionResetError):
                await router.ask(CHAT)

    async def test_a_slow_and_steady_one_is_never_cut(self, start_router):
        events = 5

        async def handler(reader, writer):
            head, _ = await read_request(reader)
            writer.write(b"HTTP/1.0 200 OK\r\nDate: x\r\n\r\n" if b"/old" in head else STREAM)
            for _ in range(events):
                await asyncio.sleep(0.8)  # the allowed silence; a little less than 1 s
                writer.write(EVENT)
            writer.write(END)

        async with scripted(handler) as server:
            router = await start_router(server.url, request_timeout=1.0)
            async with asyncio.TaskGroup() as clients:
                # Started at different times, relative to the timer tick.
                tasks = []
                for path in 8 * ("/new", "/old"):
                    request = get(path, fields="Connection: close\r\n")
                    tasks.append(clients.create_task(router.ask(request, timeout=30)))
                    await asyncio.sleep(0.035)
        for task in tasks:
            assert task.result().endswith(events * EVENT + END)
        assert router.total("failed") == 0

    async def test_a_first_byte_in_time(self, start_router):
        """A token takes 0.9 s of the allowed 1 s, repeatedly."""
        async with standin(ttft=0.9) as server:
            router = await start_router(server.url, request_timeout=1.0)

            async def ask_twice(delay: float) -> None:
                await asyncio.sleep(delay)  # at different times relative to the timer tick
                async with client(router.port) as connection:
                    for _ in range(2):
                        connection.send(chat(max_tokens=1))
                        assert (await connection.receive()).status == 200

            await asyncio.gather(*(ask_twice(n / 10) for n in range(5)))

    async def test_the_clients_own_pause_is_not_the_servers_silence(self, start_router):
        size = 30_000_000

        async def handler(reader, writer):
            await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: %d\r\n\r\n" % size)
            writer.write(bytes(size))
            await writer.drain()
            await reader.read()

        async with scripted(handler) as server:
            router = await start_router(server.url, request_timeout=0.5)
            async with client(router.port) as connection:
                connection.send(CHAT)
                await connection.reader.readuntil(b"\r\n\r\n")
                connection.writer.transport.pause_reading()
                await asyncio.sleep(2.0)  # the pause; four times the timeout of a server
                assert sum(router.table.in_flight_totals()) == 1
                connection.writer.transport.resume_reading()
                left = size
                while left:
                    data = await connection.reader.read(1 << 20)
                    assert data, f"cut {left} bytes before the end"
                    left -= len(data)
        assert router.total("failed") == 0


class TestASlowClient:
    @pytest.mark.parametrize(
        "pieces",
        [
            [b"GET /v1/x HTTP/1.1\r\nHost: x\r\n"],
            [b"G"],
            [b"X-%d: y\r\n" % n for n in range(100)],
        ],
        ids=["stops in mid-head", "stops after a byte", "drips"],
    )
    async def test_a_head_that_does_not_come_is_a_408(self, start_router, pieces):
        async with standin() as server:
            router = await start_router(server.url, client_header_timeout=1.0)
            async with client(router.port) as connection:
                begun = now()
                connection.send(b"GET /v1/x HTTP/1.1\r\n" if len(pieces) > 1 else b"")
                reading = asyncio.ensure_future(connection.receive())
                for piece in pieces:
                    connection.send(piece)
                    await asyncio.wait((reading,), timeout=0.05)
                    if reading.done():
                        break
                answer = await reading
                assert 1.0 <= now() - begun < 1.0 + LATE
                assert answer.status == 408
                assert answer["connection"] == "close"
                assert answer.json()["error"]["code"] == 408
                assert await connection.is_closed()
        assert router.total("started") == 0

    async def test_a_head_that_comes_just_in_time(self, start_router):
        async with standin() as server:
            router = await start_router(server.url, client_header_timeout=1.0)
            async with asyncio.TaskGroup() as group:
                for delay in (0.8, 0.85, 0.9, 0.95):
                    await asyncio.sleep(0.1)
                    group.create_task(self.in_two_parts(router, get("/v1/models"), 10, delay))

    async def test_a_body_that_stops_is_a_408(self, start_router):
        async with standin() as server:
            router = await start_router(server.url, client_body_timeout=1.0)
            async with client(router.port) as connection:
                begun = now()
                connection.send(CHAT[:-5])
                answer = await connection.receive()
                assert 1.0 <= now() - begun < 1.0 + LATE
                assert answer.status == 408
                assert await connection.is_closed()
        assert router.total("started") == 0, "a server never hears of it"

    async def test_a_body_that_drips_on_is_served(self, start_router):
        async with standin() as server:
            router = await start_router(server.url, client_body_timeout=1.0, client_min_rate=0.0)
            async with client(router.port) as connection:
                request = post("/standin/echo", b"123")
                connection.send(request[:-3])
                for digit in b"123":
                    await asyncio.sleep(0.8)  # the allowed silence
                    connection.send(bytes([digit]))
                answer = await connection.receive()
                assert (answer.status, answer.json()["body"]["size"]) == (200, 3)

    @pytest.mark.parametrize("requests", [0, 1, 2], ids=["before any", "after one", "after two"])
    async def test_an_idle_one_is_closed_without_a_word(self, start_router, requests):
        async with standin() as server:
            router = await start_router(server.url, client_idle_timeout=1.0)
            async with client(router.port) as connection:
                for _ in range(requests):
                    connection.send(get("/v1/models"))
                    assert (await connection.receive()).status == 200
                begun = now()
                assert await connection.is_closed()
                assert 0.9 <= now() - begun < 1.0 + LATE

    async def test_an_idle_one_of_fastroutes_own_endpoints_is_closed_too(self, start_router):
        router = await start_router(client_idle_timeout=0.5)
        async with client(router.port) as connection:
            connection.send(get("/livez"))
            assert (await connection.receive()).status == 200
            assert await connection.is_closed()

    async def test_one_that_waits_for_a_server_is_not_idle(self, start_router):
        limits = {"client_idle_timeout": 0.5, "client_header_timeout": 0.5}
        async with standin(ttft=2.0) as server:
            router = await start_router(server.url, client_body_timeout=0.5, **limits)
            body = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1}
            answer = await ask(router.port, post("/v1/chat/completions", body))
            assert answer.status == 200

    @pytest.mark.parametrize("part", [b"GET / HT", CHAT[:-5]], ids=["half a head", "half a body"])
    async def test_half_a_request_behind_another_has_its_time_from_the_answer_on(
        self, start_router, part
    ):
        limits = {"client_header_timeout": 1.0, "client_body_timeout": 1.0}
        async with standin(ttft=1.5) as server:
            router = await start_router(server.url, **limits)
            body = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1}
            async with client(router.port) as connection:
                connection.send(post("/v1/chat/completions", body) + part)
                assert (await connection.receive()).status == 200
                answered = now()
                assert (await connection.receive()).status == 408
                assert now() - answered >= 0.9

    async def test_one_that_stops_reading_is_dropped(self, start_router):
        handler, _ = saying(
            b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 30000000\r\n\r\n", bytes(30_000_000)
        )
        async with scripted(handler) as server:
            router = await start_router(server.url, client_idle_timeout=1.0)
            async with client(router.port) as connection:
                connection.writer.transport.pause_reading()
                connection.send(CHAT)
                await until(lambda: router.total("aborted") == 1, 1.0 + 2 * LATE)
                await until(lambda: not router.state.clients)
        assert sum(router.table.in_flight_totals()) == 0

    async def test_one_that_reads_slowly_and_steadily_is_not(self, start_router):
        """It needs longer than client_idle_timeout for the buffered bytes, but makes progress."""

        async def read(size: int) -> None:
            async with buffered_reply(size) as server:
                router = await start_router(server.url, client_idle_timeout=1.0)
                async with small_reader(router, server) as (reader, writer):
                    writer.write(CHAT)
                    await reader.readuntil(b"\r\n\r\n")
                    await read_slowly(reader, size)
            assert router.total("finished_2xx") == 1

        # All of it is in the router, or more will follow.
        await asyncio.gather(read(BUFFERED), read(400_000))

    async def test_a_slow_reader_gets_its_last_answer_whole(self, start_router):
        """Closing waits for buffered bytes as long as the client continues reading."""

        async def read(version: bytes) -> None:
            async with buffered_reply(BUFFERED) as server:
                router = await start_router(server.url)
                async with small_reader(router, server) as (reader, writer):
                    writer.write(LAST.replace(b"1.1", version))
                    await until(lambda: router.total("finished_2xx") == 1)
                    await reader.readuntil(b"\r\n\r\n")
                    await read_slowly(reader, BUFFERED)
                    assert await reader.read() == b""

        await asyncio.gather(read(b"1.1"), read(b"1.0"))

    async def test_one_that_reads_no_more_of_its_last_answer_is_dropped(self, start_router):
        async def read(taken: int) -> None:
            async with buffered_reply(BUFFERED) as server:
                router = await start_router(server.url, client_idle_timeout=1.0)
                async with small_reader(router, server) as (reader, writer):
                    writer.write(LAST)
                    await until(lambda: router.total("finished_2xx") == 1)
                    await reader.readexactly(taken)
                    writer.transport.pause_reading()
                    await until(lambda: not router.state.clients, 1.0 + 3 * LATE)

        # It stops early, or so late that the router has already seen progress.
        await asyncio.gather(read(1_000), read(BUFFERED - 13_000))

    async def test_an_idle_one_that_had_been_slow_is_closed_too(self, start_router):
        async with buffered_reply(BUFFERED) as server:
            router = await start_router(server.url, client_idle_timeout=1.0)
            async with small_reader(router, server) as (reader, writer):
                writer.write(post("/v1/completions", {}))
                await until(lambda: router.total("finished_2xx") == 1)
                head = await reader.readuntil(b"\r\n\r\n")
                assert b"connection: close" not in head
                await reader.readexactly(BUFFERED)
                async with asyncio.timeout(1.0 + 2 * LATE):
                    assert await reader.read() == b""

    @staticmethod
    async def in_two_parts(router, request: bytes, split: int, delay: float):
        async with client(router.port) as connection:
            connection.send(request[:split])
            await asyncio.sleep(delay)
            connection.send(request[split:])
            assert (await connection.receive()).status == 200


@contextlib.asynccontextmanager
async def buffered_reply(size: int):
    """A server whose response exceeds the router's write limit only with its last 30 kB.

    The router has then read all of it (BUFFERED bytes) although the client reads nothing.
    """

    async def handler(reader, writer):
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: %d\r\n\r\n" % size)
        writer.write(bytes(size - 30_000))
        await server.go_on.wait()
        writer.write(bytes(30_000))
        await ended(reader)

    async with scripted(handler) as server:
        server.go_on = asyncio.Event()
        yield server


@contextlib.asynccontextmanager
async def small_reader(router, server):
    """A client with tiny kernel buffers, so that the router has to buffer."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", router.port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=2048)
    try:
        await until(lambda: router.state.clients)
        (accepted,) = router.state.clients
        theirs = accepted._transport.get_extra_info("socket")
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        go_on = asyncio.ensure_future(until(lambda: router.total("events") > 0))
        go_on.add_done_callback(lambda _: server.go_on.set())
        yield reader, writer
        await go_on
    finally:
        writer.transport.abort()


async def read_slowly(reader, size: int):
    """Read `count` bytes in 3.2 s, longer than any linger time, in steps of 0.2 s."""
    step = size // 16 + 1
    while size:
        size -= len(await reader.readexactly(min(size, step)))
        await asyncio.sleep(0.2)  # that is how slow it is
