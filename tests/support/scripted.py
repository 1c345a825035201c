"""A server whose behaviour is a test's coroutine, byte by byte."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Scripted:
    """A listening scripted server.

    Attributes:
        url: URL of the server.
        connections: Number of accepted connections.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.connections = 0


@contextlib.asynccontextmanager
async def scripted(
    handler: Handler, *, tls: ssl.SSLContext | None = None, backlog: int = 100
) -> AsyncIterator[Scripted]:
    """Run `handler` for each connection; the connection closes when it returns.

    An exception in a handler fails the test. With `tls` the server speaks https.
    """
    tasks: set[asyncio.Task[None]] = set()
    errors: list[BaseException] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        script.connections += 1
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await handler(reader, writer)
        except (asyncio.CancelledError, ConnectionError):
            pass
        except BaseException as error:
            errors.append(error)
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(
        serve, "127.0.0.1", 0, limit=2**27, ssl=tls, backlog=backlog
    )
    scheme = "http" if tls is None else "https"
    script = Scripted(f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    try:
        yield script
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=5)
    if errors:
        raise errors[0]


async def read_request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Read a request with or without Content-Length; return its headers and its body."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return head, await reader.readexactly(length)


def replies(*segments: bytes) -> Handler:
    """Return a handler that sends these segments for each request, one write each."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                await read_request(reader)
                for segment in segments:
                    writer.write(segment)
                    await writer.drain()

    return handler
