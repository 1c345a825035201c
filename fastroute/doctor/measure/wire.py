"""One connection to a server whose steps can be told apart and timed: open, ask, read, wait."""

import asyncio
import ssl
import zlib
from collections.abc import AsyncGenerator, Callable, Sequence

import h11

from fastroute.config import ServerConfig
from fastroute.net.http_client import ClientError, in_few_words

READ_BYTES = 65536
GZIP_BITS = 16 + zlib.MAX_WBITS
"""What zlib calls gzip with its largest window."""


class Wire:
    """A connection. `open` it, and `close` it when done; who waits sets the time limit."""

    __slots__ = ("_decode", "_http", "_reader", "_writer")

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.CLIENT)
        self._decode: Callable[[bytes], bytes] = bytes

    @classmethod
    async def open(cls, server: ServerConfig, tls: ssl.SSLContext | None) -> "Wire":
        """Connect, and shake hands with https.

        Raises:
            OSError: It cannot be done; of TLS it is an ssl.SSLError.
        """
        address = server.address
        context = tls if address.tls else None
        connected = await asyncio.open_connection(
            address.host, address.port, ssl=context, server_hostname=server.called.tls_name
        )
        return cls(*connected)

    @property
    def tls(self) -> ssl.SSLObject | None:
        found: ssl.SSLObject | None = self._writer.get_extra_info("ssl_object")
        return found

    async def ask(
        self, method: str, target: str, fields: Sequence[tuple[bytes, bytes]], body: bytes = b""
    ) -> h11.Response:
        """Send a request and return the head of the reply.

        Raises:
            ClientError: There is none.
        """
        if body:
            fields = [
                *fields,
                (b"Content-Type", b"application/json"),
                (b"Content-Length", b"%d" % len(body)),
            ]
        request = h11.Request(method=method, target=target, headers=list(fields))
        parts = [self._http.send(request)]
        if body:
            parts.append(self._http.send(h11.Data(data=body)))
        parts.append(self._http.send(h11.EndOfMessage()))
        self._writer.write(b"".join(part for part in parts if part))
        while True:
            event = self._next_event()
            if isinstance(event, h11.Response):
                if dict(event.headers).get(b"content-encoding") == b"gzip":
                    self._decode = zlib.decompressobj(GZIP_BITS).decompress
                return event
            if event is h11.NEED_DATA:
                await self._read("the connection was closed without an answer")

    async def body(self) -> AsyncGenerator[bytes, None]:
        """Yield the body of the reply as it arrives, unpacked where it is gzip.

        Raises:
            ClientError: It breaks off.
        """
        arrived = b""
        while True:
            event = self._next_event()
            if isinstance(event, h11.Data):
                arrived += self._decoded(event.data)
            elif event is h11.NEED_DATA:
                if arrived:
                    yield arrived
                    arrived = b""
                await self._read()
            else:
                break
        if arrived:
            yield arrived

    async def closed(self) -> None:
        """Return when the server closes the idle connection."""
        try:
            while await self._reader.read(READ_BYTES):
                pass
        except OSError:
            pass  # Reset: closed, too.

    def close(self) -> None:
        """Close at once; whatever is under way is given up."""
        self._writer.transport.abort()

    def _decoded(self, data: bytes) -> bytes:
        try:
            return self._decode(data)
        except zlib.error as error:
            raise ClientError(f"the response is no gzip: {error}") from None

    def _next_event(self) -> object:
        try:
            return self._http.next_event()
        except h11.RemoteProtocolError as error:
            raise ClientError(f"the response breaks HTTP: {error}") from None

    async def _read(self, if_empty: str = "") -> None:
        try:
            data = await self._reader.read(READ_BYTES)
        except OSError as error:
            raise ClientError(f"the connection broke: {in_few_words(error)}") from None
        if not data and if_empty and not self._http.trailing_data[0]:
            raise ClientError(if_empty)
        self._http.receive_data(data)
