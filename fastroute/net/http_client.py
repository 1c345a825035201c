"""The supervisor's HTTP client: GET from one server, over one keep-alive connection.

The end of a response is found as for clients' requests (`rules.response`); with h11 a scrape took
half as much CPU again. A client is for one loop with one request at a time, such as the scraper of
one server, so no request waits behind a slower one. vLLM closes a connection that was idle for 5 s;
this side does so after 4. If a kept connection ends without a byte of the response, its end crossed
with our request, and the request is sent once more on a new connection.
"""

import asyncio
import os
import socket
import ssl
from typing import cast

import msgspec

from fastroute.net.connecting import Endpoint, connect
from fastroute.net.resolver import Resolver
from fastroute.rules.evidence import OWN_LIMITS
from fastroute.rules.framing import Body, ReplyEnd, Unwrapper
from fastroute.rules.head_match import HeadMatcher
from fastroute.rules.response import ResponseFramer
from fastroute.rules.response_head import ReplyHead
from fastroute.server_address import ServerAddress

IDLE_TIMEOUT = 4.0
"""Seconds after which an idle connection is closed, unless told otherwise."""

MAX_BODY_BYTES = 8 << 20
"""Limit for a response's body, unless told otherwise."""

MAX_OVERHEAD_BYTES = 1 << 20
"""Limit for what heads, chunks and trailers add to a body: 200,000 chunks of a byte take 0.1 s."""

MAX_PIECES = 10_000
"""Limit for the pieces in which a response arrives; 8 MB arrive in some hundreds."""

MAX_HEAD_BYTES = 64 << 10
"""Limit for a response's head."""

ANY_TYPE = b"*/*"
"""Value of Accept, unless told otherwise."""

# An exporter's heads differ by their length and their date.
_KNOWN_HEADS = 4


class ClientError(Exception):
    """There is no complete response; the message says why, in a few words for a log line.

    Attributes:
        timed_out: True if it only took too long.
        is_own_limit: True if this process is out of descriptors, ports or memory, which says
            nothing about the server.
    """

    def __init__(self, reason: str, *, timed_out: bool = False, is_own_limit: bool = False) -> None:
        super().__init__(reason)
        self.timed_out = timed_out
        self.is_own_limit = is_own_limit


class Reply(msgspec.Struct, frozen=True):
    """A complete response with any status.

    Attributes:
        status: HTTP status.
        body: Body without its chunked coding.
        ends_with_connection: True if only the end of the connection ended the body, so that it may
            be truncated.
    """

    status: int
    body: bytes
    ends_with_connection: bool = False


class ServerClient:
    """Sends requests to one server, one at a time. Close it when done."""

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
            called: Its name for Host and TLS, if that is not its address.
            api_key: Sent as `Authorization: Bearer`.
            tls: For https; share it between clients, since making it reads all root certificates.
            idle_timeout: Seconds after which an idle connection is closed.
            resolver: For an address with a name; share it between clients.
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

    async def get(
        self,
        target: str,
        within: float,
        max_body: int = MAX_BODY_BYTES,
        *,
        accept: bytes = ANY_TYPE,
    ) -> Reply:
        """Send a request and wait for the complete response.

        Args:
            target: Path and query.
            within: Timeout in seconds, connecting included.
            max_body: Limit for the response's body, in bytes.
            accept: Media types that the body may have.

        Raises:
            ClientError: There is no complete response.
        """
        line = b"GET %b HTTP/1.1\r\n" % target.encode("ascii")
        request = b"%b%bAccept: %b\r\n\r\n" % (line, self._fields, accept)
        try:
            async with asyncio.timeout(within):
                return await self._exchange(request, max_body)
        except TimeoutError:
            raise ClientError(f"no response within {within:g} s", timed_out=True) from None
        finally:
            if self._connection is not None and not self._connection.is_idle:
                # The response was given up, or the server wants the connection closed.
                self.close()

    def close(self) -> None:
        """Close the connection, if there is one; the next `get` opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _exchange(self, request: bytes, max_body: int) -> Reply:
        if self._connection is not None and self._connection.is_idle:
            try:
                return await self._connection.send(request, max_body)
            except _NotServed:
                pass  # it was closed while idle: once more, on a new connection
        self._connection = await self._connect()
        try:
            return await self._connection.send(request, max_body)
        except _NotServed as error:
            raise ClientError(str(error)) from None

    async def _connect(self) -> "_Connection":
        loop, host = asyncio.get_running_loop(), self._address.host
        try:
            hosts = (host,) if self._address.is_ip else await self._resolver.locate(host)
            name = self._called.tls_name
            to = Endpoint(hosts, self._address.port, tls=self._tls, tls_name=name)
            return await connect(lambda: _Connection(loop, self._idle_timeout), to)
        except TimeoutError:
            # Of the kernel or the TLS handshake; ours arrives as a cancellation.
            raise ClientError("connecting takes too long", timed_out=True) from None
        except OSError as error:
            is_ours = error.errno in OWN_LIMITS
            reason = f"cannot connect: {in_few_words(error)}"
            raise ClientError(reason, is_own_limit=is_ours) from None


def request_fields(address: ServerAddress, api_key: str | None) -> list[tuple[bytes, bytes]]:
    """Return the headers of each of our requests to a server."""
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
    """Return why connecting failed, without repeating the address."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, (ssl.SSLError, socket.gaierror)):
        return str(error.strerror or error)
    if error.errno:
        return os.strerror(error.errno)  # asyncio's own text repeats the address.
    return str(error)


