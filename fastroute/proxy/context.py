"""The state that all connections of one worker share."""

import asyncio
from typing import Final

from fastroute.config import Config
from fastroute.ipc.messages import Configure, Health, Losses, StateReasons, Unrouted
from fastroute.ipc.score_table import ScoreTable, WorkerCells
from fastroute.proxy.clients import Clients
from fastroute.proxy.ledger import Ledger
from fastroute.proxy.observer import Observer
from fastroute.proxy.recorder import Recorder
from fastroute.proxy.request_ids import RequestIds
from fastroute.proxy.router import Router
from fastroute.proxy.settings import Settings
from fastroute.proxy.supervisor_link import SupervisorLink
from fastroute.proxy.turns import Turns
from fastroute.rules.head_match import HeadMatcher

# One for each kind of client without a key.
KNOWN_REQUESTS: Final = 256


class WorkerContext:
    """The parts of a worker.

    Attributes:
        loop: Its event loop.
        link: Leads to the supervisor.
        table: The score table.
        cells: Those of this worker.
        stamp: Loop time in seconds of the coming sweep. Deadlines are set from it: reading it
            costs no call, and so they may pass late, by a sweep at the most, but never early.
        settings: The active ones.
        router: Servers, by model.
        ledger: The counts of requests.
        clients: The open client connections.
        observer: Reports evidence about servers.
        recorder: Takes records of ended requests, or None if none are wanted.
        request_ids: Ids for requests that bring none.
        known_requests: Heads of clients' requests.
        buffered: Size of all buffered request bodies in bytes, as of the last timer tick, and of
            what arrived since then.
        turns: Limits what costly work may take in one turn of the event loop.
        configured: The last Configure, for the views, as are the next four.
        health: The last Health.
        reasons: The last StateReasons.
        losses: The last Losses.
        unrouted: The last Unrouted.
    """

    __slots__ = (
        "_recorder",
        "buffered",
        "cells",
        "clients",
        "configured",
        "health",
        "known_requests",
        "ledger",
        "link",
        "loop",
        "losses",
        "observer",
        "reasons",
        "recorder",
        "request_ids",
        "router",
        "settings",
        "stamp",
        "table",
        "turns",
        "unrouted",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        table: ScoreTable,
        cells: WorkerCells,
        link: SupervisorLink,
    ) -> None:
        self.loop = loop
        self.link = link
        self.table = table
        self.cells = cells
        self.stamp: float = loop.time()
        self.configured = Configure(config=Config(servers=()), servers=())
        self.health = Health(servers={})
        self.reasons = StateReasons()
        self.losses = Losses()
        self.unrouted = Unrouted()
        self.settings: Settings = Settings(self.configured.config)
        self.router = Router(table)
        self.ledger = Ledger(cells)
        self.clients = Clients(cells.process.client_connections)
        self.observer = Observer(link.report, self.router)
        self._recorder = Recorder(link, cells.process.records_lost)
        self.recorder: Recorder | None = None
        self.request_ids = RequestIds()
        self.turns = Turns(loop.call_soon)
        self.buffered: int = 0
        self.known_requests: HeadMatcher = HeadMatcher(KNOWN_REQUESTS)

    def configure(self, configured: Configure) -> None:
        """Activate settings and servers; exchanges in progress keep the server they have."""
        for server in configured.servers:
            if self.ledger.clear(server.row, server.generation):
                self.router.refusals.forget(server.row)
        self.configured = configured
        self.settings = Settings(configured.config, configured.mark)
        self.router.configure(configured)
        self._recorder.flush()
        self.recorder = self._recorder if self.settings.records else None
