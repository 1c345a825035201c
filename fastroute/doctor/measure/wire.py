"""One connection to a server with separate steps to time: open, request, read, wait."""

import asyncio
import ssl
import zlib
from collections.abc import AsyncGenerator, Callable, Sequence

import h11

from fastroute.config import ServerConfig
from fastroute.net.http_client import MAX_BODY_BYTES, ClientError, in_few_words
from fastroute.rules.headers import MAX_FIELDS

READ_BYTES = 65536
GZIP_BITS = 16 + zlib.MAX_WBITS
"""Value for zlib that selects gzip with the largest window."""


class Wire:
    """A connection. `open` it, and `close` it when done; callers set time limits."""

    __slots__ = ("_decompress", "_http", "_reader", "_room", "_writer")

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.CLIENT)
        self._decompress: Callable[[bytes, int], bytes] | None = None
        self._room = MAX_BODY_BYTES

    @classmethod
    async def open(cls, server: ServerConfig, tls: ssl.SSLContext | None) -> "Wire":
        """Connect, including the TLS handshake for https.

        Raises:
            OSError: The connection failed; ssl.SSLError if TLS failed.
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
        """Send a request and return the headers of the response.

        Raises:
            ClientError: There is no valid response.
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
                if len(event.headers) > MAX_FIELDS:
                    raise ClientError(f"the response has more than {MAX_FIELDS} headers")
                if dict(event.headers).get(b"content-encoding") == b"gzip":
                    self._decompress = zlib.decompressobj(GZIP_BITS).decompress
                return event
            if event is h11.NEED_DATA:
                await self._read("the connection was closed without a response")

    async def body(self) -> AsyncGenerator[bytes, None]:
        """Yield the body of the response as it arrives, decompressed if it is gzip.

        Raises:
            ClientError: The response is truncated, or longer than `MAX_BODY_BYTES`.
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

    async def wait_closed(self) -> None:
        """Wait until the server closes the idle connection."""
        try:
            while await self._reader.read(READ_BYTES):
                pass
        except OSError:
            pass  # A reset closes it, too.

    def close(self) -> None:
        """Close immediately, and abort whatever is in progress."""
        self._writer.transport.abort()

    def _decoded(self, data: bytes) -> bytes:
        """Return bytes of the body; a byte of gzip may stand for a thousand."""
        if self._decompress is not None:
            try:
                data = self._decompress(data, self._room + 1)
            except zlib.error as error:
                raise ClientError(f"the response is no gzip: {error}") from None
        self._room -= len(data)
        if self._room < 0:
            raise ClientError(f"the response is longer than {MAX_BODY_BYTES} bytes")
        return data

    def _next_event(self) -> object:
        try:
            return self._http.next_event()
        except h11.RemoteProtocolError as error:
            raise ClientError(f"the response breaks HTTP: {error}") from None

    async def _read(self, if_empty: str = "") -> None:
        try:
            data = await self._reader.read(READ_BYTES)
        except OSError as error:
            raise ClientError(f"the connection failed: {in_few_words(error)}") from None
        if not data and if_empty and not self._http.trailing_data[0]:
            raise ClientError(if_empty)
        self._http.receive_data(data)
