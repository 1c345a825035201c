"""The snapshot that all views render, and the response that they return."""

import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from fastroute import __version__
from fastroute.api.report import NameReport
from fastroute.ipc.messages import (
    ConfigState,
    Configure,
    FollowedName,
    Losses,
    RoutedServer,
    ServerHealth,
    StateReason,
)
from fastroute.ipc.score_table import ServerSnapshot, TableSnapshot
from fastroute.rules.server_state import ServerState, is_panic

JSON = "application/json"

ANY_MODEL = "*"
"""Stands for the models of servers whose models are not known."""


class Reply(NamedTuple):
    """A response of fastroute itself.

    It is a plain tuple, because it is passed to code that does not import this package.
    """

    status: int
    body: bytes
    content_type: str = JSON
    fields: tuple[tuple[bytes, bytes], ...] = ()
    """Further headers."""


class ServerView(msgspec.Struct, frozen=True, eq=False):
    """A configured server with its row of the score table."""

    server: RoutedServer
    row: ServerSnapshot
    reason: str
    """Reason of its state."""
    scrape_age: float | None
    """Seconds since its last successful scrape; None if there was none."""

    @property
    def state(self) -> ServerState:
        return ServerState(self.row.state)

    @property
    def is_usable(self) -> bool:
        return self.state.is_usable

    @property
    def load(self) -> float:
        """Requests at the server: ours that are in flight, and foreign ones as last scraped."""
        return self.row.in_flight + self.row.foreign_milli / 1000

    @property
    def score(self) -> float:
        """Load divided by capacity, as the policy `load` compares it."""
        return self.load / (self.server.max_concurrent_requests * self.server.weight)

    @property
    def is_scraped(self) -> bool:
        """True if it was scraped at least once."""
        return self.row.scraped_at_ns > 0

    @property
    def kv_cache_usage(self) -> float | None:
        """KV cache in use, from 0 to 1; None if unknown."""
        ppm = self.row.kv_cache_ppm
        return ppm / 1_000_000 if ppm >= 0 and self.is_scraped else None


class View(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Snapshot of everything that views show."""

    table: TableSnapshot
    servers: tuple[RoutedServer, ...]
    """Servers of the active configuration, each URL once."""
    health: Mapping[str, ServerHealth]
    """Results of health checks by URL; servers without a check yet are missing."""
    reasons: tuple[StateReason, ...] = ()
    """Reasons of the servers' states; a reason arrives slightly later than its state."""
    config_state: ConfigState
    names: tuple[FollowedName, ...] = ()
    """Discovered names, whose addresses are servers."""
    model_slots: tuple[str, ...] = ()
    """Models that are counted separately; the first has slot 1."""
    aliases: Mapping[str, str] = {}
    """Model names by alias."""
    policy: str = "load"
    """Name of the active policy."""
    busy_threshold: float = 0.5
    """Score from which a server is busy."""
    losses: Losses = Losses()
    """Numbers of lost lines and spans."""
    unrouted_per_second: float | None = None
    """Rate of requests for which no server was usable; None if not known yet."""
    draining: bool = False
    """True while this worker drains."""
    now_ns: int
    """time.monotonic_ns()."""
    now_unix: float
    """time.time()."""
    started_at_unix: float
    """Start of fastroute (not of this worker), in Unix seconds."""
    version: str

    def listed(self) -> list[ServerView]:
        """Return the configured servers that have a row of the table.

        A server without a row was removed or replaced a moment ago, and the new configuration has
        not arrived yet: its row is free or belongs to another server, whose numbers must not
        appear under this URL.
        """
        rows = {row.row: row for row in self.table.servers}
        # Compare the time, too: the reason of the previous state would be misleading.
        reasons = {(reason.row, reason.since_ns): reason.text for reason in self.reasons}
        return [
            ServerView(
                server,
                row,
                reason=reasons.get((row.row, row.state_since_ns), ""),
                scrape_age=self.seconds_since(row.scraped_at_ns),
            )
            for server in self.servers
            if (row := rows.get(server.row)) is not None and row.generation == server.generation
        ]

    def removed(self) -> list[ServerSnapshot]:
        """Return the rows of removed servers with requests in flight."""
        listed = {(server.row, server.generation) for server in self.servers}
        return [row for row in self.table.servers if (row.row, row.generation) not in listed]

    def panic_models(self) -> tuple[str, ...]:
        """Return the models in panic mode: their requests go to ejected servers."""
        servers = self.listed()
        if not any(listed.state is ServerState.EJECTED for listed in servers):
            return ()  # without a look at 10,000 models, for each /health
        states: dict[str, set[ServerState]] = {}
        for listed in servers:
            names = (ANY_MODEL,) if listed.server.models is None else listed.server.models
            for name in names:
                states.setdefault(name, set()).add(listed.state)
        return tuple(sorted(name for name, found in states.items() if is_panic(found)))

    def seconds_since(self, moment_ns: int) -> float | None:
        """Return the seconds since a time.monotonic_ns(); None for 0, which means never."""
        # The clock is read before the table, so a timestamp may be slightly in the future.
        return max(0, self.now_ns - moment_ns) / 1e9 if moment_ns > 0 else None

    def checked_health(self) -> Iterator[tuple[ServerView, ServerHealth]]:
        """Yield the listed servers with the results of their health checks."""
        unchecked = ServerHealth()
        for listed in self.listed():
            yield listed, self.health.get(listed.server.url, unchecked)


def view_of(table: TableSnapshot, configured: Configure, losses: Losses) -> View:
    """Return a view without health checks and reasons, which the caller may add.

    Args:
        table: Snapshot of the score table.
        configured: Servers and settings.
        losses: Numbers of lost lines and spans.
    """
    return View(
        table=table,
        servers=configured.servers,
        health={},
        config_state=configured.config_state,
        names=configured.names,
        model_slots=configured.model_slots,
        aliases=configured.config.aliases,
        policy=configured.config.policy,
        busy_threshold=configured.config.busy_threshold,
        losses=losses,
        now_ns=time.monotonic_ns(),
        now_unix=time.time(),
        started_at_unix=configured.started_at,
        version=__version__,
    )


def names_report(names: Iterable[FollowedName]) -> tuple[NameReport, ...]:
    """Return the JSON report of discovered names."""
    return tuple(
        NameReport(
            url=name.url, resolved=name.resolved, addresses=name.addresses, warning=name.warning
        )
        for name in names
    )


def utc(unix: float) -> datetime:
    """Convert Unix seconds to a UTC time with milliseconds, as shown in JSON."""
    moment = datetime.fromtimestamp(unix, UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
