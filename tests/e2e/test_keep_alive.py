"""Lifetime of client connections (HTTP version, Connection header) and of pooled ones."""

import asyncio
import contextlib

import pytest

from tests.support.endings import ended, finish, reset
from tests.support.scripted import read_request, replies, scripted
from tests.support.standin_client import ask, client, get, post
from tests.support.standins import standin, until

OK = b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 2\r\n\r\nok"
SIZED = b"HTTP/1.1 200 OK\r\nDate: x\r\nConnection: %b\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nDate: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"


def request(version: str, connection: str) -> bytes:
    field = f"Connection: {connection}\r\n" if connection else ""
    return f"GET /x HTTP/{version}\r\nHost: x\r\n{field}\r\n".encode()


class TestTheClients:
    @pytest.mark.parametrize("path", [b"/x", b"/livez"], ids=["a server's", "own"])
    @pytest.mark.parametrize(
        ("version", "wish", "told"),
        [
            ("1.1", "", None),
            ("1.1", "keep-alive", None),
            ("1.1", "Keep-Alive, X-Other", None),
            ("1.0", "keep-alive", "keep-alive"),
            ("1.0", "Keep-Alive", "keep-alive"),
        ],
    )
    async def test_stays(self, start_router, version, wish, told, path):
        async with scripted(replies(OK)) as server:
            router = await start_router(server.url)
            async with client(router.port) as connection:
                for _ in range(3):
                    connection.send(request(version, wish).replace(b"/x", path))
                    answer = await connection.receive()
                    assert answer.status == 200
                    assert dict(answer.fields).get("connection") == told

    @pytest.mark.parametrize("path", [b"/x", b"/livez"], ids=["a server's", "own"])
    @pytest.mark.parametrize(
        ("version", "wish"),
        [("1.1", "close"), ("1.1", "Close"), ("1.1", "x, close"), ("1.0", ""), ("1.0", "close"),
         ("1.0", "keep-alive, close")],
    )  # fmt: skip
    async def test_closes(self, start_router, version, wish, path):
        async with scripted(replies(OK)) as server:
            router = await start_router(server.url)
            async with client(router.port) as connection:
                connection.send(request(version, wish).replace(b"/x", path))
                answer = await connection.receive()
                assert (answer.status, answer["connection"]) == (200, "close")
                assert await connection.is_closed()

    async def test_that_closes_does_not_close_the_servers(self, start_router):
        async with scripted(replies(OK)) as server:
            router = await start_router(server.url)
            for _ in range(5):
                await ask(router.port, request("1.1", "close"))
        assert server.connections == 1
        assert router.total("connections_reused") == 4

    async def test_of_http_1_0_gets_a_chunked_reply_unwrapped_and_closed(self, start_router):
        async with scripted(replies(CHUNKED)) as server:
            router = await start_router(server.url)
            reply = await router.ask(request("1.0", "keep-alive"))
        head, _, body = reply.partition(b"\r\n\r\n")
        assert body == b"ok"
        assert b"chunked" not in head.lower()
        assert head.lower().count(b"connection:") == 1
        assert b"connection: close" in head
        assert router.total("finished_2xx") == 1

    async def test_of_http_1_0_that_offers_an_upgrade_gets_it_unwrapped_too(self, start_router):
        """The upgrade is ignored; the version must not be."""
        fields = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n"
        async with scripted(replies(CHUNKED)) as server:
            router = await start_router(server.url)
            reply = await router.ask(b"GET /x HTTP/1.0\r\n" + fields + b"\r\n")
        assert reply.endswith(b"\r\n\r\nok")


