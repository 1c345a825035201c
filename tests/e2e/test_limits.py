"""Limits on clients: headers, bodies and connections; and delivery of error responses."""

import asyncio
import contextlib

import pytest

from tests.support.scripted import read_request, scripted
from tests.support.standin_client import client, get, post
from tests.support.standins import standin, until

HEAD_LIMIT = 2048
BODY_LIMIT = 1_000_000


def head_of(size: int, *, target: int = 10, fields: int = 1) -> bytes:
    """Return a GET whose target and headers, with line ends, are `size` bytes long."""
    path = b"/" + b"a" * (target - 1)
    start = b"GET " + path + b" HTTP/1.1\r\n"
    host = b"Host: x\r\n"
    rest = size - target - len(host) - fields * len(b"X-00: \r\n")
    share = rest // fields
    lines = [b"X-%02d: %b\r\n" % (n, b"v" * share) for n in range(fields - 1)]
    lines.append(b"X-99: %b\r\n" % (b"v" * (rest - share * (fields - 1))))
    return b"".join((start, host, *lines, b"\r\n"))


async def refusal(connection, status: int) -> None:
    """Read an error response of fastroute, then the end of the connection."""
    answer = await connection.receive()
    assert answer.status == status, answer
    assert answer.complete
    assert answer["connection"] == "close"
    error = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["code"] == status
    assert await connection.is_closed()


async def pour(connection, piece: bytes, times: int) -> int:
    """Send a piece `times` times, or until the other side closes; return the number sent."""
    with contextlib.suppress(ConnectionError):
        for sent in range(times):
            connection.send(piece)
            await connection.writer.drain()
            if connection.writer.transport.is_closing():
                return sent
        return times
    return sent


