"""A server that fails during a response: no client may take a truncated response as complete."""

import asyncio
import logging
from collections import Counter

import pytest

from tests.support.endings import finish, reset
from tests.support.scripted import read_request, replies, scripted
from tests.support.standin_client import ask, client, get
from tests.support.standins import standin_process, until

EVENT = b'10\r\ndata: {"a": 12}\n\r\n'
CHUNKED = b"HTTP/1.1 200 OK\r\nDate: x\r\nTransfer-Encoding: chunked\r\n\r\n"
SIZED = b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 100\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\nDate: x\r\n\r\n"


def dying_after(*parts: bytes, end=finish):
    """Run a server that sends these parts, one at a time, and closes."""

    async def handler(reader, writer):
        await read_request(reader)
        for part in parts:
            writer.write(part)
            await writer.drain()
            # So that each is read separately, and before a reset can discard it.
            await asyncio.sleep(0.02)
        end(writer)

    return handler


async def read_all(reader) -> None:
    while await reader.read(1000):
        pass


def the_log_line(caplog) -> str:
    (line,) = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    return line


@pytest.mark.parametrize("end", [finish, reset], ids=["fin", "rst"])
@pytest.mark.parametrize(
    ("parts", "body"),
    [
        ([CHUNKED], b""),
        ([CHUNKED + EVENT, EVENT], 2 * EVENT),
        ([CHUNKED, EVENT + EVENT[:9]], EVENT + EVENT[:9]),
        ([CHUNKED, EVENT + b"0\r\n"], EVENT + b"0\r\n"),
        ([CHUNKED, EVENT + b"0\r\nX-Trailer: a\r\n"], EVENT + b"0\r\nX-Trailer: a\r\n"),
        ([SIZED], b""),
        ([SIZED + b"a" * 50, b"b" * 49], b"a" * 50 + b"b" * 49),
    ],
    ids=["chunked: head", "chunked: events", "in mid-chunk", "in the end", "in the trailers",
         "length: head", "length: one byte short"],
)  # fmt: skip
async def test_what_came_is_passed_on_and_no_more(start_router, caplog, parts, body, end):
    async with scripted(dying_after(*parts, end=end)) as server:
        router = await start_router(server.url)
        reply = await router.ask(get("/v1/x"))
    assert reply.partition(b"\r\n\r\n")[2] == body
    assert router.total("failed") == router.total("started") == 1
    line = the_log_line(caplog)
    for word in (server.url, "replying", "GET", "/v1/x", "connection"):
        assert word in line


async def test_a_reset_in_a_body_until_close_is_a_reset(start_router, caplog):
    """The close is its end; a FIN would mark it as complete."""
    async with scripted(dying_after(UNTIL_CLOSE, b"half", end=reset)) as server:
        router = await start_router(server.url)
        async with client(router.port) as connection:
            connection.send(get("/v1/x"))
            with pytest.raises(ConnectionResetError):
                await read_all(connection.reader)
    assert router.total("failed") == 1
    assert "replying" in the_log_line(caplog)


async def test_the_end_of_a_body_until_close_is_an_end(start_router, caplog):
    async with scripted(dying_after(UNTIL_CLOSE, b"all", b" of it")) as server:
        router = await start_router(server.url)
        reply = await router.ask(get("/v1/x"))
    assert reply.endswith(b"\r\n\r\nall of it")
    assert router.total("finished_2xx") == 1
    assert not caplog.records


@pytest.mark.parametrize(
    ("parts", "is_reset"),
    [
        ([CHUNKED, EVENT], True),
        ([CHUNKED, EVENT + b"0\r\n"], True),
        ([SIZED, b"half"], False),
    ],
    ids=["chunked", "chunked, almost", "length"],
)
async def test_for_http_1_0(start_router, parts, is_reset):
    """Without chunked framing the close is the only end, so a reset must signal the error."""
    async with scripted(dying_after(*parts)) as server:
        router = await start_router(server.url)
        async with client(router.port) as connection:
            connection.send(b"GET /v1/x HTTP/1.0\r\n\r\n")
            if is_reset:
                with pytest.raises(ConnectionResetError):
                    await read_all(connection.reader)
            else:
                assert (await connection.reader.read()).endswith(b"\r\n\r\nhalf")
    assert router.total("failed") == 1


