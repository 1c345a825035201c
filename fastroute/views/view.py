"""What every view is rendered from, and the reply it renders."""

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
from fastroute.rules.server_state import ServerState

JSON = "application/json"


class Reply(NamedTuple):
    """An answer of fastroute's own; a plain tuple for those who must not import this package."""

    status: int
    body: bytes
    content_type: str = JSON
    fields: tuple[tuple[bytes, bytes], ...] = ()
    """More of them."""


class ServerView(msgspec.Struct, frozen=True, eq=False):
    """A server as the configuration names it, with its row of the table."""

    server: RoutedServer
    row: ServerSnapshot
    reason: str
    """Why it is in its state."""
    scrape_age: float | None
    """Seconds since its metrics were read; None: never."""

    @property
    def state(self) -> ServerState:
        return ServerState(self.row.state)

    @property
    def is_usable(self) -> bool:
        return self.state.is_usable

    @property
    def load(self) -> float:
        """Requests it has in hand: ours as they are now, others' as last scraped."""
        return self.row.in_flight + self.row.foreign_milli / 1000

    @property
    def score(self) -> float:
        """The load for the capacity, as the policy `load` compares it."""
        return self.load / (self.server.max_concurrent_requests * self.server.weight)

    @property
    def is_scraped(self) -> bool:
        """Whether its metrics were read at least once."""
        return self.row.scraped_at_ns > 0

    @property
    def kv_cache_usage(self) -> float | None:
        """From 0 to 1, or None where it is not known."""
        ppm = self.row.kv_cache_ppm
        return ppm / 1_000_000 if ppm >= 0 and self.is_scraped else None


class View(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """All that there is to show, at one moment."""

    table: TableSnapshot
    servers: tuple[RoutedServer, ...]
    """Those of the configuration in force, each URL once."""
    health: Mapping[str, ServerHealth]
    """By URL; one may be missing that was not checked yet."""
    reasons: tuple[StateReason, ...] = ()
    """Why servers are in their states; each comes a moment after the state."""
    config_state: ConfigState
    names: tuple[FollowedName, ...] = ()
    """Those whose addresses are servers."""
    model_slots: tuple[str, ...] = ()
    """Models counted apart: the first has slot 1."""
    aliases: Mapping[str, str] = {}
    """Model names that stand for others."""
    policy: str = "load"
    """How a server is chosen (Config.policy)."""
    busy_threshold: float = 0.5
    """The score from which a server is busy."""
    losses: Losses = Losses()
    """Records of requests that were lost."""
    unrouted_per_second: float | None = None
    """Requests that no server could take, over the last seconds; None: not known yet."""
    draining: bool = False
    """Whether this worker accepts no more."""
    now_ns: int
    """time.monotonic_ns()."""
    now_unix: float
    """time.time()."""
    started_at_unix: float
    """When fastroute, not this worker, was started."""
    version: str

    def listed(self) -> list[ServerView]:
        """Return the servers of the configuration that have a row of the table.

        One without was removed or replaced a moment ago and the message of it is on its way: the
        row is free or another server's, and its numbers are not to be shown under this URL.
        """
        rows = {row.row: row for row in self.table.servers}
        # By the moment too: the reason of the state before would mislead.
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
        """Return the rows of servers that were removed and still finish their requests."""
        listed = {(server.row, server.generation) for server in self.servers}
        return [row for row in self.table.servers if (row.row, row.generation) not in listed]

    def seconds_since(self, moment_ns: int) -> float | None:
        """Return the seconds since a time.monotonic_ns(); None for 0, which is never."""
        # The table is read after the clock, so a moment may lie just ahead of it.
        return max(0, self.now_ns - moment_ns) / 1e9 if moment_ns > 0 else None

    def checked_health(self) -> Iterator[tuple[ServerView, ServerHealth]]:
        """Yield the listed servers with what their health checks found."""
        unchecked = ServerHealth()
        for listed in self.listed():
            yield listed, self.health.get(listed.server.url, unchecked)


def view_of(table: TableSnapshot, configured: Configure, losses: Losses) -> View:
    """Return what there is to show now.

    Args:
        table: As it was a moment ago.
        configured: Servers and settings.
        losses: Records of requests that were lost.
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
    """Return what JSON says of names whose addresses are servers."""
    return tuple(
        NameReport(
            url=name.url, resolved=name.resolved, addresses=name.addresses, warning=name.warning
        )
        for name in names
    )


def utc(unix: float) -> datetime:
    """Return a Unix time (seconds) as JSON shows it: in UTC, to the millisecond."""
    moment = datetime.fromtimestamp(unix, UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
