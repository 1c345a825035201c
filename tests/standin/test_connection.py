"""A connection of the stand-in behaves like one of uvicorn with httptools."""

import asyncio

import pytest

from tests.support.standin_client import ask, chat, client, get, post
from tests.support.standins import standin, until


async def test_kept_alive_until_idle_for_too_long():
    async with standin(keep_alive=0.1) as server, client(server.port) as connection:
        loop = asyncio.get_running_loop()
        for _ in range(3):
            connection.send(get("/health"))
            assert (await connection.receive()).status == 200
        last = loop.time()
        assert await connection.is_closed()
        assert 0.09 < loop.time() - last < 2


async def test_a_connection_without_a_response_stays_open():
    async with standin(keep_alive=0.01) as server:
        async with client(server.port) as silent, client(server.port) as half:
            half.send(b"GET /health HT")
            async with client(server.port) as third:
                third.send(get("/health"))
                await third.receive()
                assert await third.is_closed()
            half.send(b"TP/1.1\r\nHost: x\r\n\r\n")
            silent.send(get("/health"))
            assert (await half.receive()).status == 200
            assert (await silent.receive()).status == 200


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(get("/health", fields="Connection: close\r\n"), id="close"),
        pytest.param(b"GET /health HTTP/1.0\r\n\r\n", id="http10"),
        pytest.param(
            b"GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", id="http10-keep-alive"
        ),
        pytest.param(get("/health", fields="Connection: close\r\n") * 2, id="close-with-more"),
    ],
)
async def test_answered_with_close(server, request_):
    async with client(server.port) as connection:
        connection.send(request_)
        answer = await connection.receive()
        assert answer.status == 200
        assert answer["connection"] == "close"
        assert connection.wire.startswith(b"HTTP/1.1 200 OK\r\n")
        assert await connection.is_closed()


async def test_pipelined_requests_are_answered_in_order_one_at_a_time(server):
    server.settings.token_interval = 0.002
    async with client(server.port) as connection:
        connection.send(
            chat(stream=True, max_tokens=5) + get("/version") + chat(max_tokens=2) + get("/nope")
        )
        await connection.read_some()
        await until(lambda: server.engine.running == 1)
        assert [(await connection.receive()).status for _ in range(4)] == [200, 200, 200, 404]
    assert server.counters.requests == 4
    assert server.counters.served == 2


async def test_many_pipelined_requests_pause_reading(server):
    server.settings.ttft = 0.002
    async with client(server.port) as connection:
        for _ in range(20):
            connection.send(chat(max_tokens=1) * 5)
            await asyncio.sleep(0)
        for _ in range(100):
            assert (await connection.receive()).status == 200
    assert server.counters.served == 100


async def test_chunked_request_body_with_trailers(server):
    async with client(server.port) as connection:
        connection.send(
            b"POST /standin/echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 5\r\n\r\n"
        )
        told = (await connection.receive()).json()
    assert told["body"]["size"] == 5
    assert told["trailers"] == [["X-Sum", "5"]]


async def test_expect_continue(server):
    async with client(server.port) as connection:
        request = chat(fields="Expect: 100-continue\r\n")
        head, _, body = request.partition(b"\r\n\r\n")
        connection.send(head + b"\r\n\r\n")
        assert (await connection.receive()).status == 100
        connection.send(body)
        assert (await connection.receive()).status == 200


async def test_expect_continue_waits_for_its_turn(server):
    async with client(server.port) as connection:
        head, _, body = chat(fields="Expect: 100-continue\r\n").partition(b"\r\n\r\n")
        connection.send(chat(standin={"ttft": 0.02}) + head + b"\r\n\r\n")
        assert (await connection.receive()).status == 200
        assert (await connection.receive()).status == 100
        connection.send(body)
        assert (await connection.receive()).status == 200


async def test_rejected_headers_get_a_response_before_the_body(server):
    async with client(server.port) as connection:
        connection.send(
            b"POST /nope HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
        )
        answer = await connection.receive()
        assert (answer.status, answer.json()) == (404, {"detail": "Not Found"})
        assert b"100 Continue" not in connection.wire
        # What follows is the body, whatever it looks like.
        connection.send(b"GET /" + get("/version"))
        assert (await connection.receive()).json() == {"version": "0.32.0"}


@pytest.mark.parametrize(
    "garbage",
    [
        pytest.param(b"\x16\x03\x01\x02\x00\r\n\r\n", id="tls"),
        pytest.param(b"get /health HTTP/1.1\r\n\r\n", id="lower-case-method"),
        pytest.param(
            post("/standin/echo", b"x", "Transfer-Encoding: chunked\r\n"), id="chunked-and-length"
        ),
        pytest.param(post("/standin/echo", b"", "Content-Length: 0\r\n"), id="two-lengths"),
    ],
)
async def test_invalid_http_is_rejected(server, garbage):
    async with client(server.port) as connection:
        connection.send(garbage)
        answer = await connection.receive()
        assert answer.status == 400
        assert answer.body == b"Invalid HTTP request received."
        assert answer["connection"] == "close"
        assert await connection.is_closed()


async def test_an_upgrade_is_ignored(server):
    async with client(server.port) as connection:
        for _ in range(2):
            connection.send(get("/version", fields="Connection: Upgrade\r\nUpgrade: h2c\r\n"))
            assert (await connection.receive()).status == 200


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("way", ["fin", "half-close", "reset"])
async def test_a_disconnect_ends_the_generation(server, stream, way):
    server.settings.ttft = 60
    async with client(server.port) as connection:
        connection.send(chat(stream=stream, n=2))
        await until(lambda: server.engine.running == 2)
        if way == "half-close":
            connection.writer.write_eof()
        elif way == "reset":
            connection.writer.transport.abort()
        else:
            connection.writer.close()
        await until(lambda: server.engine.running == 0, 0.5)
        if way == "half-close":
            answer = await connection.receive()
            assert not answer.complete
    await until(lambda: server.counters.connections_open == 0)
    assert (server.counters.aborted, server.counters.served) == (1, 0)
    assert server.engine.finished == {}


async def test_head_request_gets_only_a_head(server):
    async with client(server.port) as connection:
        connection.send(get("/health", "HEAD"))
        await connection.read_some()
        assert connection.wire.startswith(b"HTTP/1.1 405 Method Not Allowed\r\n")
        assert connection.wire.endswith(b"\r\n\r\n")
        assert b"content-length: 31\r\n" in connection.wire
        assert b"allow: GET\r\n" in connection.wire


@pytest.mark.parametrize("step", [1, 7])
async def test_a_request_may_come_in_pieces(server, step):
    request = chat(max_tokens=2)
    async with client(server.port) as connection:
        for at in range(0, len(request), step):
            connection.send(request[at : at + step])
            await asyncio.sleep(0)
        assert (await connection.receive()).status == 200


async def test_connections_are_counted(server):
    for _ in range(3):
        await ask(server.port, get("/health"))
    await until(lambda: server.counters.connections_open == 0)
    assert server.counters.connections_accepted == 3