@pytest.mark.parametrize(
    "broken",
    [b"xyz\r\nabc\r\n", b"5\r\nabcdeX", b"-1\r\n\r\n", b"10000000000000000\r\nabc", b"0\n\n",
     b"3\nabc\r\n", b"0\r\n\r\nHTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 0\r\n\r\n"],
    ids=["no number", "no line end", "negative", "overflow", "bare LF at the end", "bare LF",
         "another reply behind it"],
)  # fmt: skip
async def test_broken_chunks_are_not_passed_on(start_router, caplog, broken):
    """The client's parser might interpret them differently from ours."""
    async with scripted(dying_after(CHUNKED, EVENT, broken)) as server:
        router = await start_router(server.url)
        reply = await router.ask(get("/v1/x"))
    assert reply.partition(b"\r\n\r\n")[2] == EVENT
    assert router.total("failed") == 1
    assert server.url in the_log_line(caplog)


async def test_broken_chunks_right_behind_the_head(start_router):
    """In one segment nothing has been sent yet: in no case may the response look complete."""
    async with scripted(dying_after(CHUNKED + EVENT + b"xyz\r\n")) as server:
        router = await start_router(server.url)
        answer = await ask(router.port, get("/v1/x"))
    assert answer.status == 502 or not answer.complete
    assert router.total("failed") == 1


async def test_surplus_bytes_are_not_passed_on(start_router):
    async with scripted(
        replies(SIZED + b"a" * 100 + b"HTTP/1.1 200 OK\r\nDate: x\r\n\r\n")
    ) as server:
        router = await start_router(server.url)
        async with client(router.port) as connection:
            for _ in range(3):
                connection.send(get("/v1/x"))
                answer = await connection.receive()
                assert answer.body == b"a" * 100
                assert answer.complete
            connection.send(get("/livez"))
            assert (await connection.receive()).status == 200
    assert server.connections == 3


async def test_killing_a_server_under_forty_streams(start_router, caplog):
    """All end immediately and are counted, and each is logged once.

    Those that had an event are aborted; the others, whose headers were held, get an error.
    """
    with standin_process("--token-interval", "0.02") as server:
        router = await start_router(server.url, capacity=100)
        async with asyncio.TaskGroup() as group:
            body = b'{"messages":[{"role":"user","content":"x"}],"stream":true,"max_tokens":10000}'
            request = (
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
            ) + body
            tasks = [group.create_task(router.ask(request)) for _ in range(40)]
            # 16 slots: some stream, others wait.
            await until(lambda: router.total("events") > 200)
            server.kill()
    for task in tasks:
        assert not task.result().endswith(b"0\r\n\r\n")
    starts = Counter(task.result()[:12] for task in tasks)
    assert starts == {b"HTTP/1.1 200": 16, b"HTTP/1.1 502": 24}, "16 slots, so 24 were waiting"
    assert router.total("failed") == 40
    logged = [r.getMessage() for r in caplog.records if "failed while" in r.getMessage()]
    assert len(logged) == 40
    assert len([line for line in logged if "failed while replying" in line]) == 16


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(CHUNKED.replace(b"chunked", b"chunked, chunked"), id="chunked twice"),
        pytest.param(CHUNKED.replace(b"chunked", b"gzip"), id="unknown coding"),
        pytest.param(SIZED.replace(b"OK", b"O\0K"), id="NUL in the reason phrase"),
        pytest.param(SIZED.replace(b"\r\n", b"\n"), id="bare LF"),
        pytest.param(b"HTTP/1.1 OK", id="no status"),
        pytest.param(b"\0\0\x12\x04\0\0\0\0\0", id="HTTP/2"),
    ],
)
async def test_what_is_no_response_is_refused_at_once(start_router, answer):
    """The server keeps the connection open: the client waited for `request_timeout`."""

    async def handler(reader, writer):
        await read_request(reader)
        writer.write(answer)
        await reader.read()

    async with scripted(handler) as server:
        router = await start_router(server.url)
        async with client(router.port) as connection:
            connection.send(get("/v1/x"))
            reply = await connection.receive()
    assert reply.status == 502
    assert b"breaks HTTP" in reply.body