class _NotServed(Exception):
    """The connection ended without a byte of the response."""


class _Connection(asyncio.Protocol):
    """One connection: carries one request at a time, and collects the response."""

    __slots__ = ("_body", "_framer", "_head", "_idle_timeout", "_idle_timer", "_idle_until",
                 "_loop", "_max_body", "_received", "_size", "_transport", "_unwrapper",
                 "_waiter")  # fmt: skip

    def __init__(self, loop: asyncio.AbstractEventLoop, idle_timeout: float) -> None:
        # Connection
        self._loop = loop
        self._idle_timeout = idle_timeout
        self._idle_until = 0.0
        self._idle_timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self._framer = ResponseFramer(HeadMatcher(_KNOWN_HEADS), MAX_HEAD_BYTES)
        self._body: list[bytes] = []
        # Request; `send` sets the rest of it
        self._waiter: asyncio.Future[Reply] | None = None

    def _start(self, max_body: int) -> None:
        self._framer.start(b"GET")
        self._head: ReplyHead | None = None
        self._unwrapper: Unwrapper | None = None
        self._body = []
        self._max_body = max_body
        self._size = 0  # bytes of the body, its chunked coding taken off
        self._received = 0  # bytes of all

    @property
    def is_idle(self) -> bool:
        """True if it can take a request."""
        return self._transport is not None and self._waiter is None

    async def send(self, request: bytes, max_body: int) -> Reply:
        """Send a request and return the response.

        Raises:
            _NotServed: The connection ended before the first byte of the response, or is closed.
            ClientError: The response is broken, too long, or truncated.
        """
        if self._transport is None:
            # A proxy whose server is gone accepts connections, and closes them.
            raise _NotServed("the connection was closed as soon as it was made")
        assert self._waiter is None, "a request is in progress"
        self._start(max_body)
        self._waiter = self._loop.create_future()
        self._transport.write(request)
        return await self._waiter

    def close(self) -> None:
        """Close at once; a request in progress is given up."""
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        if self._transport is not None:
            self._transport.abort()
            self._transport = None
        # Its megabytes would live until garbage is collected: an exception refers to its frames.
        self._body = []

    # From the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class

    def data_received(self, data: bytes) -> None:
        if self._waiter is None or self._waiter.done():
            self.close()  # unsolicited bytes
            return
        self._received += len(data)
        framer = self._framer
        if self._head is None:
            data = self._read_heads(data)
        elif not framer.passes(data):
            data = framer.end_body(data)
        self._collect(data)
        if self._is_too_long():
            self._fail(f"the response is longer than {self._max_body} bytes")
        elif len(self._body) > MAX_PIECES:
            self._fail(f"the response comes in more than {MAX_PIECES} pieces")
        elif framer.end is not None:
            self._end(framer.end)

    def eof_received(self) -> None:
        self._lose(in_order=True, error=None)

    def connection_lost(self, error: Exception | None) -> None:
        self._lose(in_order=False, error=error)
        self._framer.release()

    # The response

    def _read_heads(self, data: bytes) -> bytes:
        """Read heads up to the response's own; return the body that came with it."""
        found = self._framer.read_head(data)
        while found is not None and not found[0].is_final():
            found = self._framer.read_head(b"")
        if found is None:
            return b""
        self._head, _, first_body = found
        if self._head.body is Body.CHUNKED:
            self._unwrapper = Unwrapper()
        return first_body

    def _collect(self, data: bytes) -> None:
        if self._unwrapper is not None:
            data = self._unwrapper.feed(data)
        self._size += len(data)
        self._body.append(data)

    def _is_too_long(self) -> bool:
        overhead = self._received - self._size
        return self._size > self._max_body or overhead > MAX_OVERHEAD_BYTES

    def _lose(self, in_order: bool, error: Exception | None) -> None:
        """Act on the end of the connection."""
        if self._waiter is None or self._waiter.done():
            self.close()
        elif not self._received:
            self._waiter.set_exception(_NotServed("the connection was closed without an answer"))
            self.close()
        else:
            self._end(self._framer.close(in_order, error))

    def _end(self, end: ReplyEnd) -> None:
        if end is ReplyEnd.REUSABLE or end is ReplyEnd.SPENT:
            self._complete()
            if end is ReplyEnd.SPENT:
                self.close()
        elif end is ReplyEnd.CLOSED or end is ReplyEnd.LOST:
            self._fail(f"the response breaks HTTP: it is truncated ({self._framer.reason})")
        else:
            self._fail(self._framer.reason)

    def _complete(self) -> None:
        assert self._head is not None, "a body ends after its head"
        assert self._waiter is not None, "a response ends while it is awaited"
        ends_with_connection = self._head.body is Body.UNTIL_CLOSE
        reply = Reply(self._head.status, b"".join(self._body), ends_with_connection)
        self._waiter.set_result(reply)
        self._waiter = None
        self._body = []
        self._idle_until = self._loop.time() + self._idle_timeout
        if self._idle_timer is None:
            self._idle_timer = self._loop.call_later(self._idle_timeout, self._check_idle)

    def _fail(self, reason: str) -> None:
        assert self._waiter is not None, "only a request can fail"
        self._waiter.set_exception(ClientError(reason))
        self.close()

    def _check_idle(self) -> None:
        """Close after a long idle time, else check again: one timer serves many requests."""
        self._idle_timer = None
        if self._waiter is not None:
            return  # the end of its response sets the next
        left = self._idle_until - self._loop.time()
        if left > 0:
            self._idle_timer = self._loop.call_later(left, self._check_idle)
        else:
            self.close()
