"""Stands between a client and a server as a badly set proxy does: holds back, hears no goodbye."""

import asyncio

from tests.support.scripted import Handler, read_request


def meddler(port: int, *, lot: int | None = None) -> Handler:
    """Pass requests on to a server of this machine, one a connection.

    What the server sends is passed on in lots of at least so many bytes, or once all is there. That
    the client has gone is not noticed: the server's answer is read to its end.

    Args:
        port: Of the server.
        lot: Bytes; None is all.
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
