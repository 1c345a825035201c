"""Ways to close one side of a connection, and their detection on the other side."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Iterator


def finish(writer: asyncio.StreamWriter) -> None:
    """Close: the other side gets a FIN (or a reset, if it sent unread bytes)."""
    writer.close()


def reset(writer: asyncio.StreamWriter) -> None:
    """Close so that the other side gets a reset; bytes in flight may be lost."""
    sock = writer.get_extra_info("socket")
    if sock is not None:  # otherwise it is already closed
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def half_close(writer: asyncio.StreamWriter) -> None:
    """Shut down the sending side, and continue reading."""
    writer.write_eof()


async def ended(reader: asyncio.StreamReader) -> float:
    """Wait until the other side has closed in any way; return the loop's time in seconds."""
    with contextlib.suppress(ConnectionError):
        while await reader.read(65536):
            pass
    return asyncio.get_running_loop().time()


@contextlib.contextmanager
def refusing_url() -> Iterator[str]:
    """Return the URL of a reserved port of 127.0.0.1 that refuses connections."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


@contextlib.contextmanager
def silent_url() -> Iterator[str]:
    """Return the URL of a port of 127.0.0.1 where connecting neither succeeds nor fails.

    It listens, but its accept queue is full, so that the system drops new connections.
    """
    with contextlib.ExitStack() as sockets:
        listening = sockets.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(4):
            filler = sockets.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listening.getsockname())
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
