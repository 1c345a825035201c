"""What all connections of one worker share."""

import asyncio
import os
import ssl
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from random import Random
from typing import Protocol

from fastroute.config import Config
from fastroute.messages import RoutedServer
from fastroute.proxy.local import LocalEndpoint
from fastroute.proxy.pool import ServerPool
from fastroute.rules.policy import least_in_flight
from fastroute.score_table import ScoreTable, WorkerCells


class Sweepable(Protocol):
    """A client connection, as the worker's sweep and drain see it."""

    def sweep(self, now: float) -> None:
        """Act on deadlines that have passed."""

    def drain(self) -> None:
        """Close now if idle, else after the answer in hand."""

    def abort(self) -> None:
        """Close at once."""


class WorkerState:
    """Settings, servers, counters and clients of one worker.

    Attributes:
        now: Loop time in seconds at the last sweep. Deadlines are set from it: reading it costs no
            call, and they need not be more exact than the sweep that acts on them.
        draining: Whether answers must close their connections.
        clients: All open client connections.
        local: Endpoints that fastroute answers itself, by path.
        routed: The servers as the supervisor named them.
        by_status_class: The counters of finished requests; index 2 is 2xx.
    """

    __slots__ = (
        "_request_ids",
        "_request_prefix",
        "_tls",
        "by_status_class",
        "cells",
        "clients",
        "config",
        "draining",
        "in_flight",
        "local",
        "loop",
        "now",
        "rng",
        "routed",
        "servers",
        "table",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        table: ScoreTable,
        cells: WorkerCells,
        local: Mapping[bytes, LocalEndpoint],
    ) -> None:
        self.loop = loop
        self.now = loop.time()
        self.table = table
        self.cells = cells
        self.local = local
        self.config = Config(servers=())
        self.routed: tuple[RoutedServer, ...] = ()
        self.servers: tuple[ServerPool, ...] = ()
        self.draining = False
        self.clients: set[Sweepable] = set()
        self.rng = Random().random
        self.in_flight: Callable[[], Sequence[int]] = table.in_flight_totals
        self.by_status_class = (
            *(cells.finished_2xx,) * 3,
            cells.finished_3xx,
            cells.finished_4xx,
            *(cells.finished_5xx,) * 5,
        )
        self._tls = ssl.create_default_context()
        self._request_prefix = os.urandom(8).hex().encode()
        self._request_ids = count(1)

    def configure(self, config: Config, servers: Sequence[RoutedServer]) -> None:
        """Put settings and servers in force; exchanges under way keep the server they have."""
        for server in self.servers:
            server.close_idle()
        self.config = config
        self.routed = tuple(servers)
        self.servers = tuple(ServerPool(s, config, self.loop, self._tls) for s in servers)

    def choose(self, tried: Sequence[ServerPool]) -> ServerPool | None:
        """Choose a server that has not been tried yet for this request."""
        return least_in_flight(self.servers, self.in_flight(), tried, self.rng)

    def new_request_id(self) -> bytes:
        """Return an id no other request has: 16 random hex digits of this worker and a count."""
        return b"%b-%08x" % (self._request_prefix, next(self._request_ids))
