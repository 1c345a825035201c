"""How one side of a connection can leave, and how the other side notices."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Iterator


def finish(writer: asyncio.StreamWriter) -> None:
    """Close: the other side gets a FIN (or a reset, should it have sent what we did not read)."""
    writer.close()


def reset(writer: asyncio.StreamWriter) -> None:
    """Close so that the other side gets a reset; bytes under way may be lost."""
    sock = writer.get_extra_info("socket")
    if sock is not None:  # else it is closed already
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def half_close(writer: asyncio.StreamWriter) -> None:
    """Say that nothing more will be sent, and go on reading."""
    writer.write_eof()


async def ended(reader: asyncio.StreamReader) -> float:
    """Wait until the other side is gone, in any way; returns the loop's time in seconds."""
    with contextlib.suppress(ConnectionError):
        while await reader.read(65536):
            pass
    return asyncio.get_running_loop().time()


@contextlib.contextmanager
def refusing_url() -> Iterator[str]:
    """The URL of a port of 127.0.0.1 that refuses connections and that nobody else can take."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


@contextlib.contextmanager
def silent_url() -> Iterator[str]:
    """The URL of a port of 127.0.0.1 where connecting neither succeeds nor fails.

    It listens, but its queue is full and nobody accepts, so the system drops what knocks.
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
