"""What all connections of one worker share."""

import asyncio
import os
from collections.abc import Callable
from typing import Final, Protocol

from fastroute.config import Config
from fastroute.ipc.messages import (
    Configure,
    Health,
    Losses,
    Message,
    Observed,
    StateReasons,
    Unrouted,
)
from fastroute.ipc.score_table import ScoreTable, WorkerCells
from fastroute.proxy.ledger import Ledger
from fastroute.proxy.recorder import Recorder
from fastroute.proxy.router import Router
from fastroute.proxy.server import Server
from fastroute.rules.head_match import HeadMatcher
from fastroute.rules.health_event import Event
from fastroute.rules.server_state import ServerState

# One for each kind of client and key. A head and what is found in it take 2 KB, and as much for
# each server and client address it is rendered for; 18 MB if somebody sets out to fill it.
KNOWN_REQUESTS: Final = 256
# The last two digits of request ids: to format all eight for each costs 0.3 us.
_LOW_DIGITS: Final = [b"%02x" % number for number in range(256)]


class Sweepable(Protocol):
    """A client connection, as the worker's sweep and drain see it."""

    def sweep(self, now: float) -> None:
        """Act on deadlines that have passed."""

    def drain(self) -> None:
        """Close now if idle, else after the answer in hand."""

    def cut(self) -> bool:
        """Close at once, but not so that a part of a reply looks whole; whether there was one."""


class WorkerContext:
    """Settings, servers, counters and clients of one worker.

    Attributes:
        stamp: Loop time in seconds of the coming sweep. Deadlines are set from it: reading it
            costs no call, and so they may pass late, by a sweep at the most, but never early.
        draining: Whether answers must close their connections.
        clients: All open client connections.
        uncounted: How many of them do not count against `max_connections`.
        configured: The last Configure, for the views.
        health: The last Health, for the views.
        reasons: The last StateReasons, for the views.
        retry_on: The setting, as a set.
        max_retries: The setting; like the next it is looked at for each request.
        client_idle_timeout: The setting, in seconds.
        known_requests: Heads of clients' requests.
        failing: Rows of servers whose last request failed.
        report: Sends a message to the supervisor.
        backlog: Returns how many bytes of messages wait to be sent.
        recorder: Takes records of ended requests, or None if nobody wants them.
        follows: Whether a request's way is noted: for the recorder, or for `explain`.
        losses: The last Losses, for the views.
        unrouted: The last Unrouted, for the views.
        client_left: Called for each client that goes while draining.
        ledger: The counts of requests.
    """

    __slots__ = (
        "_recorder",
        "_request_block",
        "_request_ids",
        "_request_prefix",
        "backlog",
        "cells",
        "client_idle_timeout",
        "client_left",
        "clients",
        "config",
        "configured",
        "draining",
        "failing",
        "follows",
        "health",
        "known_requests",
        "ledger",
        "loop",
        "losses",
        "max_retries",
        "reasons",
        "recorder",
        "report",
        "retry_on",
        "router",
        "stamp",
        "table",
        "uncounted",
        "unrouted",
    )

    config: Config
    client_idle_timeout: float
    max_retries: int

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        table: ScoreTable,
        cells: WorkerCells,
    ) -> None:
        self.loop = loop
        self.stamp: float = loop.time()
        self.table = table
        self.cells = cells
        self.ledger = Ledger(cells)
        self.router = Router(loop, table)
        self.configured = Configure(config=Config(servers=()), servers=())
        self._put_in_force(self.configured.config)
        self.health = Health(servers={})
        self.reasons = StateReasons()
        self.draining = False
        self.known_requests: HeadMatcher = HeadMatcher(KNOWN_REQUESTS)
        self.clients: set[Sweepable] = set()
        self.uncounted = 0
        self.failing: set[int] = set()
        self.report: Callable[[Message], None] = lambda _: None
        self.backlog: Callable[[], int] = lambda: 0
        self._recorder = Recorder(self, cells.process.records_lost)
        self.recorder: Recorder | None = None
        self.follows = False
        self.losses = Losses()
        self.unrouted = Unrouted()
        self.client_left: Callable[[], None] = lambda: None
        self._request_prefix: bytes = os.urandom(8).hex().encode() + b"-"
        self._request_block = b""
        self._request_ids = 0

    def configure(self, configured: Configure) -> None:
        """Put settings and servers in force; exchanges under way keep the server they have."""
        for server in configured.servers:
            if self.ledger.clear(server.row, server.generation):
                self.failing.discard(server.row)
        self.configured = configured
        self._put_in_force(configured.config)
        self.router.configure(configured)
        self._recorder.flush()
        is_recorded = self.config.access_log != "off" or bool(self.config.otlp_endpoint)
        self.recorder = self._recorder if is_recorded else None
        self.follows = is_recorded or self.config.explain

    def _put_in_force(self, config: Config) -> None:
        self.config = config
        self.retry_on = frozenset(config.retry_on)
        self.max_retries = config.max_retries
        self.client_idle_timeout = config.client_idle_timeout

    def new_request_id(self) -> bytes:
        """Return an id no other request has: 16 random hex digits of this worker and a count."""
        low: int = self._request_ids & 0xFF
        if not low:
            self._request_block = b"%b%06x" % (self._request_prefix, self._request_ids >> 8)
        self._request_ids += 1
        return self._request_block + _LOW_DIGITS[low]

    def observe(self, server: Server, kind: Event, detail: str, retry_after: float = 0.0) -> None:
        """Tell the supervisor what matters for a server's health.

        A success matters after failures and of a server on trial only.
        """
        if kind is Event.REQUEST_OK:
            if server.row not in self.failing and server.state is not ServerState.TRIAL:
                return
            self.failing.discard(server.row)
        elif kind is Event.REQUEST_FAILED:
            self.failing.add(server.row)
        self.report(
            Observed(
                row=server.row,
                generation=server.generation,
                kind=kind,
                detail=detail,
                retry_after=retry_after,
            )
        )