class TestHeads:
    @pytest.mark.parametrize(
        "shape", [{}, {"target": 1900}, {"fields": 50}], ids=["a field", "the target", "fields"]
    )
    async def test_the_longest_allowed(self, start_router, shape):
        async with standin() as server:
            router = await start_router(server.url, max_header_bytes=HEAD_LIMIT)
            async with client(router.port) as connection:
                for _ in range(2):
                    connection.send(head_of(HEAD_LIMIT - 40, **shape))
                    assert (await connection.receive()).status == 404

    @pytest.mark.parametrize(
        "shape",
        [{}, {"target": HEAD_LIMIT + 1}, {"fields": 50}],
        ids=["a field", "the target", "fields"],
    )
    @pytest.mark.parametrize("step", [1 << 20, 1000, 7], ids=["whole", "in pieces", "dripped"])
    async def test_too_long(self, start_router, shape, step):
        async with standin() as server:
            router = await start_router(server.url, max_header_bytes=HEAD_LIMIT)
            head = head_of(2 * HEAD_LIMIT, **shape)
            async with client(router.port) as connection:
                for start in range(0, len(head), step):
                    connection.send(head[start : start + step])
                    await asyncio.sleep(0)
                await refusal(connection, 431)
        assert router.total("started") == 0
        assert router.state.cells.process.requests_refused[0] == 1

    async def test_without_end(self, start_router):
        """The client continues to send after the error response and must still get it."""
        async with standin() as server:
            router = await start_router(server.url)
            async with client(router.port) as connection:
                connection.send(b"GET /v1/x HTTP/1.1\r\n")
                pouring = asyncio.ensure_future(pour(connection, b"X-A: b\r\n" * 2000, 400))
                await refusal(connection, 431)
                assert await pouring < 400 or router.total("started") == 0

    async def test_too_long_behind_a_good_one(self, start_router):
        async with standin() as server:
            router = await start_router(server.url, max_header_bytes=HEAD_LIMIT)
            async with client(router.port) as connection:
                connection.send(get("/v1/models") + head_of(2 * HEAD_LIMIT))
                assert (await connection.receive()).status == 200
                await refusal(connection, 431)
        assert router.total("started") == 1

    @pytest.mark.parametrize("step", [1 << 20, 100], ids=["whole", "in pieces"])
    async def test_trailers_without_end(self, start_router, step):
        async with standin() as server:
            router = await start_router(server.url, max_header_bytes=HEAD_LIMIT)
            body = b"1\r\na\r\n0\r\n" + b"X-T: trailer\r\n" * 500
            request = (
                b"POST /standin/echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            async with client(router.port) as connection:
                connection.send(request)
                for start in range(0, len(body), step):
                    connection.send(body[start : start + step])
                    await asyncio.sleep(0)
                # A read that includes a part of the body does not count; the next one does.
                await until(lambda: "HEAD" not in repr(router.state.clients))
                connection.send(b"X-U: another\r\n" * 500)
                await refusal(connection, 431)
        assert router.total("started") == 0

    async def test_blank_lines_without_end(self, start_router):
        """Line ends before a request are allowed, but the idle timeout continues to run."""
        async with standin() as server:
            router = await start_router(server.url, client_idle_timeout=0.5)
            async with client(router.port) as connection:
                reading = asyncio.ensure_future(connection.is_closed())
                while not reading.done():
                    connection.send(b"\r\n")
                    await asyncio.wait((reading,), timeout=0.05)
                with contextlib.suppress(ConnectionResetError):  # by a line that came too late
                    assert await reading


class TestBodies:
    async def test_the_longest_allowed(self, start_router):
        async with standin() as server:
            router = await start_router(server.url, max_body_bytes=BODY_LIMIT)
            async with client(router.port) as connection:
                connection.send(post("/standin/echo", bytes(BODY_LIMIT)))
                assert (await connection.receive()).json()["body"]["size"] == BODY_LIMIT

    async def test_too_long_by_its_length(self, start_router):
        """Rejected immediately: no byte of the body was sent."""
        async with standin() as server:
            router = await start_router(server.url, max_body_bytes=BODY_LIMIT)
            async with client(router.port) as connection:
                connection.send(post("/v1/x", bytes(BODY_LIMIT + 1)).partition(b"\r\n\r\n")[0])
                connection.send(b"\r\n\r\n")
                await refusal(connection, 413)
        assert router.total("started") == 0

    @pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
    async def test_too_long_and_still_coming(self, start_router, chunked):
        """The client sends 100 MB without reading; it must still get the error response."""
        async with standin() as server:
            router = await start_router(server.url, max_body_bytes=BODY_LIMIT)
            framing = "Transfer-Encoding: chunked" if chunked else "Content-Length: 100000000"
            piece = b"20000\r\n" + bytes(0x20000) + b"\r\n" if chunked else bytes(0x20000)
            async with client(router.port) as connection:
                connection.send(f"POST /v1/x HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n".encode())
                pouring = asyncio.ensure_future(pour(connection, piece, 763))
                await refusal(connection, 413)
                await pouring
            await until(lambda: not router.state.clients)
        assert router.total("started") == 0

    async def test_chunks_one_byte_over(self, start_router):
        async with standin() as server:
            router = await start_router(server.url, max_body_bytes=BODY_LIMIT)
            head = b"POST /standin/echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            chunk = b"%x\r\n" % BODY_LIMIT + bytes(BODY_LIMIT) + b"\r\n"
            async with client(router.port) as connection:
                connection.send(head + chunk + b"0\r\n\r\n")
                answer = await connection.receive()
                assert answer.json()["body"]["size"] == BODY_LIMIT
                connection.send(head + chunk + b"1\r\n!\r\n0\r\n\r\n")
                await refusal(connection, 413)
        assert router.total("started") == 1

    async def test_one_that_refuses_to_end_is_cut_off(self, start_router):
        """The client is rejected, but continues to send: the connection is closed anyway."""
        async with standin() as server:
            router = await start_router(server.url, max_body_bytes=1000)
            async with client(router.port) as connection:
                connection.send(
                    b"POST /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n"
                )
                dripping = asyncio.ensure_future(self.drip(connection))
                await until(lambda: router.state.clients)
                await until(lambda: not router.state.clients, 5.0)
                dripping.cancel()

    @staticmethod
    async def drip(connection):
        while True:
            connection.send(b"x")
            await asyncio.sleep(0.02)


class TestExpectContinue:
    HEAD = (
        b"POST /standin/echo HTTP/1.1\r\nHost: x\r\n"
        b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    )

    async def test_is_answered_before_the_body(self, start_router):
        async with standin() as server:
            router = await start_router(server.url)
            async with client(router.port) as connection:
                for _ in range(2):
                    connection.send(self.HEAD)
                    assert (await connection.receive()).status == 100
                    connection.send(b"12345")
                    answer = await connection.receive()
                    assert (answer.status, answer.json()["body"]["size"]) == (200, 5)
                    assert "expect" not in str(answer.json()["fields"]).lower()

    async def test_is_not_answered_where_the_body_came_along(self, start_router):
        async with standin() as server:
            router = await start_router(server.url)
            async with client(router.port) as connection:
                connection.send(self.HEAD + b"12345")
                assert (await connection.receive()).status == 200

    async def test_is_not_answered_where_the_body_has_begun(self, start_router):
        async with standin() as server:
            router = await start_router(server.url)
            async with client(router.port) as connection:
                connection.send(self.HEAD + b"123")
                await until(lambda: "BODY" in repr(router.state.clients))
                connection.send(b"45")
                assert (await connection.receive()).status == 200

    async def test_a_body_too_long_is_refused_in_its_place(self, start_router):
        async with standin() as server:
            router = await start_router(server.url, max_body_bytes=4)
            async with client(router.port) as connection:
                connection.send(self.HEAD)
                await refusal(connection, 413)
                assert b"100 Continue" not in connection.wire

    async def test_means_nothing_in_http_1_0(self, start_router):
        async with standin() as server:
            router = await start_router(server.url)
            async with client(router.port) as connection:
                connection.send(self.HEAD.replace(b"HTTP/1.1", b"HTTP/1.0"))
                await until(lambda: "BODY" in repr(router.state.clients))
                connection.send(b"12345")
                assert (await connection.receive()).status == 200

    async def test_waits_for_its_turn(self, start_router):
        """Pipelined behind another request: 100 follows that one's response, not within it."""
        release = asyncio.Event()

        async def handler(reader, writer):
            await read_request(reader)
            await release.wait()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            await read_request(reader)
            writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok")

        async with scripted(handler) as server:
            router = await start_router(server.url)
            async with client(router.port) as connection:
                connection.send(get("/v1/x") + self.HEAD)
                await until(lambda: "BODY" in repr(router.state.clients))
                assert connection.wire == b""
                release.set()
                statuses = [(await connection.receive()).status for _ in range(2)]
                connection.send(b"12345")
                statuses.append((await connection.receive()).status)
                assert statuses == [200, 100, 201]


class TestConnections:
    async def test_one_too_many_is_told_to_come_back(self, start_router):
        async with standin() as server:
            router = await start_router(server.url, max_connections=3)
            async with contextlib.AsyncExitStack() as stack:
                for _ in range(3):
                    connection = await stack.enter_async_context(client(router.port))
                    connection.send(get("/v1/models") + get("/v1/models")[:5])
                    assert (await connection.receive()).status == 200
                await until(lambda: states(router).count("HEAD") == 3)
                async with client(router.port) as late:
                    late.send(get("/v1/models"))
                    answer = await late.receive()
                    assert answer.status == 503
                    assert answer.json()["error"]["code"] == 503
                    assert int(answer["retry-after"]) >= 1
                    assert answer["connection"] == "close"
                    assert await late.is_closed()
                connection.send(get("/v1/models")[5:])
                assert (await connection.receive()).status == 200, "the others go on"
            await until(lambda: not router.state.clients)
            async with client(router.port) as connection:
                connection.send(get("/v1/models"))
                assert (await connection.receive()).status == 200

    async def test_an_idle_one_gives_way(self, start_router):
        """A new client is served, and the one that has been idle longest has to connect again."""
        async with standin() as server:
            router = await start_router(server.url, max_connections=2)
            async with client(router.port) as first, client(router.port) as second:
                for connection in (first, second):
                    connection.send(get("/v1/models"))
                    assert (await connection.receive()).status == 200
                second.send(get("/v1/models")[:5])
                await until(lambda: states(router).count("HEAD") == 1)
                async with client(router.port) as third:
                    third.send(get("/v1/models"))
                    assert (await third.receive()).status == 200
                assert await first.is_closed()
                second.send(get("/v1/models")[5:])
                assert (await second.receive()).status == 200

    async def test_refused_ones_take_no_place(self, start_router):
        """A rejected client that does not disconnect must not block others."""
        async with standin() as server:
            router = await start_router(server.url, max_connections=2)
            async with contextlib.AsyncExitStack() as stack:
                first = await stack.enter_async_context(client(router.port))
                first.send(get("/v1/models")[:5])
                async with client(router.port) as second:
                    second.send(get("/v1/models")[:5])
                    await until(lambda: states(router).count("HEAD") == 2)
                    for _ in range(5):
                        await stack.enter_async_context(client(router.port))
                    await until(lambda: router.state.cells.process.requests_refused[0] == 5)
                    second.send(get("/v1/models")[5:])
                    assert (await second.receive()).status == 200
                async with client(router.port) as third:
                    third.send(get("/v1/models"))
                    assert (await third.receive()).status == 200
                first.send(get("/v1/models")[5:])
                assert (await first.receive()).status == 200


def states(router) -> list[str]:
    """Return the part of a request that each client sends."""
    return [client._reader.state.name for client in router.state.clients]
