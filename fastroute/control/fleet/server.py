"""One server as the supervisor knows it: what it is configured to be, how it is, what it has.

It takes what the loops (scraper, prober, models) find out and what workers observe, and publishes
numbers into the server's row of the score table. What is more than a number goes to the workers by
message; `changed` says when. Nothing here waits.
"""

import asyncio
import logging
from collections.abc import Mapping

from fastroute.config import ServerConfig
from fastroute.control.fleet.context import FleetContext
from fastroute.control.fleet.proofs import Proofs
from fastroute.control.fleet.published_row import PublishedRow
from fastroute.control.fleet.server_load import ServerLoad
from fastroute.control.fleet.server_models import ServerModels
from fastroute.control.watch.prober import Probe
from fastroute.ipc import messages
from fastroute.ipc.messages import RoutedServer
from fastroute.printable import MAX_LINE, printable
from fastroute.rules.evidence import COMPARED, Event
from fastroute.rules.health import OUT_OF_SERVICE, OUT_PROBE_INTERVAL, Change
from fastroute.rules.health_check import HealthCheck
from fastroute.rules.health_record import NO_FACTS, Facts
from fastroute.rules.server_state import ServerState

DELIVERED_LATELY = 2.0
"""Seconds since the last byte of a good response, in which failed requests do not eject."""

TRIAL_PATIENCE = 5.0
"""Seconds after which a server on trial may have one more request."""

RETRIED_FOR = ("api_key", "called", "health_path", "health_statuses")
"""Settings of an entry that decide how a server answers; after a change it is tried again."""

log = logging.getLogger("supervisor")


