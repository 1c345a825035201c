"""Fastroute's own data plane with the event loop's transports replaced by recording ones.

All parts of fastroute are real: worker state, score table, pool, exchange and both kinds
of connections. A benchmark therefore measures the user-space cost, without kernel and event loop.
"""

import asyncio

from benchmarks.comparison import traffic
from fastroute.config import config_from_urls
from fastroute.ipc.messages import Configure, Message, RoutedServer, encode
from fastroute.ipc.score_table import ScoreTable
from fastroute.proxy.client import ClientConnection, Listener
from fastroute.proxy.context import WorkerContext
from fastroute.proxy.supervisor_link import SupervisorLink
from fastroute.proxy.upstream import UpstreamConnection
from fastroute.rules.server_state import ServerState

# The size that the supervisor uses for a few servers: choosing must not depend on empty rows.
_ROWS = 256


class RecordingTransport(asyncio.Transport):
    """Replaces uvloop's transport: keeps the last write and counts writes."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.written: bytes = b""
        self.writes = 0
        protocol.connection_made(self)

    def write(self, data: bytes) -> None:
        self.written = data
        self.writes += 1

    def writelines(self, parts: list[bytes]) -> None:
        self.write(b"".join(parts))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Return 0: nothing is ever buffered here."""

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: object = None) -> object:
        return ("127.0.0.1", 50000) if name == "peername" else default

    def pause_reading(self) -> None:
        raise AssertionError("a benchmark's client always keeps up")

    def abort(self) -> None:
        raise AssertionError("a connection was aborted: the benchmark measures an error")

    close = abort


class EncodingLink(SupervisorLink):
    """Encodes messages, as on their way to the supervisor, and keeps the last one."""

    def __init__(self) -> None:
        super().__init__()
        self.last: Message | None = None

    def report(self, message: Message) -> None:
        encode(message)
        self.last = message


class InMemoryWorker:
    """One worker, one client, and an idle connection to each server."""

    def __init__(self, servers: int) -> None:
        self.loop = asyncio.new_event_loop()
        self.table = ScoreTable.create(max(_ROWS, 2 * servers), 1)
        self.link = EncodingLink()
        self.state = WorkerContext(self.loop, self.table, self.table.worker_cells(0), self.link)
        urls = [f"http://127.0.0.1:{9000 + number}" for number in range(servers)]
        routed = [
            RoutedServer(
                row=row, generation=1, url=url, max_concurrent_requests=64, models=(traffic.MODEL,)
            )
            for row, url in enumerate(urls)
        ]
        for row in range(servers):
            self.table.servers.generation[row] = 1
            self.table.set_state(row, ServerState.UP)
        self.state.configure(
            Configure(
                config=config_from_urls(urls, 64),
                servers=tuple(routed),
                model_slots=(traffic.MODEL,),
            )
        )
        self.upstreams: dict[RecordingTransport, UpstreamConnection] = {}
        for server in self.state.router.servers:
            upstream = UpstreamConnection(server, self.state.settings.config.max_header_bytes)
            self.upstreams[RecordingTransport(upstream)] = upstream
            server.give_back(upstream, self.state.stamp)
        self.client = ClientConnection(self.state, Listener({}))
        self.client_transport = RecordingTransport(self.client)

    def ask(self, body: bytes) -> UpstreamConnection:
        """Let a request arrive; return the connection to which it was forwarded."""
        before = {transport: transport.writes for transport in self.upstreams}
        self.client.data_received(traffic.request_head("127.0.0.1:8888", body) + body)
        (used,) = (one for one, writes in before.items() if one.writes > writes)
        return self.upstreams[used]

    def close(self) -> None:
        self.table.close()
        self.loop.close()
