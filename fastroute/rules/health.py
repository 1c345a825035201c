"""The state of a server: what changes it, as one table.

`TRANSITIONS` says for each state and event which state follows and under which condition; what is
absent changes nothing. `Record` is what the conditions look at, `ServerHealth` applies the table.

The way back from DOWN depends on what is wrong (`Cause`):

1. Probes took it down: the next good probe brings it on trial.
2. Requests took it down, while probes may have succeeded all along: the same, but after the
   breaker's wait, which doubles each time in a row.
3. It is asleep or stalled: probes succeed all the time and prove nothing, only its metrics do.

A probe that fails in earnest turns 2 and 3 into 1: that process is gone, what answers later is
another one, and probes tell the truth about it.

Seconds are of any one clock, given as `now`.
"""

from collections.abc import Callable, Mapping

import msgspec

from fastroute.rules.health_event import NO_FACTS, Event, Facts
from fastroute.rules.health_record import Cause, Limits, Record
from fastroute.rules.server_state import ServerState

DOWN_PROBE_INTERVAL = 2.0
"""Seconds at most between probes of a DOWN server, so that a restarted one is soon noticed."""

TRIAL_PROBE_INTERVAL = 1.0
"""Seconds at most between probes of a server on trial."""

CAUSES = {
    Event.PROBE_OK: Cause.PROBES,  # Too slow on average.
    Event.PROBE_FAILED: Cause.PROBES,
    Event.PROBE_SLOW: Cause.PROBES,
    Event.REQUEST_FAILED: Cause.REQUESTS,
    # A server that shuts down answers its probes until it is gone.
    Event.SHUTTING_DOWN: Cause.REQUESTS,
    Event.ASLEEP: Cause.ASLEEP,
    Event.STALLED: Cause.STALLED,
}


class Change(msgspec.Struct, frozen=True):
    """A server's state changed."""

    before: ServerState
    after: ServerState
    reason: str


Condition = Callable[[Record, Event, float], str | None]
"""Says why the transition happens, or None that it does not."""


def _always(record: Record, event: Event, now: float) -> str | None:
    return event.value


def _probes_are_bad(record: Record, event: Event, now: float) -> str | None:
    limits = record.limits
    times = record.response_times
    if record.consecutive_failures >= limits.health_check_consecutive_failures:
        return f"{record.consecutive_failures} health checks in a row failed"
    if record.window_is_full and record.success_rate < limits.health_check_min_success_rate:
        return f"only {record.success_rate:.0%} of the health checks succeeded"
    # One slow answer is no average.
    if len(times) >= limits.health_check_consecutive_failures:
        average = sum(times) / len(times)
        if average > limits.health_check_max_response_time:
            return f"health checks take {average:.1f} s on average"
    return None


def _requests_are_bad(record: Record, event: Event, now: float) -> str | None:
    if record.request_failures < record.limits.failure_threshold:
        return None
    return f"{record.request_failures} requests in a row failed"


def _cool_down_is_over(record: Record, event: Event, now: float) -> str | None:
    return "its cool-down is over" if now >= record.cool_until else None


def _probe_may_bring_it_back(record: Record, event: Event, now: float) -> str | None:
    if record.cause is Cause.PROBES:
        return event.value
    if record.cause is Cause.REQUESTS and now >= record.wait_until:
        return event.value
    return None


def _time_may_bring_it_back(record: Record, event: Event, now: float) -> str | None:
    due = recovery_due(record)
    return "it has been down long enough" if due is not None and now >= due else None


def _probe_proves_it_well(record: Record, event: Event, now: float) -> str | None:
    # Its checks were good all the while that its requests failed or its engine hung.
    unproven = record.cause is Cause.REQUESTS or record.cause is Cause.STALLED
    return None if unproven else event.value


def _was_asleep(record: Record, event: Event, now: float) -> str | None:
    return event.value if record.cause is Cause.ASLEEP else None


def _was_stalled(record: Record, event: Event, now: float) -> str | None:
    return event.value if record.cause is Cause.STALLED else None


def _is_another_cause(record: Record, event: Event, now: float) -> str | None:
    # A sleeping engine makes no progress, so a stall would only hide the cause.
    if event is Event.STALLED and record.cause is Cause.ASLEEP:
        return None
    return None if CAUSES[event] is record.cause else event.value


def recovery_due(record: Record) -> float | None:
    """When time alone brings a DOWN server on trial, or None: it does not."""
    if record.limits.enable_active_health_check:
        return None
    if record.cause is Cause.ASLEEP or record.cause is Cause.STALLED:
        return None
    return record.down_since + record.limits.auto_recovery_threshold


_IN_USE: dict[Event, tuple[Condition, ServerState]] = {
    Event.PROBE_OK: (_probes_are_bad, ServerState.DOWN),
    Event.PROBE_FAILED: (_probes_are_bad, ServerState.DOWN),
    Event.PROBE_SLOW: (_probes_are_bad, ServerState.DOWN),
    Event.REQUEST_FAILED: (_requests_are_bad, ServerState.DOWN),
    Event.BUSY: (_always, ServerState.COOLING),
    Event.SHUTTING_DOWN: (_always, ServerState.DOWN),
    Event.ASLEEP: (_always, ServerState.DOWN),
    Event.STALLED: (_always, ServerState.DOWN),
}

