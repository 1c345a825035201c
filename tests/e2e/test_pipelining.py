"""Pipelined requests on one connection: in order, bounded, never mixed up."""

import asyncio

import pytest

from tests.support.scripted import read_request, scripted
from tests.support.standin_client import chat, client, get, post
from tests.support.standins import standin, standins, until


def numbered(count: int, start: int = 0) -> bytes:
    return b"".join(post(f"/standin/echo/{n}", b"x" * (n % 7)) for n in range(start, count))


@pytest.mark.parametrize("step", [1 << 20, 1000, 61], ids=["in one segment", "in ten", "in bits"])
async def test_a_hundred_are_answered_in_order(start_router, step):
    async with standins(3) as servers:
        router = await start_router(*(server.url for server in servers))
        requests = numbered(100)
        async with client(router.port) as connection:
            for start in range(0, len(requests), step):
                connection.send(requests[start : start + step])
                await asyncio.sleep(0)
            for n in range(100):
                answer = await connection.receive()
                assert answer.json()["target"] == f"/standin/echo/{n}"
                assert answer.json()["body"]["size"] == n % 7
            connection.send(get("/v1/models"))
            assert (await connection.receive()).status == 200
    assert router.total("finished_2xx") == 101


async def test_one_at_a_time_is_asked_of_servers(start_router):
    """Also of several: the second may depend on the first."""
    most = now = 0

    async def handler(reader, writer):
        nonlocal most, now
        while True:
            await read_request(reader)
            now += 1
            most = max(most, now)
            await asyncio.sleep(0.01)
            now -= 1
            writer.write(b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 2\r\n\r\nok")

    async with scripted(handler) as first, scripted(handler) as second:
        router = await start_router(first.url, second.url)
        async with client(router.port) as connection:
            connection.send(numbered(10))
            for _ in range(10):
                assert (await connection.receive()).body == b"ok"
    assert most == 1


async def test_own_endpoints_wait_their_turn(start_router):
    async with standin(ttft=0.2) as server:
        router = await start_router(server.url)
        async with client(router.port) as connection:
            connection.send(get("/livez") + chat() + get("/livez") + get("/fastroute/x"))
            answers = [await connection.receive() for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 200, 200, 404]
    assert "choices" in answers[1].json()
    assert answers[0].body == answers[2].body


async def test_a_stream_and_then_a_get(start_router):
    async with standin(token_interval=0.01) as server:
        router = await start_router(server.url)
        async with client(router.port) as connection:
            connection.send(chat(stream=True, max_tokens=10) + get("/v1/models") + chat())
            stream, models, whole = [await connection.receive() for _ in range(3)]
    assert stream.events()[-1] == "[DONE]"
    assert stream.chunks[-1] == b""
    assert models.json()["object"] == "list"
    assert whole.json()["object"] == "chat.completion"
    assert server.counters is not None


@pytest.mark.parametrize("good", [0, 1, 5])
@pytest.mark.parametrize(
    ("broken", "status"),
    [
        (b"GET /v1/x HTTP/1.1\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(50), 400),
        (
            b"POST /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            400,
        ),
        (b"POST /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n", 413),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 405),
        (b"GET /v1/x HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 70_000, 431),
    ],
    ids=["no host", "TLS", "two lengths", "too long", "connect", "head too long"],
)
async def test_a_broken_one_behind_good_ones(start_router, good, broken, status):
    """The valid ones get responses first, then that one, then the end; it is not forwarded."""
    async with standin() as server:
        router = await start_router(server.url)
        async with client(router.port) as connection:
            connection.send(numbered(good) + broken + get("/v1/models"))
            for n in range(good):
                assert (await connection.receive()).json()["target"] == f"/standin/echo/{n}"
            answer = await connection.receive()
            assert answer.status == status
            assert answer["connection"] == "close"
            assert answer.json()["error"]["code"] == status
            assert await connection.is_closed(), "nothing behind it is served"
    assert router.total("started") == good


async def test_a_broken_one_waits_for_the_one_in_hand(start_router):
    async with standin(ttft=0.3) as server:
        router = await start_router(server.url)
        async with client(router.port) as connection:
            connection.send(chat())
            await until(lambda: router.total("in_flight") == 1)
            connection.send(b"\0\0\0")
            assert (await connection.receive()).status == 200
            assert (await connection.receive()).status == 400
            assert await connection.is_closed()
    assert router.total("aborted") == 0


async def test_behind_connection_close_nothing_is_served(start_router):
    async with standin() as server:
        router = await start_router(server.url)
        async with client(router.port) as connection:
            connection.send(numbered(2) + get("/v1/models", fields="Connection: close\r\n"))
            connection.send(numbered(2))
            for _ in range(2):
                assert (await connection.receive()).status == 200
            answer = await connection.receive()
            assert answer.json()["object"] == "list"
            assert answer["connection"] == "close"
            assert await connection.is_closed()
    assert router.total("started") == 3


async def test_behind_a_reply_until_close_nothing_is_served(start_router):
    async def handler(reader, writer):
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nDate: x\r\n\r\nthat is all")

    async with scripted(handler) as server:
        router = await start_router(server.url)
        reply = await router.ask(numbered(20))
    assert reply.endswith(b"\r\n\r\nthat is all")
    assert b"connection: close" in reply
    assert router.total("started") == 1


async def test_behind_a_reply_cut_short_nothing_is_served(start_router):
    async def handler(reader, writer):
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 20\r\n\r\nhalf")

    async with scripted(handler) as server:
        router = await start_router(server.url)
        reply = await router.ask(numbered(20))
    assert reply.endswith(b"\r\n\r\nhalf")
    assert (router.total("started"), router.total("failed")) == (1, 1)


class TestTheBound:
    async def test_many_small_ones(self, start_router):
        """A thousand wait behind one: about 100 get responses, then the client is rejected."""
        async with standin(ttft=0.5) as server:
            router = await start_router(server.url)
            async with client(router.port) as connection:
                connection.send(chat())
                await until(lambda: router.total("in_flight") == 1)
                connection.send(get("/v1/models") * 1000)
                assert (await connection.receive()).status == 200
                served = 0
                while (answer := await connection.receive()).status == 200:
                    served += 1
                assert answer.status == 429
                assert 16 <= served <= 128
                assert await connection.is_closed()
        assert router.total("started") == served + 1

    async def test_a_few_large_ones(self, start_router):
        """Waiting requests are also limited in bytes."""
        async with standin(ttft=0.5) as server:
            router = await start_router(server.url, max_body_bytes=1_000_000)
            async with client(router.port) as connection:
                connection.send(chat())
                await until(lambda: router.total("in_flight") == 1)
                connection.send(post("/standin/echo", bytes(400_000)) * 10)
                assert (await connection.receive()).status == 200
                served = 0
                while (answer := await connection.receive()).status == 200:
                    served += 1
                assert answer.status == 429
                assert 1 <= served <= 3
                assert await connection.is_closed()

    async def test_is_not_met_where_answers_are_read(self, start_router):
        """A client that keeps 50 requests in flight sends 2,000 in total."""
        async with standin() as server:
            router = await start_router(server.url)
            async with client(router.port) as connection:
                connection.send(get("/v1/models") * 50)
                for n in range(2000):
                    assert (await connection.receive()).status == 200
                    if n < 1950:
                        connection.send(get("/v1/models"))


async def test_a_client_that_reads_none_of_its_answers_is_held(start_router):
    """The second request is not forwarded before the response to the first is read."""
    async with standin() as server:
        router = await start_router(server.url)
        async with client(router.port) as connection:
            connection.writer.transport.pause_reading()
            connection.send(get("/standin/bytes?size=20000000") * 4)
            await until(lambda: router.total("started") == 1)
            with pytest.raises(TimeoutError):
                await until(lambda: router.total("started") > 1, 0.3)
            connection.writer.transport.resume_reading()
            for _ in range(4):
                head = await connection.reader.readuntil(b"\r\n\r\n")
                assert b"content-length: 20000000\r\n" in head
                await connection.reader.readexactly(20_000_000)
