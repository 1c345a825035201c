"""A badly configured proxy between a client and a server: buffers, and ignores disconnects."""

import asyncio

from tests.support.scripted import Handler, read_request


def meddler(port: int, *, lot: int | None = None) -> Handler:
    """Return a handler that forwards requests to a local server, one per connection.

    The response is forwarded in pieces of at least `lot` bytes, or when complete. A disconnect
    of the client is ignored: the server's response is read to its end.

    Args:
        port: Port of the server.
        lot: Number of bytes; None for all.
    """

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head, body = await read_request(reader)
        theirs, ours = await asyncio.open_connection("127.0.0.1", port)
        try:
            ours.write(head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + body)
            held = b""
            while data := await theirs.read(65536):
                held += data
                if lot is not None and len(held) >= lot and not writer.is_closing():
                    writer.write(held)
                    held = b""
            if not writer.is_closing():
                writer.write(held)
        finally:
            ours.close()

    return handler
