"""Clients that attack a router, and streams of others that must not notice it."""

import asyncio
import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence

from tests.support.command import RunningCommand

STREAM = b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n"


@contextlib.contextmanager
def steady_server() -> Iterator[str]:
    """Run `steady_server` as a process; return its URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.steady_server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


class Stream(asyncio.Protocol):
    """A client with a steady stream, and the longest gap in it."""

    def connection_made(self, transport):
        self.transport = transport
        self.last = time.monotonic()
        self.gap = 0.0
        self.events = 0
        self.ended = False
        transport.write(STREAM)

    def data_received(self, data):
        now = time.monotonic()
        self.gap = max(self.gap, now - self.last)
        self.last = now
        self.events += 1

    def connection_lost(self, exc):
        self.ended = True

    def take_gap(self) -> float:
        """Return the longest gap in seconds since the last call."""
        gap = max(self.gap, time.monotonic() - self.last)
        self.gap = 0.0
        return gap


@contextlib.asynccontextmanager
async def streams(router: RunningCommand, count: int = 5) -> AsyncIterator[list[Stream]]:
    """Have streams through a router."""
    loop = asyncio.get_running_loop()
    opened = [
        (await loop.create_connection(Stream, "127.0.0.1", router.port))[1] for _ in range(count)
    ]
    try:
        async with asyncio.timeout(10):
            while not all(each.events > 3 for each in opened):
                await asyncio.sleep(0.02)
        yield opened
    finally:
        for each in opened:
            each.transport.abort()


def take_gap(watched: Sequence[Stream]) -> float:
    """Return the longest gap in any of them, in seconds."""
    assert not any(each.ended for each in watched), "a stream ended"
    return max(each.take_gap() for each in watched)


def push(port: int, data: bytes, patience: float = 20.0) -> bytes:
    """Send all that the router takes, and return the start of what it sends.

    It ends when the router closes, or when it has been silent for a moment after the last byte.
    """
    got = b""
    with socket.create_connection(("127.0.0.1", port), timeout=patience) as connection:
        sender = threading.Thread(target=_send, args=(connection, data))
        sender.start()
        with contextlib.suppress(OSError):
            while piece := connection.recv(1 << 20):
                got += piece[: 300 - len(got)]
                if not sender.is_alive():
                    connection.settimeout(0.2)
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        sender.join()
    return got


def _send(connection: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        connection.sendall(data)