class TestTheServers:
    @pytest.mark.parametrize(
        ("reply", "reused"),
        [
            (OK, True),
            (CHUNKED, True),
            (b"HTTP/1.1 204 No Content\r\nDate: x\r\n\r\n", True),
            (b"HTTP/1.1 304 Not Modified\r\nDate: x\r\nContent-Length: 10\r\n\r\n", True),
            (b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK, True),
            (SIZED.replace(b"1.1", b"1.0") % b"keep-alive", True),
            (SIZED % b"close", False),
            (b"HTTP/1.0 200 OK\r\nDate: x\r\nContent-Length: 2\r\n\r\nok", False),
            (OK + b"surplus", False),
            (OK + OK, False),
            (CHUNKED + b"\r\n", False),
        ],
        ids=["length", "chunked", "204", "304", "103", "1.0 keep-alive", "close", "1.0",
             "surplus bytes", "a reply too many", "surplus line end"],
    )  # fmt: skip
    async def test_is_reused(self, start_router, reply, reused):
        async with scripted(replies(reply)) as server:
            router = await start_router(server.url)
            async with client(router.port) as connection:
                for _ in range(3):
                    connection.send(request("1.1", ""))
                    answer = await connection.receive()
                    if answer.status == 103:
                        answer = await connection.receive()
                    assert answer.body in (b"ok", b"")
                    assert answer.status in (200, 204, 304)
        assert server.connections == (1 if reused else 3)
        assert router.total("connections_new") == server.connections

    async def test_of_a_reply_to_head_is_reused(self, start_router):
        async with scripted(
            replies(b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 500\r\n\r\n")
        ) as server:
            router = await start_router(server.url)
            for _ in range(3):
                reply = await router.ask(
                    b"HEAD /v1/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
                )
                assert reply.endswith(b"\r\n\r\n")
                assert b"Content-Length: 500\r\n" in reply
        assert server.connections == 1

    async def test_newest_first(self, start_router):
        """Three concurrent requests open three connections; sequential ones use only the newest."""
        served: dict[int, int] = {}
        together = asyncio.Barrier(3)

        async def handler(reader, writer):
            number = len(served)
            served[number] = 0
            while True:
                head, _ = await read_request(reader)
                served[number] += 1
                if b"/together" in head:
                    await together.wait()
                writer.write(OK)

        async with scripted(handler) as server:
            router = await start_router(server.url)
            await asyncio.gather(*(ask(router.port, get("/together")) for _ in range(3)))
            for _ in range(10):
                await ask(router.port, get("/alone"))
        assert sorted(served.values()) == [1, 1, 11]

    async def test_that_is_idle_is_closed_before_the_server_does(self, start_router):
        gone: asyncio.Queue[float] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        async def handler(reader, writer):
            await read_request(reader)
            writer.write(OK)
            answered = loop.time()
            gone.put_nowait(await ended(reader) - answered)

        async with scripted(handler) as server:
            router = await start_router(server.url, pool_idle_timeout=1.0)
            await ask(router.port, get("/v1/x"))
            idle = await asyncio.wait_for(gone.get(), 5)
            assert 0.4 <= idle < 2.0
            await ask(router.port, get("/v1/x"))
        assert server.connections == 2
        assert router.total("failed") == 0

    async def test_none_is_kept_where_so_set(self, start_router):
        async with scripted(replies(OK)) as server:
            router = await start_router(server.url, pool_idle_timeout=0)
            for _ in range(5):
                assert (await ask(router.port, get("/v1/x"))).body == b"ok"
        assert server.connections == 5

    async def test_of_a_server_that_closes_idle_ones_early(self, start_router):
        """Like vLLM, but after 0.3 s, while the router would keep them for 4: no client notices."""
        async with standin(keep_alive=0.3) as server:
            router = await start_router(server.url)
            async with client(router.port) as connection:
                for pause in (0.0, 0.29, 0.295, 0.3, 0.3, 0.3, 0.305, 0.31, 0.35, 0.0):
                    await asyncio.sleep(pause)  # idle time
                    connection.send(get("/v1/models"))
                    assert (await connection.receive()).status == 200
        assert router.total("finished_2xx") == 10

    @pytest.mark.parametrize(
        "words",
        [
            b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            OK,
            b"\r\n",
            b"x",
        ],
        ids=["408", "another reply", "a line end", "a byte"],
    )
    async def test_that_speaks_unasked_is_dropped(self, start_router, words):
        speak, spoken = asyncio.Event(), asyncio.Event()

        async def handler(reader, writer):
            number = server.connections
            await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 1\r\n\r\n%d" % number)
            if number == 1:
                await speak.wait()
                writer.write(words)
                await ended(reader)
                spoken.set()
            else:
                await ended(reader)

        async with scripted(handler) as server:
            router = await start_router(server.url)
            async with client(router.port) as connection:
                connection.send(get("/v1/x"))
                assert (await connection.receive()).body == b"1"
                speak.set()
                await asyncio.wait_for(spoken.wait(), 2)
                connection.send(get("/v1/x"))
                answer = await connection.receive()
                assert (answer.status, answer.body) == (200, b"2")
        assert router.total("failed") == 0

    @pytest.mark.parametrize("end", [finish, reset], ids=["fin", "rst"])
    async def test_that_ended_while_idle_is_not_used(self, start_router, end, caplog):
        go = asyncio.Event()

        async def handler(reader, writer):
            await read_request(reader)
            writer.write(OK)
            await go.wait()
            end(writer)

        async with scripted(handler) as server:
            router = await start_router(server.url)
            async with client(router.port) as connection:
                connection.send(get("/v1/x"))
                await connection.receive()
                (pool,) = router.state.router.servers
                assert "idle=1" in repr(pool)
                go.set()
                await until(lambda: "idle=0" in repr(pool))
                connection.send(get("/v1/x"))
                assert (await connection.receive()).body == b"ok"
        assert router.total("failed") == 0
        assert not caplog.records

    async def test_all_of_a_dead_server_go_at_once(self, start_router):
        """After one reused connection turned out to be closed, the others are not tried in turn."""
        together = asyncio.Barrier(10)

        async def handler(reader, writer):
            number = server.connections
            with contextlib.suppress(asyncio.IncompleteReadError):
                await read_request(reader)
                if number <= 10:
                    await together.wait()
                writer.write(OK)
                while True:
                    await read_request(reader)
                    if number <= 10:
                        return
                    writer.write(OK)

        async with scripted(handler) as server:
            router = await start_router(server.url)
            await asyncio.gather(*(ask(router.port, get("/v1/x")) for _ in range(10)))
            for _ in range(3):
                assert (await ask(router.port, get("/v1/x"))).body == b"ok"
        assert (router.total("failed"), server.connections) == (1, 11)


class TestAnEarlyAnswer:
    """A server may respond before it has read the body, and then continue reading, or not."""

    BODY = bytes(30_000_000)
    NO = b"HTTP/1.1 401 Unauthorized\r\nDate: x\r\nContent-Length: 2\r\n\r\nno"

    async def test_that_is_all_it_says(self, start_router):
        """It stops reading: the connection cannot be reused, and the client has its response."""
        answered, gone = asyncio.Event(), asyncio.Event()

        async def handler(reader, writer):
            writer.transport.pause_reading()
            writer.write(self.NO)
            await answered.wait()
            writer.transport.resume_reading()
            await ended(reader)
            gone.set()

        async with scripted(handler) as server:
            router = await start_router(server.url)
            async with client(router.port) as connection:
                connection.send(post("/v1/x", self.BODY))
                answer = await connection.receive()
                assert (answer.status, answer.body) == (401, b"no")
                answered.set()
                await asyncio.wait_for(gone.wait(), 5)
                # The client's connection can be reused.
                connection.send(get("/livez"))
                assert (await connection.receive()).status == 200
        assert router.total("finished_4xx") == 1
        assert router.total("connections_reused") == 0

    @pytest.mark.parametrize(
        "said",
        [NO, NO.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")],
        ids=["plain", "Connection: close"],
    )
    async def test_and_then_it_closes(self, start_router, said):
        """Much of the body is unread, so the close is a reset. The response must not be lost."""

        async def handler(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(said)

        async with scripted(handler) as server:
            router = await start_router(server.url)
            for _ in range(10):
                answer = await ask(router.port, post("/v1/x", self.BODY))
                assert (answer.status, answer.body) == (401, b"no")

    async def test_and_then_it_reads_on(self, start_router):
        """The response is complete, but not the request: the connection must not be reused."""

        async def handler(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(self.NO)
            await ended(reader)

        async with scripted(handler) as server:
            router = await start_router(server.url)
            for _ in range(3):
                answer = await ask(router.port, post("/v1/x", self.BODY))
                assert (answer.status, answer.body) == (401, b"no")
        assert (server.connections, router.total("failed")) == (3, 0)
