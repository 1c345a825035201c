"""The supervisor's HTTP client: GET from one server, over one connection that is kept alive.

httptools finds the parts of a reply, and what they mean is decided as it is for clients' replies
(`rules.message`); by h11 a scrape took half as much CPU again. A client is for one loop that asks
one thing at a time, such as the scraper of one server: so no request ever waits behind another,
slower one. vLLM closes a connection that was idle for 5 s; this side does so after 4. A kept
connection that ends without a byte of reply crossed with our request, so the request is sent once
more on a new one.
"""

import asyncio
import contextlib
import os
import socket
import ssl
from typing import cast

import httptools
import msgspec

from fastroute.errors import BadReply
from fastroute.net.resolver import Resolver
from fastroute.rules.framing import Body
from fastroute.rules.message import ReplyHead
from fastroute.server_address import ServerAddress

IDLE_TIMEOUT = 4.0
"""Seconds after which an idle connection is closed, unless told otherwise."""

MAX_BODY_BYTES = 8 << 20
"""A reply's body may not be longer. Metrics are 64 KB, of many engines some hundreds."""

MAX_BYTES = 2 * MAX_BODY_BYTES
"""Of a whole reply as it comes, with what chunks and trailers add."""

MAX_HEAD_BYTES = 64 << 10
"""Of a reply's head, with the informational ones before it."""


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
    body: bytes


class ServerClient:
    """Asks one server, one request at a time. Close it when done."""

    __slots__ = ("_address", "_called", "_connection", "_fields", "_idle_timeout", "_resolver",
                 "_tls")  # fmt: skip

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
        fields = request_fields(self._called, api_key)
        self._fields = b"".join(b"%b: %b\r\n" % field for field in fields)
        self._tls: ssl.SSLContext | None = None
        if address.tls:
            self._tls = tls or ssl.create_default_context()
        self._connection: _Connection | None = None

    async def get(self, target: str, within: float) -> Reply:
        """Ask, and wait for the whole reply.

        Args:
            target: Path and query.
            within: Seconds for all of it, connecting included.

        Raises:
            ClientError: There is no whole reply.
        """
        request = b"GET %b HTTP/1.1\r\n%b\r\n" % (target.encode("ascii"), self._fields)
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

    async def _exchange(self, request: bytes) -> Reply:
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

    __slots__ = ("_body", "_fields", "_head", "_idle_timeout", "_idle_timer", "_idle_until",
                 "_is_complete", "_loop", "_parser", "_received", "_reply", "_size",
                 "_transport")  # fmt: skip

    def __init__(self, loop: asyncio.AbstractEventLoop, idle_timeout: float) -> None:
        self._loop = loop
        self._idle_timeout = idle_timeout
        self._idle_until = 0.0
        self._idle_timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        # Of the reply under way; the future is None between replies.
        self._reply: asyncio.Future[Reply] | None = None
        self._fields: list[tuple[bytes, bytes]] = []
        self._head: ReplyHead | None = None
        self._body: list[bytes] = []
        self._size = 0
        self._received = 0
        self._is_complete = False

    @property
    def is_idle(self) -> bool:
        """Whether it can take a request."""
        return self._transport is not None and self._reply is None

    async def send(self, request: bytes) -> Reply:
        """Send a request and return the reply.

        Raises:
            _NotServed: The connection ended before the first byte of a reply.
            ClientError: The reply is broken, too long, or incomplete.
        """
        assert self._transport is not None, "the connection is closed"
        assert self._reply is None, "a request is under way"
        self._reply = self._loop.create_future()
        self._transport.write(request)
        return await self._reply

    def close(self) -> None:
        """Close at once; what is under way is given up."""
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
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
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._broken(error)
            return
        if self._is_complete:
            self._complete()
        elif self._head is None and self._received > MAX_HEAD_BYTES:
            self._fail(f"the reply breaks HTTP: its head is longer than {MAX_HEAD_BYTES} bytes")
        elif self._size > MAX_BODY_BYTES or self._received > MAX_BYTES:
            self._fail(f"the reply is longer than {MAX_BODY_BYTES} bytes")

    def eof_received(self) -> None:
        self._ended()

    def connection_lost(self, error: Exception | None) -> None:
        self._ended()

    # What the parser calls.

    def on_message_begin(self) -> None:
        if self._is_complete:
            raise BadReply("more than one reply")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        parser = self._parser
        status, version = parser.get_status_code(), parser.get_http_version()
        head = ReplyHead(b"GET", status, version, self._fields)
        self._fields = []
        if head.is_final():
            self._head = head

    def on_body(self, data: bytes) -> None:
        self._size += len(data)
        self._body.append(data)

    def on_message_complete(self) -> None:
        self._is_complete = self._head is not None

    # The reply.

    def _ended(self) -> None:
        if self._reply is None or self._reply.done():
            self.close()
        elif not self._received:
            self._reply.set_exception(_NotServed("the connection was closed without an answer"))
            self.close()
        elif self._head is not None and self._head.body is Body.UNTIL_CLOSE:
            self._complete()
        else:
            self._fail("the reply breaks HTTP: it is cut off")

    def _broken(self, error: Exception) -> None:
        if self._is_complete:
            # What follows the reply breaks it; the reply itself is whole.
            self._complete()
            self.close()
        else:
            # A callback's own error is only the context of the parser's.
            cause = error.__context__
            self._fail(f"the reply breaks HTTP: {cause if isinstance(cause, BadReply) else error}")

    def _complete(self) -> None:
        assert self._head is not None, "a body ends after its head"
        assert self._reply is not None, "a reply ends while it is awaited"
        self._reply.set_result(Reply(self._head.status, b"".join(self._body)))
        if not self._head.keep_alive:
            self.close()
        self._reply = self._head = None
        self._body = []
        self._size = self._received = 0
        self._is_complete = False
        self._idle_until = self._loop.time() + self._idle_timeout
        if self._idle_timer is None and self._transport is not None:
            self._idle_timer = self._loop.call_later(self._idle_timeout, self._look_if_idle)

    def _look_if_idle(self) -> None:
        """Close if it was idle for long; else look again: one timer is for many requests."""
        self._idle_timer = None
        if self._reply is not None:
            return  # Its end sets the next.
        left = self._idle_until - self._loop.time()
        if left > 0:
            self._idle_timer = self._loop.call_later(left, self._look_if_idle)
        else:
            self.close()

    def _fail(self, reason: str) -> None:
        assert self._reply is not None, "only a request can fail"
        self._reply.set_exception(ClientError(reason))
        self.close()
