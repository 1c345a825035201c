"""The data plane in the test's process, with real sockets and a real score table."""

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator, Sequence
from itertools import zip_longest

import msgspec

from fastroute.cli.run_router import metrics_reply
from fastroute.cli.run_worker import models_endpoint, own_endpoints
from fastroute.config import Config
from fastroute.control.metrics import Numbers
from fastroute.ipc.messages import Configure, Message, MetricsRequest, RoutedServer
from fastroute.ipc.request_record import RequestRecord
from fastroute.ipc.score_table import ScoreTable
from fastroute.ipc.table_layout import MODEL_COUNTERS
from fastroute.proxy.client import ClientConnection
from fastroute.proxy.context import WorkerContext
from fastroute.proxy.metrics_relay import MetricsRelay
from fastroute.proxy.own_replies import Listener
from fastroute.proxy.worker import Worker
from fastroute.rules.server_state import ServerState
from tests.support.counts import ENDINGS, counts
from tests.support.kept_messages import KeptMessages
from tests.support.score_table import put_server
from tests.support.standins import until


class Router:
    """One worker's data plane, listening.

    Attributes:
        port: Its port on 127.0.0.1.
        state: The worker's state; `state.cells` has its counters.
        table: The score table.
        metrics: What its requests for /metrics wait in.
        observed: Observations of servers sent to the supervisor, oldest first.
        metrics_requests: Requests for /metrics that it relayed.
        renders_metrics: Whether those are answered, a moment later.
    """

    def __init__(
        self, state: WorkerContext, metrics: MetricsRelay, link: "RouterLink", port: int
    ) -> None:
        self.state = state
        self.metrics = metrics
        self.table = state.table
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.observed = link.observed
        self.metrics_requests: list[MetricsRequest] = []
        self.renders_metrics = True
        self._link = link
        link.router = self

    def take_metrics_request(self, request: MetricsRequest) -> None:
        """Note a request for /metrics, and answer it if they are rendered."""
        self.metrics_requests.append(request)
        if self.renders_metrics:
            self.state.loop.call_soon(self.render_metrics, request)

    def render_metrics(self, request: MetricsRequest) -> None:
        """Answer a request for /metrics, as the supervisor does."""
        numbers = Numbers(self.table.snapshot(), self.state.configured, self.state.losses)
        self.metrics.take(metrics_reply(numbers, request))

    def records(self) -> list[RequestRecord]:
        """Records of ended requests, oldest first."""
        if self.state.recorder is not None:
            self.state.recorder.flush()
        return self._link.records

    def configure(
        self,
        *servers: dict,
        model_slots: Sequence[str] = (),
        models_json: bytes | None = None,
        **settings,
    ) -> None:
        """Apply changes, like a message of the supervisor.

        Args:
            servers: For each server in its order, fields of RoutedServer that change, or `state`.
            model_slots: Models with separate counters.
            models_json: Response to GET /v1/models.
            settings: Fields of Config that change.
        """
        before = self.state.configured
        changed = []
        for server, fields in zip_longest(before.servers, servers, fillvalue={}):
            told = {"state": ServerState.UP, **fields}
            put_server(self.table, server.row, ServerState(told.pop("state")))
            changed.append(msgspec.structs.replace(server, **told))
        self.state.configure(
            Configure(
                config=msgspec.structs.replace(before.config, **settings),
                servers=tuple(changed),
                model_slots=tuple(model_slots),
                models_json=models_json,
                mark=before.mark,
            )
        )

    def remove(self, *rows: int) -> None:
        """Remove servers, as a change of the file does."""
        before = self.state.configured
        left = tuple(server for server in before.servers if server.row not in rows)
        self.state.configure(msgspec.structs.replace(before, servers=left))

    def total(self, counter: str) -> int:
        """Sum a counter over all servers."""
        return sum(counts(self.state.cells, counter))

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a client connection."""
        return await asyncio.open_connection("127.0.0.1", self.port, limit=2**24)

    async def ask(self, raw: bytes, *, timeout: float = 10.0) -> bytes:
        """Send bytes on a separate connection and return all received bytes until it closes.

        The bytes must make the router close: a last request with Connection: close, or an error.
        """
        reader, writer = await self.connect()
        try:
            writer.write(raw)
            async with asyncio.timeout(timeout):
                return await reader.read()
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def get_json(self, path: str) -> tuple[int, dict]:
        """GET one of fastroute's own endpoints."""
        reply = await self.ask(
            f"GET {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n".encode()
        )
        head, _, body = reply.partition(b"\r\n\r\n")
        return int(head.split()[1]), json.loads(body)


class RouterLink(KeptMessages):
    """The link of a router, which answers requests for /metrics itself."""

    __slots__ = ("router",)

    router: Router

    def report(self, message: Message) -> None:
        if isinstance(message, MetricsRequest):
            self.router.take_metrics_request(message)
        else:
            super().report(message)


@contextlib.asynccontextmanager
async def running_router(
    urls: Sequence[str], *, capacity: int, workers: int, settings: dict
) -> AsyncIterator[Router]:
    """Run the data plane; check at the end that all gauges are 0."""
    loop = asyncio.get_running_loop()
    table = ScoreTable.create(rows=max(8, len(urls)), workers=workers)
    link = RouterLink()
    state = WorkerContext(loop, table, table.worker_cells(0), link)
    servers = []
    for row, url in enumerate(urls):
        table.servers.capacity[row] = capacity
        put_server(table, row)
        servers.append(
            RoutedServer(row=row, generation=1, url=url, max_concurrent_requests=capacity)
        )
    config = Config(servers=(), **settings)
    mark = secrets.token_hex(4)
    state.configure(Configure(config=config, servers=tuple(servers), mark=mark))
    metrics = MetricsRelay(state)
    listener = Listener(own_endpoints(state, metrics) | models_endpoint(state))
    server = await loop.create_server(lambda: ClientConnection(state, listener), "127.0.0.1", 0)
    worker = Worker(state, [], metrics)
    worker.keep_time()
    router = Router(state, metrics, link, server.sockets[0].getsockname()[1])
    try:
        yield router
        await until(lambda: not any(table.in_flight_totals()))
        for client in state.clients:
            client._transport.abort()
        await until(lambda: not state.clients)
        assert not any(table.in_flight_totals())
        assert state.cells.process.client_connections[0] == 0
        cells = state.cells
        ended = map(sum, zip(*(counts(cells, ending) for ending in ENDINGS), strict=True))
        assert counts(cells, "started") == list(ended), "each attempt is counted exactly once"
        answered = sum(sum(getattr(cells.models, outcome)) for outcome in MODEL_COUNTERS)
        unrouted = cells.process.unrouted_503[0]
        assert answered + unrouted == state.ledger.requests, "each request is counted exactly once"
        if settings.get("access_log", "off") != "off":
            own = (cells.process.requests_local, cells.process.requests_refused)
            count = state.ledger.requests + cells.process.unknown_models[0] + sum(n[0] for n in own)
            assert len(router.records()) == count, "each request is told of exactly once"
    finally:
        worker.stop_keeping_time()
        server.close()
        for client in state.clients:
            client._transport.abort()
        for pool in state.router.servers:
            pool.close_idle()
        await asyncio.sleep(0)  # let aborted transports notify their protocols
        await until(lambda: not state.clients)