TRANSITIONS: Mapping[ServerState, Mapping[Event, tuple[Condition, ServerState]]] = {
    ServerState.UP: _IN_USE,
    ServerState.COOLING: {**_IN_USE, Event.TIME: (_cool_down_is_over, ServerState.UP)},
    # From DOWN to DOWN only the cause changes.
    ServerState.DOWN: {
        Event.PROBE_OK: (_probe_may_bring_it_back, ServerState.TRIAL),
        Event.PROBE_FAILED: (_is_another_cause, ServerState.DOWN),
        Event.ASLEEP: (_is_another_cause, ServerState.DOWN),
        Event.AWAKE: (_was_asleep, ServerState.TRIAL),
        Event.STALLED: (_is_another_cause, ServerState.DOWN),
        Event.MOVING: (_was_stalled, ServerState.TRIAL),
        Event.TIME: (_time_may_bring_it_back, ServerState.TRIAL),
    },
    ServerState.TRIAL: {
        Event.PROBE_OK: (_probe_proves_it_well, ServerState.UP),
        Event.PROBE_FAILED: (_always, ServerState.DOWN),
        Event.PROBE_SLOW: (_always, ServerState.DOWN),
        Event.REQUEST_OK: (_always, ServerState.UP),
        Event.REQUEST_FAILED: (_always, ServerState.DOWN),
        # Full is not ill: it lives, and goes on as any other full server.
        Event.BUSY: (_always, ServerState.COOLING),
        Event.SHUTTING_DOWN: (_always, ServerState.DOWN),
        Event.ASLEEP: (_always, ServerState.DOWN),
        Event.STALLED: (_always, ServerState.DOWN),
    },
}
"""DRAIN and UNDRAIN are not here: draining lies over the other states and leaves them alone."""


class ServerHealth:
    """One server's health.

    Attributes:
        record: What is known of it; read it for display, replace its `limits` on a reload.
        since: When the state began, or None: it is UP from the start.
    """

    __slots__ = ("_condition", "_draining", "_reason", "record", "since")

    def __init__(self, limits: Limits) -> None:
        self.record = Record(limits)
        self.since: float | None = None
        self._condition = ServerState.UP
        self._draining = False
        self._reason = ""

    @property
    def state(self) -> ServerState:
        """The state that counts."""
        return ServerState.DRAINING if self._draining else self._condition

    @property
    def reason(self) -> str:
        """Why the state is what it is; "" for a server that has been UP from the start."""
        return Event.DRAIN.value if self._draining else self._reason

    @property
    def is_healthy(self) -> bool:
        """True if nothing is wrong with it: an overloaded or drained server is not broken."""
        return self._condition is ServerState.UP or self._condition is ServerState.COOLING

    @property
    def probe_interval(self) -> float:
        """Seconds until the next health check."""
        interval = self.record.limits.health_check_interval
        if self._condition is ServerState.DOWN:
            return min(interval, DOWN_PROBE_INTERVAL)
        if self._condition is ServerState.TRIAL:
            return min(interval, TRIAL_PROBE_INTERVAL)
        return interval

    @property
    def due(self) -> float | None:
        """When `Event.TIME` is to be observed; None while time alone changes nothing."""
        if self._condition is ServerState.COOLING:
            return self.record.cool_until
        return recovery_due(self.record) if self._condition is ServerState.DOWN else None

    def observe(self, event: Event, now: float, facts: Facts = NO_FACTS) -> Change | None:
        """Take an event.

        Args:
            event: What was seen.
            now: When.
            facts: What belongs to it.

        Returns:
            The change of state, to be logged once; None if there is none.
        """
        before = self.state
        if event is Event.DRAIN or event is Event.UNDRAIN:
            self._draining = event is Event.DRAIN
        else:
            taken = self._note(event, now, facts)
            if taken is not None:
                self._follow(taken, now, facts.detail)
        if self.state is before:
            return None
        self.since = now
        return Change(before, self.state, event.value if event is Event.UNDRAIN else self.reason)

    def _note(self, event: Event, now: float, facts: Facts) -> Event | None:
        """Remember what the conditions ask for; return the event as it is to be taken."""
        record = self.record
        if event in (Event.PROBE_OK, Event.PROBE_FAILED, Event.PROBE_SLOW):
            return record.note_probe(event, now, facts, is_up=self.is_healthy)
        if event is Event.BUSY:
            record.note_busy(now, facts.retry_after)
        elif self._condition is ServerState.DOWN:
            pass  # Requests that were under way when it went down tell nothing new.
        elif event is Event.REQUEST_OK:
            # Unlike a probe, it proves that the server serves.
            record.request_failures = record.trips = 0
        elif event is Event.REQUEST_FAILED:
            record.request_failures += 1
        return event

    def _follow(self, event: Event, now: float, detail: str) -> None:
        """Go where the table says."""
        condition, after = TRANSITIONS[self._condition].get(event, (None, self._condition))
        why = condition and condition(self.record, event, now)
        if why is None:
            return
        before, self._condition = self._condition, after
        self._reason = f"{why}: {detail}" if detail else why
        if after is not ServerState.DOWN:
            if before is ServerState.TRIAL:
                self.record.note_recovery(now)
        elif before is ServerState.DOWN:
            self.record.cause = CAUSES[event]
        else:
            self.record.note_down(CAUSES[event], now)
