"""Server-sent events: each is forwarded immediately and complete, with headers for proxies."""

import asyncio

import pytest

from tests.support.scripted import read_request, scripted
from tests.support.standin_client import chat, client, get
from tests.support.standins import standin

HEAD = (
    b"HTTP/1.1 200 OK\r\ndate: x\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
MARK = b"x-accel-buffering: no\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class TestEachEvent:
    @pytest.mark.parametrize("keep", [True, False], ids=["keep-alive", "close"])
    async def test_leaves_before_the_next_is_there(self, start_router, keep):
        """The server sends an event only after the test has read the last: nothing is buffered."""
        got: asyncio.Queue[None] = asyncio.Queue()

        async def handler(reader, writer):
            await read_request(reader)
            writer.write(HEAD)
            for number in range(50):
                await asyncio.wait_for(got.get(), 5)
                writer.write(chunk(b"data: %d\n\n" % number))
            await asyncio.wait_for(got.get(), 5)
            writer.write(b"0\r\n\r\n")
            await reader.read()

        async with scripted(handler) as server:
            router = await start_router(server.url)
            async with client(router.port) as connection:
                connection.send(get("/v1/x", fields="" if keep else "Connection: close\r\n"))
                got.put_nowait(None)  # the head waits for the first event
                await connection.reader.readuntil(b"\r\n\r\n")
                for number in range(50):
                    event = chunk(b"data: %d\n\n" % number)
                    assert await connection.reader.readexactly(len(event)) == event
                    got.put_nowait(None)
                assert await connection.reader.readexactly(5) == b"0\r\n\r\n"

    async def test_leaves_at_once_for_http_1_0_too(self, start_router):
        got: asyncio.Queue[None] = asyncio.Queue()

        async def handler(reader, writer):
            await read_request(reader)
            writer.write(HEAD)
            for number in range(20):
                writer.write(chunk(b"data: %d\n\n" % number))
                await asyncio.wait_for(got.get(), 5)
            writer.write(b"0\r\n\r\n")

        async with scripted(handler) as server:
            router = await start_router(server.url)
            async with client(router.port) as connection:
                connection.send(b"GET /v1/x HTTP/1.0\r\n\r\n")
                await connection.reader.readuntil(b"\r\n\r\n")
                for number in range(20):
                    event = b"data: %d\n\n" % number
                    assert await connection.reader.readexactly(len(event)) == event
                    got.put_nowait(None)
                assert await connection.reader.read() == b""

    async def test_leaves_although_only_a_part_of_it_came(self, start_router):
        """Byte by byte: the router does not wait for the end of an event or chunk."""
        got: asyncio.Queue[None] = asyncio.Queue()
        stream = chunk(b"data: 1\n\n") + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"

        async def handler(reader, writer):
            await read_request(reader)
            writer.write(HEAD)
            for byte in stream:
                await asyncio.wait_for(got.get(), 5)
                writer.write(bytes([byte]))
            await reader.read()

        async with scripted(handler) as server:
            router = await start_router(server.url)
            async with client(router.port) as connection:
                connection.send(get("/v1/x"))
                got.put_nowait(None)  # the head waits for the first byte of the body
                await connection.reader.readuntil(b"\r\n\r\n")
                for byte in stream:
                    assert await connection.reader.readexactly(1) == bytes([byte])
                    got.put_nowait(None)
                connection.send(get("/livez"))
                assert (await connection.receive()).status == 200, "the end was seen"

    async def test_of_many_streams_at_once_goes_where_it_belongs(self, start_router):
        async with standin(slots=200) as server:
            router = await start_router(server.url, capacity=200)

            async def stream(number: int) -> None:
                async with client(router.port) as connection:
                    fields = f"X-Request-Id: number-{number}\r\n"
                    connection.send(chat(fields=fields, stream=True, max_tokens=20))
                    answer = await connection.receive()
                    assert answer.complete
                    events = answer.events()
                    assert events[-1] == "[DONE]"
                    assert {event["id"] for event in events[:-1]} == {f"chatcmpl-number-{number}"}

            await asyncio.gather(*(stream(number) for number in range(100)))
        assert router.total("finished_2xx") == 100


class TestTheHead:
    async def test_comes_with_the_first_event(self, start_router):
        """The server sends it seconds before the first token; until that it can be replaced."""
        got = asyncio.Event()

        async def handler(reader, writer):
            await read_request(reader)
            writer.write(HEAD)
            await asyncio.wait_for(got.wait(), 5)
            writer.write(b"0\r\n\r\n")

        async with scripted(handler) as server:
            router = await start_router(server.url)
            async with client(router.port) as connection:
                connection.send(get("/v1/x"))
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(connection.reader.read(1), 0.1)
                got.set()
                head = await connection.reader.readuntil(b"\r\n\r\n")
                assert head == HEAD[:-2] + MARK + b"\r\n", "all that came, and one field more"
                assert await connection.reader.readexactly(5) == b"0\r\n\r\n"

    @pytest.mark.parametrize(
        ("field", "marked"),
        [
            (b"content-type: text/event-stream\r\n", True),
            (b"Content-Type: Text/Event-Stream;charset=utf-8\r\n", True),
            (b"content-type: application/json\r\n", False),
            (b"", False),
        ],
        ids=["sse", "SSE", "json", "none"],
    )
    async def test_tells_nginx_not_to_buffer_events(self, start_router, field, marked):
        async def handler(reader, writer):
            await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\n" + field + b"Content-Length: 0\r\n\r\n")

        async with scripted(handler) as server:
            router = await start_router(server.url)
            async with client(router.port) as connection:
                connection.send(get("/v1/x"))
                answer = await connection.receive()
        assert (("x-accel-buffering", "no") in answer.fields) is marked

    async def test_of_a_server_that_decides_itself_is_left_alone(self, start_router):
        async def handler(reader, writer):
            await read_request(reader)
            writer.write(HEAD[:-2] + b"X-Accel-Buffering: yes\r\n\r\n0\r\n\r\n")

        async with scripted(handler) as server:
            router = await start_router(server.url)
            reply = await router.ask(get("/v1/x", fields="Connection: close\r\n"))
        assert reply.lower().count(b"x-accel-buffering") == 1
        assert b"X-Accel-Buffering: yes\r\n" in reply

    async def test_of_an_interim_reply_passes_first(self, start_router):
        async def handler(reader, writer):
            await read_request(reader)
            writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
            await reader.readexactly(1)

        async with scripted(handler) as server:
            router = await start_router(server.url)
            async with client(router.port) as connection:
                connection.send(get("/v1/x"))
                answer = await connection.receive()
                assert (answer.status, answer["Link"]) == (103, "</x>")


async def test_chat_streamed_and_whole(start_router):
    """Compare both as seen by a client."""
    async with standin() as server:
        router = await start_router(server.url)
        async with client(router.port) as connection:
            connection.send(chat(max_tokens=4))
            whole = await connection.receive()
            connection.send(chat(max_tokens=4, stream=True))
            streamed = await connection.receive()
    assert whole["content-type"] == "application/json"
    assert streamed["content-type"].startswith("text/event-stream")
    pieces = [e["choices"][0]["delta"].get("content", "") for e in streamed.events()[:-1]]
    assert "".join(pieces)
    assert whole.json()["choices"][0]["message"]["content"]
    assert router.total("finished_2xx") == 2
