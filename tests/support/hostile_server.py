"""A server that attacks whoever asks it, in what it lists, measures and says."""

import asyncio
import contextlib
import itertools
import json
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from tests.support.scripted import Scripted, read_request, scripted

Body = bytes | Callable[[], bytes]
"""The body of a response, or what makes another one for each request."""

HEALTHY: Mapping[str, Body] = {
    "/health": b"",
    "/v1/models": b'{"object": "list", "data": [{"id": "m", "object": "model"}]}',
    "/metrics": b"vllm:num_requests_running 0\nvllm:num_requests_waiting 0\n",
}
"""What a server without a fault responds, by path."""

FORGED = "x\n2026-01-01T00:00:00 INFO supervisor: forged\x1b[2J\x7f\x85\x9b31m\u2028\u2029\u202e"
"""A name with a forged log line, escape sequences and each kind of control character."""


IDLE_S = 1.5
"""Seconds after which it closes an idle connection; longer than a scrape's interval."""


@contextlib.asynccontextmanager
async def hostile(bodies: Mapping[str, Body], fields: bytes = b"") -> AsyncIterator[Scripted]:
    """Run a server in this process.

    Args:
        bodies: What differs from `HEALTHY`, by path without the query; one that starts with
            HTTP/1.1 is a whole response.
        fields: Further lines of each response's head.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, TimeoutError):
            while True:
                async with asyncio.timeout(IDLE_S):
                    head, _ = await read_request(reader)
                path = head.split(b" ")[1].decode().partition("?")[0].rstrip("/")
                body = bodies.get(path, HEALTHY.get(path, b"{}"))
                body = body if isinstance(body, bytes) else body()
                is_whole = body.startswith(b"HTTP/1.1 ")
                writer.write(body if is_whole else response(body, fields))
                await writer.drain()

    async with scripted(serve) as server:
        yield server


def response(body: bytes, fields: bytes = b"") -> bytes:
    """Return a response of status 200."""
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%b\r\n" % (len(body), fields) + body


def model_list(names: Any) -> bytes:
    """Return a list of models; the names are JSON texts without their quotes."""
    return b'{"data":[%b]}' % b",".join(b'{"id":"%b"}' % name.encode() for name in names)


def many_models(count: int) -> bytes:
    """Return a list of models named m0, m1 and so on."""
    return model_list(f"m{number}" for number in range(count))


def json_text(name: str) -> str:
    """Return a name as in JSON, without its quotes."""
    return json.dumps(name)[1:-1]


def samples(count: int, tag: str = "") -> bytes:
    """Return valid metrics of this number of engines, one sample each."""
    lines = [f'vllm:num_requests_running{{e="{number}{tag}"}} 0\n' for number in range(count)]
    return "".join([*lines, "vllm:num_requests_waiting 0\n"]).encode()


def other_labels(count: int, length: int) -> Callable[[], bytes]:
    """Return what makes metrics whose labels, somewhat longer than `length`, never come again."""
    numbers = itertools.count()
    return lambda: samples(count, f"-{next(numbers)}" + "x" * length)


def bomb(size: int) -> bytes:
    """Return zeros of a size, compressed with gzip about a thousandfold."""
    packer = zlib.compressobj(9, wbits=16 + zlib.MAX_WBITS)
    zeros = bytes(1 << 20)
    return b"".join(packer.compress(zeros) for _ in range(size >> 20)) + packer.flush()
