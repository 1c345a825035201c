"""The supervisor's HTTP client: GET from one server, over one connection that is kept alive.

h11 does the protocol. A client is for one loop that asks one thing at a time, such as the scraper
of one server: so no request ever waits behind another, slower one. vLLM closes a connection that
was idle for 5 s; this side does so after 4. A kept connection that ends without a byte of reply
crossed with our request, so the request is sent once more on a new one.
"""

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Sequence
from typing import cast

import h11
import msgspec

from fastroute.resolver import Resolver
from fastroute.server_address import ServerAddress

IDLE_TIMEOUT = 4.0
"""Seconds after which an idle connection is closed, unless told otherwise."""

MAX_BODY_BYTES = 8 << 20
"""A reply's body may not be longer. Metrics are 64 KB, of many engines some hundreds."""


class ClientError(Exception):
    """There is no whole reply; the message says why, in a few words for a log line.

    Attributes:
        timed_out: Whether it only took too long.
    """

    def __init__(self, reason: str, *, timed_out: bool = False) -> None:
        super().__init__(reason)
        self.timed_out = timed_out


class Reply(msgspec.Struct, frozen=True):
    """A whole reply, whatever its status."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    """Names in lower case."""
    body: bytes


class ServerClient:
    """Asks one server, one request at a time. Close it when done."""

    __slots__ = ("_address", "_called", "_connection", "_fields", "_idle_timeout", "_requests",
                 "_resolver", "_tls")  # fmt: skip

    def __init__(  # noqa: PLR0913  most need the first alone
        self,
        address: ServerAddress,
        *,
        called: ServerAddress | None = None,
        api_key: str | None = None,
        tls: ssl.SSLContext | None = None,
        idle_timeout: float = IDLE_TIMEOUT,
        resolver: Resolver | None = None,
    ) -> None:
        """Prepare, without connecting.

        Args:
            address: Where the server listens.
            called: What it is called to its face, where that is not its address.
            api_key: Sent as `Authorization: Bearer`.
            tls: For https; share one among clients, as making it reads all root certificates.
            idle_timeout: Seconds after which an idle connection is closed.
            resolver: Where the address has a name; share one among clients.
        """
        self._address = address
        self._called = called or address
        self._idle_timeout = idle_timeout
        self._resolver = resolver or Resolver()
        self._fields = request_fields(self._called, api_key)
        self._tls: ssl.SSLContext | None = None
        if address.tls:
            self._tls = tls or ssl.create_default_context()
        self._connection: _Connection | None = None
        # A loop asks for the same few targets again and again.
        self._requests: dict[str, h11.Request] = {}

    async def get(self, target: str, within: float) -> Reply:
        """Ask, and wait for the whole reply.

        Args:
            target: Path and query.
            within: Seconds for all of it, connecting included.

        Raises:
            ClientError: There is no whole reply.
        """
        request = self._requests.get(target)
        if request is None:
            request = self._requests[target] = self._request(target)
        try:
            async with asyncio.timeout(within):
                return await self._exchange(request)
        except TimeoutError:
            raise ClientError(f"no answer within {within:g} s", timed_out=True) from None
        finally:
            if self._connection is not None and not self._connection.is_idle:
                # Given up in mid-reply, or the server wants it closed.
                self.close()

    def close(self) -> None:
        """Close the connection, if there is one; the next `get` opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _exchange(self, request: h11.Request) -> Reply:
        if self._connection is not None and self._connection.is_idle:
            try:
                return await self._connection.send(request)
            except _NotServed:
                pass  # It was closed while idle: once more, on a new connection.
        self._connection = await self._connect()
        try:
            return await self._connection.send(request)
        except _NotServed as error:
            raise ClientError(str(error)) from None

    async def _connect(self) -> "_Connection":
        host = self._address.host
        try:
            hosts = (host,) if self._address.is_ip else await self._resolver.locate(host)
            for other in hosts[:-1]:
                with contextlib.suppress(OSError):
                    return await self._connect_to(other)
            return await self._connect_to(hosts[-1])
        except TimeoutError:
            # Of the kernel or the TLS handshake; ours arrives as a cancellation.
            raise ClientError("connecting takes too long", timed_out=True) from None
        except OSError as error:
            raise ClientError(f"cannot connect: {in_few_words(error)}") from None

    async def _connect_to(self, host: str) -> "_Connection":
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: _Connection(loop, self._idle_timeout),
            host,
            self._address.port,
            ssl=self._tls,
            server_hostname=self._called.tls_name,
        )
        return connection

    def _request(self, target: str) -> h11.Request:
        return h11.Request(method="GET", target=target, headers=self._fields)


