"""The connections to one vLLM server: a stack of idle ones, and how a new one is made."""

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

# Heads of replies differ by the date: this is a minute of one kind.
KNOWN_REPLIES: Final = 64
# Connections in the making, per worker: an accept queue is often 128 long (somaxconn of older
# systems, backlog of many servers), and what does not fit into it is dropped or reset.
MAX_CONNECTS = 64
# Through the class it costs 60 ns on Python 3.11.
FREE: Final = ServerState.FREE


class Server(Candidate):
    """One server as a worker sees it.

    Newest first: the most recently used connection is the least likely to be closed by the server
    meanwhile, and the oldest can grow old and go. There is no cap on connections: vLLM queues by
    itself, and a queue of ours would only hide that.

    Attributes:
        row: The server's row in the score table.
        generation: Tells it from an earlier server that had the same row.
        capacity: How many requests it can work on at once, times its weight.
        state: What may be asked of it, as last read from the score table.
        models: The names of those it has, or None where they are not known.
        url: As the user wrote it.
        authority: Host and port for the Host field.
        authorization: The Authorization field it wants in place of the client's, or None.
        known_replies: Heads of its replies.
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
        self._call_it(server)
        self.row = server.row
        self.generation = server.generation
        self.state = ServerState.FREE
        self.configure(server, config)

    def configure(self, server: RoutedServer, config: Config) -> None:
        """Take what may change while the server stays the same."""
        self.capacity = server.max_concurrent_requests * server.weight
        self.models = server.models
        key = server.api_key
        self.authorization = None if key is None else b"Bearer " + key.encode()
        if server.discovered_from != self._discovered_from:
            # To another name it might not be the same server.
            self.close_idle()
            self._call_it(server)
        self._idle_timeout = config.pool_idle_timeout
        self._max_head_bytes = config.max_header_bytes
        self._tcp_timeout = config.tcp_timeout

    def _call_it(self, server: RoutedServer) -> None:
        self._discovered_from = server.discovered_from
        called = ServerAddress.from_url(server.discovered_from or server.url)
        self.authority = called.authority.encode()
        self._tls_name = called.tls_name

    def __repr__(self) -> str:
        return f"<Server {self.url} row={self.row} idle={len(self._idle)}>"

    def look_up(self) -> None:
        """Have its name looked up before anybody connects, so that nobody waits for that."""
        if not self._is_ip:
            self._resolver.prefetch(self._address.host)

    async def connect(self) -> UpstreamConnection:
        """Open a connection, to the address of its name that accepts it first.

        Raises:
            OSError: No address, refused, unreachable, or TLS failed.
        """
        host = self._address.host
        addresses = (host,) if self._is_ip else await self._resolver.locate(host)
        if self._last_address in addresses:
            # Else an address that drops packets would cost each connection the delay of the race.
            addresses = (
                self._last_address,
                *(each for each in addresses if each != self._last_address),
            )
        to = Endpoint(addresses, self._address.port, self._tls, self._tls_name, self._tcp_timeout)
        async with self._connects:
            upstream = await connect(
                lambda: cast(asyncio.Protocol, UpstreamConnection(self, self._max_head_bytes)), to
            )
        connection = cast(UpstreamConnection, upstream)
        if len(addresses) > 1:
            self._last_address = connection.transport.get_extra_info("peername")[0]
        return connection

    def take_idle(self, now: float) -> UpstreamConnection | None:
        """Take the newest idle connection that the server will not have closed yet, or None."""
        if not self._idle:
            return None
        upstream: UpstreamConnection = self._idle.pop()
        if now - upstream.idle_since < self._idle_timeout:
            return upstream
        upstream.cancel()
        self.close_idle()  # all others are older still
        return None

    def give_back(self, upstream: UpstreamConnection, now: float) -> None:
        """Keep a connection for the next request, if there can be one."""
        if self.state is FREE:
            upstream.cancel()
            return
        upstream.reused = True
        upstream.idle_since = now
        self._idle.append(upstream)

    def idle_lost(self, upstream: UpstreamConnection) -> None:
        """Forget an idle connection that the server ended."""
        if upstream in self._idle:
            self._idle.remove(upstream)

    def expire_idle(self, now: float) -> None:
        """Close connections that are idle for too long, oldest first."""
        while self._idle and now - self._idle[0].idle_since >= self._idle_timeout:
            self._idle.pop(0).cancel()

    def retire(self) -> None:
        """Take note that the server was removed; exchanges under way finish."""
        self.state = ServerState.FREE
        self.close_idle()

    def close_idle(self) -> None:
        """Close all idle connections."""
        idle, self._idle = self._idle, []
        for upstream in idle:
            upstream.cancel()
