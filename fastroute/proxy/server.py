"""One vLLM server in a worker: its settings, its idle connections, and the opening of new ones."""

import asyncio
import ssl
from collections.abc import Callable
from typing import Final, cast

from fastroute.config import Config
from fastroute.ipc.messages import RoutedServer
from fastroute.net.connecting import Endpoint, connect
from fastroute.net.resolver import Resolver
from fastroute.proxy.upstream import UpstreamConnection
from fastroute.rules.head_match import HeadMatcher
from fastroute.rules.policy import Candidate
from fastroute.rules.server_state import ServerState
from fastroute.server_address import ServerAddress

# Number of remembered heads of responses. They differ by the date, so this lasts for a minute.
KNOWN_REPLIES: Final = 64
# Maximum number of connections per worker that are being opened. An accept queue often has 128
# entries (somaxconn of older systems, backlog of many servers); connections beyond are dropped.
MAX_CONNECTS = 64
# Access through the class takes 60 ns on Python 3.11.
FREE: Final = ServerState.FREE


class Server(Candidate):
    """One server as a worker sees it.

    Idle connections are used newest first: the server is least likely to have closed the most
    recent one, and unused ones reach their timeout. The number of connections is not limited,
    because vLLM has its own queue.

    Attributes:
        row: The server's row in the score table.
        generation: Number that distinguishes it from earlier servers with the same row.
        capacity: Number of requests that it can run at once, multiplied by its weight.
        state: State, as last read from the score table.
        models: Names of its models, or None if they are unknown.
        url: URL as configured.
        authority: Host and port for the Host header.
        authorization: Value that replaces the client's Authorization header, or None.
        known_replies: Remembered heads of its responses.
    """

    __slots__ = (
        "_address",
        "_connects",
        "_discovered_from",
        "_idle",
        "_idle_timeout",
        "_is_ip",
        "_last_address",
        "_max_head_bytes",
        "_resolver",
        "_tcp_timeout",
        "_tls",
        "_tls_name",
        "authority",
        "authorization",
        "generation",
        "known_replies",
        "models",
        "state",
        "url",
    )

    authority: bytes
    authorization: bytes | None
    _idle_timeout: float
    _tcp_timeout: float
    _max_head_bytes: int

    def __init__(
        self,
        server: RoutedServer,
        config: Config,
        tls: Callable[[], ssl.SSLContext],
        resolver: Resolver,
    ) -> None:
        self._resolver = resolver
        self._idle: list[UpstreamConnection] = []
        self._connects = asyncio.Semaphore(MAX_CONNECTS)
        self._last_address = ""
        self.known_replies: HeadMatcher = HeadMatcher(KNOWN_REPLIES)
        self.url = server.url
        self._address = ServerAddress.from_url(server.url)
        self._is_ip: bool = self._address.is_ip
        self._tls = tls() if self._address.tls else None
        self._set_name(server)
        self.row = server.row
        self.generation = server.generation
        self.state = ServerState.FREE
        self.configure(server, config)

    def configure(self, server: RoutedServer, config: Config) -> None:
        """Apply settings that may change while the server stays the same."""
        self.capacity = server.max_concurrent_requests * server.weight
        self.models = server.models
        key = server.api_key
        self.authorization = None if key is None else b"Bearer " + key.encode()
        if server.discovered_from != self._discovered_from:
            # With another name it may be another server.
            self.close_idle()
            self._set_name(server)
        self._idle_timeout = config.pool_idle_timeout
        self._max_head_bytes = config.max_header_bytes
        self._tcp_timeout = config.tcp_timeout

    def _set_name(self, server: RoutedServer) -> None:
        self._discovered_from = server.discovered_from
        named = ServerAddress.from_url(server.discovered_from or server.url)
        self.authority = named.authority.encode()
        self._tls_name = named.tls_name

    def __repr__(self) -> str:
        return f"<Server {self.url} row={self.row} idle={len(self._idle)}>"

    def resolve_ahead(self) -> None:
        """Resolve its name in advance, so that no request waits for the resolution."""
        if not self._is_ip:
            self._resolver.prefetch(self._address.host)

    async def connect(self, within: float) -> UpstreamConnection:
        """Open a connection to the first address of its name that accepts it.

        Args:
            within: Seconds for it, and as many for waiting while others are opened: that shows
                nothing about the server, unless they all take so long.

        Raises:
            TimeoutError: It took too long.
            OSError: The name has no address, no address accepts the connection, or TLS failed.
        """
        async with asyncio.timeout(within):
            await self._connects.acquire()
        try:
            async with asyncio.timeout(within):
                return await self._connect()
        finally:
            self._connects.release()

    async def _connect(self) -> UpstreamConnection:
        host = self._address.host
        addresses = (host,) if self._is_ip else await self._resolver.locate(host)
        if self._last_address in addresses:
            # Otherwise an address that drops packets would delay each connection.
            addresses = (
                self._last_address,
                *(each for each in addresses if each != self._last_address),
            )
        to = Endpoint(addresses, self._address.port, self._tls, self._tls_name, self._tcp_timeout)
        upstream = await connect(
            lambda: cast(asyncio.Protocol, UpstreamConnection(self, self._max_head_bytes)), to
        )
        connection = cast(UpstreamConnection, upstream)
        if len(addresses) > 1:
            self._last_address = connection.transport.get_extra_info("peername")[0]
        return connection

    def take_idle(self, now: float) -> UpstreamConnection | None:
        """Return the newest idle connection, or None if there is none or it is too old."""
        if not self._idle:
            return None
        upstream: UpstreamConnection = self._idle.pop()
        if now - upstream.idle_since < self._idle_timeout:
            return upstream
        upstream.cancel()
        self.close_idle()  # all others are older still
        return None

    def give_back(self, upstream: UpstreamConnection, now: float) -> None:
        """Keep a connection for the next request; close it if the server was removed."""
        if self.state is FREE:
            upstream.cancel()
            return
        upstream.reused = True
        upstream.idle_since = now
        self._idle.append(upstream)

    def forget_idle(self, upstream: UpstreamConnection) -> None:
        """Remove an idle connection that the server closed."""
        if upstream in self._idle:
            self._idle.remove(upstream)

    def expire_idle(self, now: float) -> None:
        """Close connections that have been idle for too long, oldest first."""
        while self._idle and now - self._idle[0].idle_since >= self._idle_timeout:
            self._idle.pop(0).cancel()

    def retire(self) -> None:
        """Mark the server as removed; exchanges in progress finish."""
        self.state = ServerState.FREE
        self.close_idle()

    def close_idle(self) -> None:
        """Close all idle connections."""
        idle, self._idle = self._idle, []
        for upstream in idle:
            upstream.cancel()
