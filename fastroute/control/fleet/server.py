"""One server as the supervisor knows it: what it is configured to be, how it is, what it has.

It takes what the loops (scraper, prober, models) find out and what workers observe, and publishes
numbers into the server's row of the score table. What is more than a number goes to the workers by
message; `changed` says when. Nothing here waits.
"""

import asyncio
import logging

import msgspec

from fastroute.config import Config, ServerConfig
from fastroute.control.fleet.context import FleetContext
from fastroute.control.fleet.published_row import NANO, PublishedRow
from fastroute.control.fleet.server_models import ServerModels
from fastroute.control.watch.prober import Probe
from fastroute.ipc import messages
from fastroute.ipc.messages import RoutedServer
from fastroute.rules import health
from fastroute.rules.health_check import HealthCheck
from fastroute.rules.health_event import NO_FACTS, Event, Facts
from fastroute.rules.health_record import Limits
from fastroute.rules.load import LoadReport, decayed, foreign_load
from fastroute.rules.progress import Progress
from fastroute.rules.server_state import ServerState

log = logging.getLogger("supervisor")


class FleetServer:
    """One server of the fleet.

    Attributes:
        config: Its entry in the configuration.
        health: Its state.
        probe_now: Set when its health is to be checked at once.
        models: Those it has.
        left_at: When it was removed from the configuration, in seconds of the clock, or None.
    """

    __slots__ = (
        "_around",
        "_checked_at",
        "_foreign",
        "_progress",
        "_row",
        "_scrape_error",
        "_scraped_at_ns",
        "config",
        "health",
        "left_at",
        "models",
        "probe_now",
    )

    def __init__(self, config: ServerConfig, row: int, around: FleetContext) -> None:
        """Take a free row for a server; it is UP until something else is known.

        Args:
            config: Its entry in the configuration.
            row: Of the score table.
            around: What it shares with the others.
        """
        self._around = around
        self.config = config
        self._row = PublishedRow(around.table, row)
        self.health = health.ServerHealth(_limits(around.config))
        self.probe_now = asyncio.Event()
        self.models = ServerModels(around, config, self.health)
        self.left_at: float | None = None
        self._progress = Progress(around.clock(), self._row.count_events())
        self._foreign = 0.0
        self._scraped_at_ns = 0
        self._scrape_error: str | None = None
        self._checked_at: float | None = None
        if config.drain:
            self.health.observe(Event.DRAIN, around.clock())
        self._row.publish_capacity(config.max_concurrent_requests)
        self._publish_state()

    @property
    def row(self) -> int:
        """Its row of the score table."""
        return self._row.number

    @property
    def generation(self) -> int:
        """Tells it from others that had the row before."""
        return self._row.generation

    def __repr__(self) -> str:
        return f"<FleetServer {self.config.url} row={self.row} {self.health.state.name}>"

    # The configuration.

    def configure(self, config: ServerConfig) -> None:
        """Take its new entry in the configuration, or take over new settings for all.

        The row's state is set last, so that it is seen with all that belongs to it.
        """
        self.config = self.models.config = config
        self.health.record.limits = _limits(self._around.config)
        self.left_at = None
        self._row.publish_capacity(config.max_concurrent_requests)
        self._observe(Event.DRAIN if config.drain else Event.UNDRAIN)
        self._publish_state()

    def leave(self) -> None:
        """Get no new requests: it is not in the configuration any more."""
        self.left_at = self._around.clock()
        self._row.publish_state(ServerState.DRAINING, self.left_at)

    def free(self) -> None:
        """Give the row up; it has nothing in flight."""
        self._row.release()

    # What the scraper asks and tells.

    @property
    def scrape_interval(self) -> float:
        return self._around.config.scrape_interval

    @property
    def scrape_timeout(self) -> float:
        return self._around.config.scrape_timeout

    def own_in_flight(self) -> int:
        return self._row.count_in_flight()

    def scraped(self, report: LoadReport, own_in_flight: int, at_ns: int) -> None:
        config = self._around.config
        if self._scrape_error is not None:
            log.info("server %s: its metrics are read again", self.config.url)
            self._scrape_error = None
        self._scraped_at_ns = at_ns
        self._foreign = foreign_load(
            report.running, report.waiting, config.waiting_weight, own_in_flight
        )
        self._row.publish_foreign(self._foreign)
        self._row.publish_report(report, at_ns)
        self._judge_progress(report, own_in_flight)

    def scrape_failed(self, reason: str) -> None:
        self._row.count_scrape_failure()
        if reason == self._scrape_error:
            return
        # The first sign of trouble, mostly: health checks come more rarely.
        if self._scrape_error is None:
            self.probe_now.set()
        self._scrape_error = reason
        # That of a server which is known to be down is no news.
        level = logging.WARNING if self.health.is_healthy else logging.DEBUG
        log.log(level, "server %s: its metrics cannot be read: %s", self.config.url, reason)

    # What the prober asks and tells.

    @property
    def health_check(self) -> HealthCheck:
        return self._around.config.health_check_of(self.config)

    @property
    def health_check_timeout(self) -> float:
        return self._around.config.health_check_timeout

    @property
    def probe_interval(self) -> float:
        """Seconds; short while it is to be seen whether a failure was the first of many."""
        interval = self.health.probe_interval
        if self.health.record.consecutive_failures:
            return min(interval, health.DOWN_PROBE_INTERVAL)
        return interval

    def probed(self, probe: Probe) -> None:
        now = self._around.clock()
        self._checked_at = self._around.unix_clock()
        self._progress.note_events(self._row.count_events(), now)
        recent = max(self._around.config.health_check_interval, probe.response_time)
        event = Event.PROBE_SLOW if probe.slow else Event.PROBE_FAILED
        facts = Facts(
            detail=probe.reason,
            response_time=probe.response_time,
            delivering=self._progress.has_delivered(recent, now),
        )
        was_set = self.probe_now.is_set()
        self._observe(Event.PROBE_OK if probe.ok else event, facts)
        # The prober is about to ask how long to wait; it need not be woken.
        if not was_set:
            self.probe_now.clear()
        self._around.checked()

    # What workers observe, and time.

    def observed(self, kind: Event, detail: str, retry_after: float) -> None:
        """Take what a worker saw of a request."""
        if kind in (Event.REQUEST_FAILED, Event.SHUTTING_DOWN):
            self.probe_now.set()
        self._observe(kind, Facts(detail=detail, retry_after=retry_after))

    def tick(self, now: float) -> None:
        """Act on time that has passed; to be called several times a second."""
        self._progress.note_events(self._row.count_events(), now)
        due = self.health.due
        if due is not None and now >= due:
            self._observe(Event.TIME)
        if self._foreign:
            age = now - self._scraped_at_ns / NANO
            interval = self._around.config.scrape_interval
            self._row.publish_foreign(decayed(self._foreign, age, interval))

    # What the workers are told.

    def routed(self) -> RoutedServer:
        """Return what a worker needs to know."""
        return RoutedServer(
            row=self.row,
            generation=self.generation,
            url=self.config.url,
            max_concurrent_requests=self.config.max_concurrent_requests,
            models=self.models.names,
            api_key=self.config.api_key,
            weight=self.config.weight,
            discovered_from=self.config.discovered_from,
        )

    def state_reason(self) -> messages.StateReason:
        """Return why it is in its state."""
        return messages.StateReason(
            row=self.row,
            since_ns=self._row.state_since_ns,
            text=self.health.reason,
        )

    def health_report(self) -> messages.ServerHealth:
        """Return what /health says of it."""
        record = self.health.record
        return messages.ServerHealth(
            last_check=self._checked_at,
            consecutive_failures=record.consecutive_failures,
            success_rate=record.success_rate,
            avg_response_time=record.average_response_time or 0.0,
            last_response_time=record.last_response_time,
            total_checks=record.total_checks,
            models_last_updated=self.models.updated_at,
        )

    def _judge_progress(self, report: LoadReport, own_in_flight: int) -> None:
        around, now = self._around, self._around.clock()
        self._progress.note_events(self._row.count_events(), now)
        self._observe(Event.ASLEEP if report.asleep else Event.AWAKE)
        if self._progress.note_report(report, own_in_flight, now):
            self._observe(Event.MOVING)
        elif self._progress.has_stalled(around.config.stall_timeout, now):
            requests = max(report.running, own_in_flight)
            detail = f"no token for {around.config.stall_timeout:g} s, requests: {requests}"
            self._observe(Event.STALLED, Facts(detail=detail))

    def _observe(self, event: Event, facts: Facts = NO_FACTS) -> None:
        change = self.health.observe(event, self._around.clock(), facts)
        if change is None:
            return
        level = logging.WARNING if change.after is ServerState.DOWN else logging.INFO
        log.log(level, "server %s is %s: %s", *(self.config.url, change.after.name, change.reason))
        if change.after in (ServerState.DOWN, ServerState.TRIAL):
            self.probe_now.set()
        if change.before is ServerState.DOWN:
            # It may be another process now, with other models.
            self.models.list_now.set()
        self._publish_state()
        self._around.state_changed()

    def _publish_state(self) -> None:
        if self.left_at is None:
            self._row.publish_state(self.health.state, self._around.clock())


def _limits(config: Config) -> Limits:
    return msgspec.convert(config, Limits, from_attributes=True)
