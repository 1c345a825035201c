"""The health of one server: its states and what changes them, as one table.

`TRANSITIONS` gives for each state and event the state that follows and the condition for it; what
is absent changes nothing. The conditions look at `Record`, and `ServerHealth` applies the table.

Every way out of service has a way back in bounded time: `WAYS_BACK`, in words.

Seconds are of any one clock, given as `now`.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec

from fastroute.rules.evidence import CAUSES, Cause, Event
from fastroute.rules.health_record import NO_FACTS, Facts, Limits, Record
from fastroute.rules.server_state import ServerState

OUT_PROBE_INTERVAL = 2.0
"""Longest time between health checks of a server out of service, so that a restarted one is soon
noticed; seconds."""

KEY_BACKOFF = 30.0
"""Seconds in which a server that refused its API key is asked only where there is no other."""

TRIAL_PROBE_INTERVAL = 1.0
"""Longest time between health checks of a server on trial, seconds."""


class Change(msgspec.Struct, frozen=True):
    """A change of a server's state."""

    before: ServerState
    after: ServerState
    reason: str


Condition = Callable[[Record, Event, float], str | None]
"""Returns why the transition happens, or None where it does not."""


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


def _cool_down_is_over(record: Record, event: Event, now: float) -> str | None:
    return "its cool-down is over" if now >= record.cool_until else None


def _trial_is_over(record: Record, event: Event, now: float) -> str | None:
    return "nothing failed while it was on trial" if now >= record.trial_until else None


def _backoff_is_over(record: Record, event: Event, now: float) -> str | None:
    return "its backoff is over" if now >= record.wait_until else None


def _backoff_is_over_without_checks(record: Record, event: Event, now: float) -> str | None:
    if record.limits.enable_active_health_check:
        return None
    return _backoff_is_over(record, event, now)


def _checks_are_off(record: Record, event: Event, now: float) -> str | None:
    return None if record.limits.enable_active_health_check else event.value


def _probe_proves_it_well(record: Record, event: Event, now: float) -> str | None:
    # Its health checks succeeded all the while that its requests failed or its engine hung.
    unproven = record.cause is Cause.REQUESTS or record.cause is Cause.STALLED
    return None if unproven else event.value


def _was_stalled(record: Record, event: Event, now: float) -> str | None:
    return event.value if record.cause is Cause.STALLED else None


_IN_SERVICE: dict[Event, tuple[Condition, ServerState]] = {
    Event.PROBE_OK: (_probes_are_bad, ServerState.DOWN),
    Event.PROBE_FAILED: (_probes_are_bad, ServerState.DOWN),
    Event.PROBE_SLOW: (_probes_are_bad, ServerState.DOWN),
    Event.BUSY: (_always, ServerState.COOLING),
    Event.KEY_REFUSED: (_always, ServerState.COOLING),
    Event.OUTLIER: (_always, ServerState.EJECTED),
    Event.SHUTTING_DOWN: (_always, ServerState.EJECTED),
    Event.STALLED: (_always, ServerState.EJECTED),
    Event.ASLEEP: (_always, ServerState.ASLEEP),
}

TRANSITIONS: Mapping[ServerState, Mapping[Event, tuple[Condition, ServerState]]] = {
    ServerState.UP: _IN_SERVICE,
    ServerState.COOLING: {
        **_IN_SERVICE,
        Event.TIME: (_cool_down_is_over, ServerState.UP),
        Event.RECONFIGURED: (_always, ServerState.UP),
    },
    ServerState.EJECTED: {
        # The process is gone; what answers later is another one, and health checks tell.
        Event.PROBE_FAILED: (_probes_are_bad, ServerState.DOWN),
        Event.ASLEEP: (_always, ServerState.ASLEEP),
        Event.MOVING: (_was_stalled, ServerState.TRIAL),
        Event.TIME: (_backoff_is_over, ServerState.TRIAL),
        Event.UNDRAIN: (_always, ServerState.TRIAL),
        Event.RECONFIGURED: (_always, ServerState.TRIAL),
    },
    ServerState.DOWN: {
        Event.PROBE_OK: (_always, ServerState.TRIAL),
        Event.ASLEEP: (_always, ServerState.ASLEEP),
        Event.TIME: (_backoff_is_over_without_checks, ServerState.TRIAL),
        Event.UNDRAIN: (_checks_are_off, ServerState.TRIAL),
        Event.RECONFIGURED: (_checks_are_off, ServerState.TRIAL),
    },
    # Failed health checks do not count: the reports show that its process lives.
    ServerState.ASLEEP: {
        Event.AWAKE: (_always, ServerState.TRIAL),
        Event.REPORTS_LOST: (_always, ServerState.TRIAL),
        Event.UNDRAIN: (_always, ServerState.TRIAL),
    },
    ServerState.TRIAL: {
        Event.PROBE_OK: (_probe_proves_it_well, ServerState.UP),
        Event.PROBE_FAILED: (_always, ServerState.DOWN),
        Event.PROBE_SLOW: (_always, ServerState.DOWN),
        Event.REQUEST_OK: (_always, ServerState.UP),
        Event.REQUEST_FAILED: (_always, ServerState.EJECTED),
        Event.TIME: (_trial_is_over, ServerState.UP),
        Event.BUSY: (_always, ServerState.COOLING),
        Event.KEY_REFUSED: (_always, ServerState.COOLING),
        Event.OUTLIER: (_always, ServerState.EJECTED),
        Event.SHUTTING_DOWN: (_always, ServerState.EJECTED),
        Event.STALLED: (_always, ServerState.EJECTED),
        Event.ASLEEP: (_always, ServerState.ASLEEP),
    },
}
"""DRAIN is not here: draining lies over the other states and leaves them alone."""


