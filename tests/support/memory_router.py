"""The data plane over in-memory transports: real connections, exchange, pool and score table."""

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import Callable, Coroutine, Iterator

from fastroute.config import Config
from fastroute.ipc.messages import Configure, RoutedServer
from fastroute.ipc.score_table import ScoreTable
from fastroute.proxy.client import ClientConnection
from fastroute.proxy.context import WorkerContext
from fastroute.proxy.own_replies import Listener
from fastroute.proxy.server import Server
from fastroute.proxy.upstream import UpstreamConnection
from tests.support.counts import ENDINGS, counts
from tests.support.judge import judge_replies
from tests.support.kept_messages import KeptMessages
from tests.support.memory_transport import End, MemoryTransport
from tests.support.score_table import put_server
from tests.support.standins import until


class StillLoop:
    """A loop that never runs, for exchanges that find an idle connection.

    Attributes:
        now: Result of `time()`, in seconds.
        has_turns: False to run callbacks at once, so that no turn of the loop is ever over.
    """

    def __init__(self) -> None:
        self.now = 1000.0
        self.has_turns = False
        self._soon: list[Callable[[], None]] = []

    def time(self) -> float:
        return self.now

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._soon.append(callback)
        if not self.has_turns:
            self.turn()

    def turn(self) -> None:
        """Run the callbacks."""
        soon, self._soon = self._soon, []
        for callback in soon:
            callback()

    def create_task(self, coroutine: Coroutine) -> None:
        coroutine.close()
        raise AssertionError("a connection was opened; none was at hand")


class MemoryPool(Server):
    """A pool with in-memory connections.

    Attributes:
        upstreams: Transports of all connections, oldest first.
        failures: Exceptions of the next attempts to connect; None for success.
        hold: While set, attempts to connect hang.
        ends_at_once: True if the server closes connections as soon as they are made.
    """

    __slots__ = ("_loop", "ends_at_once", "failures", "hold", "upstreams")

    def __init__(self, server: RoutedServer, state: WorkerContext) -> None:
        router = state.router
        super().__init__(server, state.settings.config, router._tls, router._resolver)
        self._loop = state.loop
        self.upstreams: list[MemoryTransport] = []
        self.failures: deque[OSError | None] = deque()
        self.hold = False
        self.ends_at_once = False

    def open(self) -> UpstreamConnection:
        """Connect."""
        upstream = UpstreamConnection(self, self._max_head_bytes)
        self.upstreams.append(MemoryTransport(upstream))
        return upstream

    async def connect(self, within: float) -> UpstreamConnection:
        async with asyncio.timeout(within):
            while self.hold:
                await asyncio.sleep(0)
        failure = self.failures.popleft() if self.failures else None
        if failure is not None:
            raise failure
        upstream = self.open()
        if self.ends_at_once:
            self.upstreams[-1].lose(None)
        return upstream

    def ready(self, *, reused: bool = False) -> MemoryTransport:
        """Add a connection to the pool, as new or as reused."""
        upstream = self.open()
        self.give_back(upstream, self._loop.time())
        upstream.reused = reused
        return self.upstreams[-1]


class MemoryRouter:
    """One worker's data plane.

    Attributes:
        state: The worker's state.
        pools: Pools of its servers.
        table: The score table.
        local: Endpoints of fastroute itself, by path.
    """

    def __init__(self, loop: object, *, servers: int = 1, **settings) -> None:
        self.loop = loop
        self.table = ScoreTable.create(rows=max(servers, 1), workers=1)
        self.local: dict = {}
        self.link = KeptMessages()
        self.state = WorkerContext(loop, self.table, self.table.worker_cells(0), self.link)
        self.routed = tuple(
            RoutedServer(
                row=row, generation=1, url=f"http://server-{row}:8000", max_concurrent_requests=8
            )
            for row in range(servers)
        )
        for row in range(servers):
            self.table.servers.capacity[row] = 8
            put_server(self.table, row)
        config = Config(servers=(), **settings)
        self.state.configure(Configure(config=config, servers=()))
        self.pools = [MemoryPool(server, self.state) for server in self.routed]
        # A pool lives as long as its server, so the data plane reuses these.
        self.state.router.servers = tuple(self.pools)
        self.state.configure(Configure(config=config, servers=self.routed))
        assert self.state.router.servers == tuple(self.pools)

    @property
    def pool(self) -> MemoryPool:
        """Return the pool of the first server."""
        return self.pools[0]

    def client(self, address: str = "192.0.2.7") -> MemoryTransport:
        """Accept a client."""
        return MemoryTransport(ClientConnection(self.state, Listener(self.local)), address)

    def sweep(self, seconds: float = 0.0) -> None:
        """Advance the time of a loop that does not run, and let the worker check deadlines."""
        self.loop.now += seconds
        self.state.stamp = self.loop.time()
        for client in self.state.clients:
            client.sweep(self.state.stamp)
        self.state.buffered = sum(client.held_bytes() for client in self.state.clients)

    async def asked(self, server: int = 0, count: int = 1) -> MemoryTransport:
        """Wait until a server has its `count`-th connection, with a request on it."""
        upstreams = self.pools[server].upstreams
        await until(lambda: len(upstreams) == count and upstreams[-1].writes)
        return upstreams[-1]

    def count(self, counter: str) -> int:
        """Sum a counter over all servers."""
        return sum(counts(self.state.cells, counter))

    def check_settled(self) -> None:
        """Assert that nothing is in flight, and that each attempt was counted exactly once."""
        cells = self.state.cells
        assert not any(self.table.in_flight_totals())
        assert self.count("started") == sum(self.count(outcome) for outcome in ENDINGS)
        assert cells.process.client_connections[0] == len(self.state.clients)

    def close(self) -> None:
        """Close all connections, and check the counters."""
        for client in self.state.clients:
            client._transport.abort()
            client._transport.settle()
        self.check_settled()
        assert not self.state.clients
        for pool in self.pools:
            pool.close_idle()
            for upstream in pool.upstreams:
                upstream.settle()


@contextlib.contextmanager
def memory_router(loop: object = None, **options) -> Iterator[MemoryRouter]:
    """Run a data plane and check its counters at the end; without a loop time does not advance."""
    router = MemoryRouter(loop or StillLoop(), **options)
    yield router
    router.close()
    router.table.close()


def own_error(client: MemoryTransport) -> tuple[int, str]:
    """Return status and message of the error that a client received."""
    closed = client.wrote_eof or client.end is End.CLOSED
    [judged] = judge_replies(client.written(), [b"GET"], closed=closed)
    assert judged.whole
    error = json.loads(judged.body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == judged.status
    return judged.status, error["message"]