def request_fields(address: ServerAddress, api_key: str | None) -> list[tuple[bytes, bytes]]:
    """Return the header fields of each request of ours to a server."""
    fields = [
        (b"Host", address.authority.encode()),
        (b"User-Agent", b"fastroute"),
        # Packing costs vLLM's event loop more than the bytes cost the network.
        (b"Accept-Encoding", b"identity"),
    ]
    if api_key is not None:
        fields.append((b"Authorization", b"Bearer " + api_key.encode()))
    return fields


def in_few_words(error: OSError) -> str:
    """Say why connecting failed, without repeating the address."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, (ssl.SSLError, socket.gaierror)):
        return str(error.strerror or error)
    if error.errno:
        return os.strerror(error.errno)  # asyncio's own text repeats the address.
    return str(error)


class _NotServed(Exception):
    """The connection ended without a byte of reply."""


class _Connection(asyncio.Protocol):
    """One connection: carries one request at a time, and records the reply."""

    __slots__ = ("_body", "_head", "_http", "_idle_timeout", "_idle_timer", "_loop", "_reply",
                 "_size", "_transport")  # fmt: skip

    def __init__(self, loop: asyncio.AbstractEventLoop, idle_timeout: float) -> None:
        self._loop = loop
        self._idle_timeout = idle_timeout
        self._http = h11.Connection(h11.CLIENT)
        self._transport: asyncio.Transport | None = None
        self._idle_timer: asyncio.TimerHandle | None = None
        # Of the reply under way; the future is None between replies.
        self._reply: asyncio.Future[Reply] | None = None
        self._head: h11.Response | None = None
        self._body: list[bytes] = []
        self._size = 0

    @property
    def is_idle(self) -> bool:
        """Whether it can take a request."""
        return self._transport is not None and self._reply is None

    async def send(self, request: h11.Request) -> Reply:
        """Send a request and return the reply.

        Raises:
            _NotServed: The connection ended before the first byte of a reply.
            ClientError: The reply is broken, too long, or incomplete.
        """
        assert self._transport is not None, "the connection is closed"
        assert self._reply is None, "a request is under way"
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        self._reply = self._loop.create_future()
        head = self._http.send(request)
        end = self._http.send(h11.EndOfMessage())
        self._transport.write((head or b"") + (end or b""))
        return await self._reply

    def close(self) -> None:
        """Close at once; what is under way is given up."""
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class.

    def data_received(self, data: bytes) -> None:
        if self._reply is None or self._reply.done():
            self.close()  # Bytes that nobody asked for.
            return
        self._feed(data)

    def eof_received(self) -> None:
        self._ended()

    def connection_lost(self, error: Exception | None) -> None:
        self._ended()

    # The reply.

    def _ended(self) -> None:
        if self._reply is None or self._reply.done():
            self.close()
        elif self._head is None and not self._http.trailing_data[0]:
            self._fail(_NotServed("the connection was closed without an answer"))
        else:
            self._feed(b"")  # To h11 this is the end; it may be that of the body, too.

    def _feed(self, data: bytes) -> None:
        try:
            self._http.receive_data(data)
            while self._take(self._http.next_event()):
                pass
        except h11.RemoteProtocolError as error:
            self._fail(ClientError(f"the reply breaks HTTP: {error}"))

    def _take(self, event: object) -> bool:
        """Record an event; return whether there may be more."""
        if isinstance(event, h11.Data):
            self._size += len(event.data)
            if self._size > MAX_BODY_BYTES:
                self._fail(ClientError(f"the reply is longer than {MAX_BODY_BYTES} bytes"))
                return False
            self._body.append(bytes(event.data))
            return True
        if isinstance(event, h11.Response):
            self._head = event
            return True
        if isinstance(event, h11.EndOfMessage):
            self._complete()
            return False
        return isinstance(event, h11.InformationalResponse)

    def _complete(self) -> None:
        assert self._head is not None, "a body ends after its head"
        assert self._reply is not None, "a reply ends while it is awaited"
        reply = Reply(self._head.status_code, self._head.headers, b"".join(self._body))
        self._reply.set_result(reply)
        self._reply = self._head = None
        self._body = []
        self._size = 0
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            self._idle_timer = self._loop.call_later(self._idle_timeout, self.close)
            if self._http.trailing_data[0]:
                self.close()  # Bytes that nobody asked for.
        else:
            self.close()

    def _fail(self, error: Exception) -> None:
        assert self._reply is not None, "only a request can fail"
        self._reply.set_exception(error)
        self.close()