class WayBack(NamedTuple):
    """The way out of a state, in words; the rows of docs/health.md.

    Attributes:
        state: The state.
        requests: Which requests it gets.
        cause: Why it is in that state.
        back: When it leaves it, and for which state.
    """

    state: ServerState
    requests: str
    cause: str
    back: str


WAYS_BACK: tuple[WayBack, ...] = (
    WayBack(
        ServerState.DOWN,
        "none",
        "its health checks failed, or were slow",
        "on trial after a successful health check; where health checks are switched off, when the "
        "backoff is over",
    ),
    WayBack(
        ServerState.EJECTED,
        "only where no other server is usable (panic mode)",
        "its requests failed more often than those of the other servers, it was shutting down, or "
        "its engine made no progress",
        "on trial when the backoff is over, which doubles up to `auto_recovery_threshold`; when "
        "its engine makes progress again, if that was the cause; at once when a setting that "
        "concerns the cause, its key or its health check changes, or `drain` is removed; DOWN if "
        "its health checks fail too",
    ),
    WayBack(
        ServerState.ASLEEP,
        "none",
        "its metrics say that its engine is asleep",
        "on trial when they say that it is awake, when they cannot be read for some seconds, or "
        "when `drain` is removed",
    ),
    WayBack(
        ServerState.DRAINING,
        "none",
        "`drain = true`",
        "the state that it has otherwise, when that is removed; one that was ejected or asleep is "
        "put on trial",
    ),
    WayBack(
        ServerState.TRIAL,
        "one at a time, and one more each 5 s",
        "it was out of service",
        "up after one answered request, after failed health checks or sleep alone after a "
        "successful health check, or after `auto_recovery_threshold` without a failure; out of "
        "service again if a request fails that cannot be to blame, or that others answer",
    ),
    WayBack(
        ServerState.COOLING,
        "only where no other server is up or free for a trial",
        "it answered 429 or 503",
        "up when its Retry-After, or 1 s, is over",
    ),
)
"""All states but UP, in the order of the documentation."""

OUT_OF_SERVICE = frozenset((ServerState.DOWN, ServerState.EJECTED, ServerState.ASLEEP))


class ServerHealth:
    """One server's health.

    Attributes:
        record: Its past; read it for display, replace its `limits` on a reload.
        since: Time when the state began, or None: it is UP from the start.
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
        """Reason of the state; "" for a server that has been UP from the start."""
        return Event.DRAIN.value if self._draining else self._reason

    @property
    def is_healthy(self) -> bool:
        """True if nothing is wrong with it: an overloaded or drained server is not broken."""
        return self._condition is ServerState.UP or self._condition is ServerState.COOLING

    @property
    def probe_interval(self) -> float:
        """Seconds until the next health check."""
        interval = self.record.limits.health_check_interval
        if self._condition in OUT_OF_SERVICE:
            return min(interval, OUT_PROBE_INTERVAL)
        if self._condition is ServerState.TRIAL:
            return min(interval, TRIAL_PROBE_INTERVAL)
        return interval

    @property
    def due(self) -> float | None:
        """Time when `Event.TIME` is to be observed; None while time alone changes nothing."""
        if self._condition is ServerState.COOLING:
            return self.record.cool_until
        if self._condition is ServerState.EJECTED:
            return self.record.wait_until
        if self._condition is ServerState.TRIAL:
            return self.record.trial_until
        unchecked = not self.record.limits.enable_active_health_check
        is_down = self._condition is ServerState.DOWN
        return self.record.wait_until if is_down and unchecked else None

    def observe(self, event: Event, now: float, facts: Facts = NO_FACTS) -> Change | None:
        """Take an event.

        Args:
            event: The observation.
            now: Time of it.
            facts: Its details.

        Returns:
            The change of state, to be logged once; None if there is none.
        """
        before = self.state
        if event is Event.DRAIN or event is Event.UNDRAIN:
            self._draining = event is Event.DRAIN
        taken = self._note(event, now, facts)
        if taken is not None:
            self._follow(taken, now, facts.detail)
        if self.state is before:
            return None
        self.since = now
        return Change(before, self.state, event.value if event is Event.UNDRAIN else self.reason)

    def _note(self, event: Event, now: float, facts: Facts) -> Event | None:
        """Remember what the conditions ask for; return the event as it counts."""
        if event in (Event.PROBE_OK, Event.PROBE_FAILED, Event.PROBE_SLOW):
            return self.record.note_probe(event, now, facts, is_in=self.is_healthy)
        if event is Event.BUSY:
            self.record.note_busy(now, facts.retry_after)
        elif event is Event.KEY_REFUSED:
            self.record.note_busy(now, KEY_BACKOFF)
        return event

    def _follow(self, event: Event, now: float, detail: str) -> None:
        """Go where the table says."""
        condition, after = TRANSITIONS[self._condition].get(event, (None, self._condition))
        why = condition and condition(self.record, event, now)
        if why is None:
            return
        before, self._condition = self._condition, after
        if after is ServerState.TRIAL:
            self.record.trial_until = now + self.record.limits.auto_recovery_threshold
        self._reason = f"{why}: {detail}" if detail else why
        if after not in OUT_OF_SERVICE:
            if before is ServerState.TRIAL:
                self.record.note_recovery(now)
        elif before in OUT_OF_SERVICE:
            self.record.cause = CAUSES[event]
        else:
            self.record.note_out(CAUSES[event], now)