class FleetServer:
    """One server of the fleet.

    Attributes:
        config: Its entry in the configuration.
        health: Its state.
        probe_now: Set when its health is to be checked at once.
        models: Those it has.
        load: Its load and progress.
        left_at: When it was removed from the configuration, in seconds of the clock, or None.
    """

    __slots__ = ("_around", "_checked_at", "_more_at", "_proofs", "_row", "config", "health",
                 "left_at", "load", "models", "probe_now")  # fmt: skip

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
        self.health = around.health.add(row)
        self.probe_now = asyncio.Event()
        self.models = ServerModels(around, config, self.health)
        self.left_at: float | None = None
        self.load = ServerLoad(
            around, config, self._row, self.health, self._observe, self.probe_now
        )
        self._proofs = Proofs(self._row)
        self._more_at = 0.0
        self._checked_at: float | None = None
        if config.drain:
            around.health.observe(row, Event.DRAIN, around.clock())
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
        is_other, was_drained = _is_asked_otherwise(self.config, config), self.config.drain
        self.config = self.models.config = self.load.config = config
        self.left_at = None
        self._row.publish_capacity(config.max_concurrent_requests)
        if is_other:
            self.probe_now.set()
            self._observe(Event.RECONFIGURED)
        if config.drain is not was_drained:
            # Not at each reload: removing it has a server tried again that is out of service.
            self._observe(Event.DRAIN if config.drain else Event.UNDRAIN)
        self._publish_state()

    def leave(self) -> None:
        """Get no new requests: it is not in the configuration any more."""
        self.left_at = self._around.clock()
        self._row.publish_state(ServerState.DRAINING, self.left_at)

    def free(self) -> None:
        """Release the row; it has nothing in flight."""
        self._around.health.remove(self.row)
        self._row.release()

    def own_in_flight(self) -> int:
        """Return the number of requests in flight, over all workers."""
        return self._row.count_in_flight()

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
            return min(interval, OUT_PROBE_INTERVAL)
        return interval

    def probed(self, probe: Probe) -> None:
        now = self._around.clock()
        self._checked_at = self._around.unix_clock()
        self.load.note_events(now)
        recent = max(self._around.config.health_check_interval, probe.response_time)
        event = Event.PROBE_SLOW if probe.slow else Event.PROBE_FAILED
        facts = Facts(
            detail=probe.reason,
            response_time=probe.response_time,
            delivering=self.load.progress.has_delivered(recent, now),
        )
        was_set = self.probe_now.is_set()
        self._observe(Event.PROBE_OK if probe.ok else event, facts)
        # The prober is about to ask how long to wait; it need not be woken.
        if not was_set:
            self.probe_now.clear()
        self._around.checked()

    def skipped(self, reason: str) -> None:
        self._around.own_limits.note(reason)

    # What workers observe, and time.

    def observed(self, seen: messages.Observed) -> None:
        """Take what a worker saw of requests; those of before its state say nothing of now."""
        since = self.health.since
        if since is not None and self._around.clock() - seen.age < since:
            return
        if seen.kind in COMPARED:
            self.probe_now.set()
            model = seen.model if self.models.has(seen.model) else ""
            self._around.health.request_failed(
                self.row, model, seen.kind, self._around.clock(), detail=seen.detail
            )
            return
        if seen.kind is Event.MODEL_MISSING:
            self.models.list_now.set()
        elif seen.kind is Event.SHUTTING_DOWN:
            self.probe_now.set()
        elif seen.kind is Event.KEY_REFUSED:
            name = self.config.url
            log.warning("server %s refuses its API key: %s; check api_key", name, seen.detail)
            if self.is_delivering(self._around.clock()):
                return  # with the same key: one path of it may be forbidden
        self._observe(seen.kind, Facts(detail=seen.detail, retry_after=seen.retry_after))

    def tick(self, now: float) -> None:
        """Act on time that has passed; to be called several times a second."""
        self.load.tick(now)
        if self.health.state is ServerState.TRIAL and now >= self._more_at:
            # The one that it has may be long, or of a client that does not read.
            self._admit(now)

    def count_proofs(self, watched: Mapping[str, int], now: float) -> None:
        """Count the good responses for models of which requests failed lately.

        Args:
            watched: Slot of each model; that of "" is of requests that name none.
            now: The time.
        """
        mine = {model: slot for model, slot in watched.items() if self.models.serves(model)}
        for model, count in self._proofs.count(mine):
            self._around.health.requests_answered(self.row, model, count, now)

    def _admit(self, now: float) -> None:
        self._more_at = now + TRIAL_PATIENCE
        self._row.admit_one_more()

    def is_delivering(self, now: float) -> bool:
        """Return True if it sent bytes of good responses lately."""
        return self.load.progress.has_delivered(DELIVERED_LATELY, now)

    def stalled(self) -> None:
        """Take that its engine makes no progress, as the comparison with its peers shows."""
        timeout, requests = self._around.config.stall_timeout, self._row.count_waiting()
        detail = f"no byte and no token for {timeout:g} s, requests: {requests}"
        self._observe(Event.STALLED, Facts(detail=detail))

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
            text=printable(self.health.reason, MAX_LINE),
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

    def _observe(self, event: Event, facts: Facts = NO_FACTS) -> None:
        self._around.health.observe(self.row, event, self._around.clock(), facts)

    def take_change(self, change: Change) -> None:
        """Log and publish a change of its state."""
        level = logging.WARNING if change.after in OUT_OF_SERVICE else logging.INFO
        log.log(level, "server %s is %s: %s", *(self.config.url, change.after.name, change.reason))
        if change.after in OUT_OF_SERVICE or change.after is ServerState.TRIAL:
            self.probe_now.set()
        if change.after is ServerState.TRIAL:
            self.load.progress.restart(self._around.clock())
            self._admit(self._around.clock())
        if change.before in OUT_OF_SERVICE:
            # It may be another process now, with other models.
            self.models.list_now.set()
        self._publish_state()
        self._around.state_changed()

    def _publish_state(self) -> None:
        if self.left_at is None:
            self._row.publish_state(self.health.state, self._around.clock())


def _is_asked_otherwise(before: ServerConfig, after: ServerConfig) -> bool:
    """Return True if a new entry may end what was wrong: another key or name, for example."""
    return any(getattr(before, name) != getattr(after, name) for name in RETRIED_FOR)
