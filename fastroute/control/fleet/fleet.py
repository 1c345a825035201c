"""All servers: which there are, which row of the score table each has, and what workers are told.

Servers are the same if their URLs mean the same address, so a reload keeps what is known of them.
One that is removed keeps its row until its last request is over: whatever a worker still counts is
counted there. Then the row is free, and its next server has another generation.
"""

import heapq
import logging
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from fastroute.config import Config, ServerConfig
from fastroute.control.fleet.context import FleetContext, limits_of
from fastroute.control.fleet.model_budget import within_budget
from fastroute.control.fleet.server import FleetServer
from fastroute.control.watch.models import merge
from fastroute.errors import ConfigError
from fastroute.ipc.messages import (
    ConfigState,
    Configure,
    FollowedName,
    Health,
    Observed,
    StateReasons,
)
from fastroute.ipc.score_table import ScoreTable
from fastroute.ipc.table_layout import MODEL_SLOTS
from fastroute.rules.health import Change
from fastroute.rules.progress import stalled
from fastroute.server_address import ServerAddress

ROW_GRACE = 2.0
"""Seconds that a removed server keeps its row at least: workers learn of it by message, and until
then they may send requests there."""

SETTLING = 1.0
"""Seconds from the start in which servers tell their models; until then any is asked for any."""

MARK_BYTES = 4
"""Random bytes that tell this fastroute from others in Via."""

log = logging.getLogger("supervisor")


class FleetChange(msgspec.Struct, frozen=True):
    """Servers that a new configuration adds and removes."""

    added: tuple[FleetServer, ...]
    removed: tuple[FleetServer, ...]


