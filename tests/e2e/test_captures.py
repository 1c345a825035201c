"""Captured responses of real vLLM servers, sent through real sockets."""

import asyncio
import contextlib

import pytest

from tests.support.captures import expected, load_captures
from tests.support.judge import judge_replies
from tests.support.scripted import scripted

WITH_REPLY = [capture for capture in load_captures() if capture.replies[0]]
STREAMS = [
    capture
    for capture in WITH_REPLY
    if b"text/event-stream" in capture.replies[0] and len(capture.replies[0]) < 1500
]


def halves(reply: bytes) -> list[bytes]:
    return [reply[: len(reply) // 2], reply[len(reply) // 2 :]]


def lines(reply: bytes) -> list[bytes]:
    return reply.splitlines(keepends=True)


@pytest.mark.parametrize(
    "cut",
    [
        pytest.param(lambda reply: [reply], id="whole"),
        pytest.param(halves, id="halves"),
        pytest.param(lines, id="lines"),
    ],
)
async def test_over_sockets(start_router, cut):
    """Send all captures on one client connection; the loop runs between two pieces."""
    captures = {
        capture.name.encode(): capture
        for capture in WITH_REPLY
        if len(capture.replies[0]) < 10_000 or cut is not lines
    }

    async def handler(reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                _, name, number = head.split(b" ")[1].split(b"/")
                for piece in cut(captures[name].replies[int(number)]):
                    writer.write(piece)
                    await writer.drain()
                    for _ in range(3):
                        await asyncio.sleep(0)

    async with scripted(handler) as server:
        router = await start_router(server.url)
        reader, writer = await router.connect()
        for name, capture in captures.items():
            for number, method in enumerate(capture.methods):
                writer.write(b"%b /%b/%d HTTP/1.1\r\nHost: t\r\n\r\n" % (method, name, number))
            whole = b"".join(map(expected, capture.replies))
            async with asyncio.timeout(10):
                assert await reader.readexactly(len(whole)) == whole
        writer.close()
        await writer.wait_closed()
        assert 1 < server.connections < len(captures), "kept where the reply allows it"


@pytest.mark.parametrize("kept", [pytest.param(-1, id="last-byte"), pytest.param(-5, id="chunk")])
async def test_a_killed_server_over_sockets(start_router, kept):
    for capture in STREAMS:
        [reply] = capture.replies

        async def handler(reader, writer, reply=reply):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(reply[:kept])

        async with scripted(handler) as server:
            router = await start_router(server.url)
            got = await router.ask(b"POST /v1/x HTTP/1.1\r\nHost: t\r\n\r\n")
            assert got == expected(reply[:kept])
            [judged] = judge_replies(got, [b"POST"], closed=True)
            assert not judged.whole
