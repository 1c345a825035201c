"""The load and the progress of one server, as read from its metrics."""

import asyncio
import logging
from collections.abc import Callable

from fastroute.config import ServerConfig
from fastroute.control.fleet.context import FleetContext
from fastroute.control.fleet.published_row import NANO, PublishedRow
from fastroute.rules.evidence import Event
from fastroute.rules.health import ServerHealth
from fastroute.rules.load import ForeignLoad, LoadReport
from fastroute.rules.progress import Progress

REPORTS_LOST_AFTER = 5.0
"""Seconds beyond the scrape interval after which metrics count as lost: a server that went to sleep
and whose metrics cannot be read any more is tried again."""

log = logging.getLogger("supervisor")


class ServerLoad:
    """The load and the progress of one server.

    Attributes:
        config: The server's entry in the configuration.
        progress: Movement of its counters and responses.
    """

    __slots__ = ("_error", "_fleet", "_foreign", "_health", "_observe", "_probe_now", "_row",
                 "_scraped_at_ns", "config", "progress")  # fmt: skip

    def __init__(  # noqa: PLR0913  parts of one server, each with a purpose of its own
        self,
        fleet: FleetContext,
        config: ServerConfig,
        row: PublishedRow,
        health: ServerHealth,
        observe: Callable[[Event], None],
        probe_now: asyncio.Event,
    ) -> None:
        """Begin without a report.

        Args:
            fleet: The state shared with the other servers.
            config: The server's entry in the configuration.
            row: Its row of the score table.
            health: Its health; that a server which is down has no metrics is no news.
            observe: Takes events that its metrics show.
            probe_now: Set when its health is to be checked at once.
        """
        self.config = config
        self.progress = Progress(fleet.clock(), row.count_events())
        self._fleet = fleet
        self._row = row
        self._health = health
        self._observe = observe
        self._probe_now = probe_now
        self._foreign = ForeignLoad()
        self._scraped_at_ns = 0
        self._error: str | None = None

    @property
    def scrape_interval(self) -> float:
        return self._fleet.config.scrape_interval

    @property
    def scrape_timeout(self) -> float:
        return self._fleet.config.scrape_timeout

    def own_in_flight(self) -> int:
        return self._row.count_in_flight()

    def scraped(self, report: LoadReport, own_in_flight: int, at_ns: int) -> None:
        if self._error is not None:
            log.info("server %s: its metrics are read again", self.config.url)
            self._error = None
        self._scraped_at_ns = at_ns
        weight = self._fleet.config.waiting_weight
        self._row.publish_foreign(self._foreign.note_report(report, weight, own_in_flight))
        self._row.publish_report(report, at_ns)
        now = self._fleet.clock()
        self.note_events(now)
        self._observe(Event.ASLEEP if report.asleep else Event.AWAKE)
        if self.progress.note_report(report, self._row.count_waiting(), now):
            self._observe(Event.MOVING)

    def scrape_failed(self, reason: str) -> None:
        self._row.count_scrape_failure()
        if reason == self._error:
            return
        # The first sign of a problem, mostly: health checks come more rarely.
        if self._error is None:
            self._probe_now.set()
        self._error = reason
        level = logging.WARNING if self._health.is_healthy else logging.DEBUG
        log.log(level, "server %s: its metrics cannot be read: %s", self.config.url, reason)

    def skipped(self, reason: str) -> None:
        self._fleet.own_limits.note(reason)

    def note_events(self, now: float) -> None:
        """Take the number of segments relayed so far."""
        self.progress.note_events(self._row.count_events(), now)

    def tick(self, now: float) -> None:
        """Act on time that has passed since the last report."""
        self.note_events(now)
        if not self._scraped_at_ns:
            return
        age, interval = now - self._scraped_at_ns / NANO, self.scrape_interval
        if age > REPORTS_LOST_AFTER + interval:
            self._observe(Event.REPORTS_LOST)
        self._row.publish_foreign(self._foreign.worth(age, interval))