class Fleet:
    """All servers.

    Attributes:
        servers: Those of the configuration, in its order, by address.
        leaving: Those that were removed from it and still have their row.
    """

    __slots__ = (
        "_around",
        "_born",
        "_by_row",
        "_free_rows",
        "_is_settled",
        "_mark",
        "_model_slots",
        "_started_at",
        "_states_version",
        "leaving",
        "servers",
    )

    def __init__(
        self,
        table: ScoreTable,
        config: Config,
        *,
        clock: Callable[[], float] = time.monotonic,
        unix_clock: Callable[[], float] = time.time,
    ) -> None:
        """Take the servers of a configuration.

        Args:
            table: Where their numbers go; no row is in use yet.
            config: Servers and settings.
            clock: Like time.monotonic.
            unix_clock: Like time.time.

        Raises:
            ConfigError: The table has no room for so many servers.
        """
        self._around = FleetContext(table, config, clock=clock, unix_clock=unix_clock)
        self._around.health.changed = self._take_change
        self._free_rows = list(range(table.rows))
        self._by_row: dict[int, FleetServer] = {}
        self._model_slots: list[str] = []
        self._started_at = unix_clock()
        self._mark = secrets.token_hex(MARK_BYTES)
        self._born = clock()
        self._is_settled = False
        self._states_version = 0
        self.servers: dict[ServerAddress, FleetServer] = {}
        self.leaving: dict[ServerAddress, FleetServer] = {}
        self.apply(config)

    @property
    def config(self) -> Config:
        """The current configuration."""
        return self._around.config

    def notify(
        self,
        *,
        changed: Callable[[], None],
        state_changed: Callable[[], None],
        checked: Callable[[], None],
    ) -> None:
        """Set the callbacks for changes.

        Args:
            changed: Called when `configure` would return something else.
            state_changed: Called when `reasons` would.
            checked: Called when `health` would.
        """
        self._around.changed = changed
        self._around.state_changed = state_changed
        self._around.checked = checked

    def apply(self, config: Config) -> FleetChange:
        """Activate a configuration.

        Raises:
            ConfigError: There is no room for so many new servers; nothing is changed.
        """
        new = [s for s in config.servers if s.address not in self.servers | self.leaving]
        if len(new) > len(self._free_rows):
            raise ConfigError(
                f"{len(new)} servers are new, and there is room for {len(self._free_rows)} more: "
                "restart fastroute to make room"
            )
        self._around.config = config
        self._around.health.reconfigure(limits_of(config), self._around.clock())
        before = self.servers
        self.servers = {s.address: self._configured(s) for s in config.servers}
        removed = tuple(s for address, s in before.items() if address not in self.servers)
        for server in removed:
            server.leave()
            self.leaving[server.config.address] = server
        self._around.changed()
        self._around.state_changed()
        added = tuple(s for address, s in self.servers.items() if address not in before)
        return FleetChange(added, removed)

    def observe(self, seen: Observed) -> None:
        """Take what a worker saw of a server; of one that is gone it is no news."""
        server = self._by_row.get(seen.row)
        if server is None or server.generation != seen.generation or server.left_at is not None:
            return
        server.observed(seen)

    def tick(self) -> None:
        """Act on time that has passed; to be called several times a second."""
        now = self._around.clock()
        servers = self.servers.values()
        for server in servers:
            server.tick(now)
        health = self._around.health
        health.models = self._rows_by_model()
        health.servers = [server.row for server in servers]
        self._count_proofs(now)
        self._find_stalled(health.models, now)
        health.tick(now, {server.row for server in servers if server.is_delivering(now)})
        self._repeat_states()
        was_settled = self._is_settled
        if self._models_are_settled() and not was_settled and self._any_models():
            self._around.changed()
        for address, server in list(self.leaving.items()):
            assert server.left_at is not None, "set when it left"
            if now - server.left_at >= ROW_GRACE and server.own_in_flight() == 0:
                log.debug("server %s: its last request is over", server.config.url)
                server.free()
                del self.leaving[address], self._by_row[server.row]
                heapq.heappush(self._free_rows, server.row)

    def _take_change(self, row: int, change: Change) -> None:
        server = self._by_row.get(row)
        if server is not None:  # else it is being made, and publishes its state by itself
            server.take_change(change)

    def _find_stalled(self, models: Mapping[str, Sequence[int]], now: float) -> None:
        progress = {server.row: server.load.progress for server in self.servers.values()}
        for row in stalled(progress, models, self.config.stall_timeout, now):
            self._by_row[row].stalled()

    def _rows_by_model(self) -> dict[str, list[int]]:
        """Return the servers of each model by row; those of unknown models are below ""."""
        rows: dict[str, list[int]] = {}
        for server in self.servers.values():
            for model in server.models.names or ("",):
                rows.setdefault(model, []).append(server.row)
        return rows

    def _count_proofs(self, now: float) -> None:
        watched = {model: self._slot_of(model) for model in self._around.health.watched()}
        for server in self.servers.values():
            server.count_proofs(watched, now)

    def _slot_of(self, model: str) -> int:
        """Return where a model is counted; 0 where it has no slot of its own."""
        return self._model_slots.index(model) + 1 if model in self._model_slots else 0

    def _repeat_states(self) -> None:
        """Have the workers read once more the states that changed since the last tick.

        Some processors (arm64) may show another core the version before the states, and a worker
        that read the states in between would not look again.
        """
        table = self._around.table
        if table.states_version[0] != self._states_version:
            table.raise_states_version()
            self._states_version = table.states_version[0]

    def configure(
        self, config_state: ConfigState, names: tuple[FollowedName, ...] = ()
    ) -> Configure:
        """Return what workers must know from now on.

        Args:
            config_state: What became of the file.
            names: What became of the names that are followed.
        """
        servers = list(self.servers.values())
        models = within_budget([server.models.names for server in servers])
        routed = tuple(
            msgspec.structs.replace(server.routed(), models=names)
            for server, names in zip(servers, models, strict=True)
        )
        if not self._models_are_settled():
            # Else the first server to tell its models would get all requests at the start.
            routed = tuple(msgspec.structs.replace(server, models=None) for server in routed)
        known = [cards for server in servers if (cards := server.models.cards) is not None]
        for cards in known:
            self._give_slots(cards)
        return Configure(
            config=self.config,
            servers=routed,
            model_slots=tuple(self._model_slots),
            models_json=merge(known) if known else None,
            config_state=config_state,
            names=names,
            started_at=self._started_at,
            mark=self._mark,
        )

    def reasons(self) -> StateReasons:
        """Return why servers are in their states, for workers."""
        reasons = (server.state_reason() for server in self.servers.values())
        return StateReasons(reasons=tuple(reason for reason in reasons if reason.text))

    def health(self) -> Health:
        """Return what the health checks have found, for workers."""
        reports = {server.config.url: server.health_report() for server in self.servers.values()}
        return Health(servers=reports)

    def _any_models(self) -> bool:
        return any(server.models.cards is not None for server in self.servers.values())

    def _models_are_settled(self) -> bool:
        """Return True if all servers have listed their models, or have had the time to do so."""
        if not self._is_settled:
            time_is_up = self._around.clock() - self._born >= SETTLING
            servers = self.servers.values()
            # None yet: those that DNS has still to find.
            all_told = bool(servers) and all(server.models.has_told for server in servers)
            self._is_settled = time_is_up or all_told
        return self._is_settled

    def _configured(self, config: ServerConfig) -> FleetServer:
        """Return the server of an entry: the one that was there, or a new one."""
        address = config.address
        server = self.servers.get(address) or self.leaving.pop(address, None)
        if server is None:
            # The lowest, so that workers look at few rows.
            row = heapq.heappop(self._free_rows)
            server = self._by_row[row] = FleetServer(config, row, self._around)
        else:
            server.configure(config)
        return server

    def _give_slots(self, models: Iterable[str]) -> None:
        """Have these models counted apart while there is room; a slot is for ever."""
        for model in models:
            if len(self._model_slots) == MODEL_SLOTS - 1:
                return
            if model not in self._model_slots:
                self._model_slots.append(model)
