"""The memory of one server's health: health checks, backoff, cool-down."""

from collections import deque
from collections.abc import Mapping

import msgspec

from fastroute.rules.evidence import Cause, Event

DEFAULT_COOL_DOWN = 1.0
"""Seconds, for an overloaded server that gives no Retry-After, as vLLM does not."""

MAX_COOL_DOWN = 30.0
"""Longest Retry-After that is followed, in seconds."""


def cool_down(retry_after: float) -> float:
    """Return the seconds for which an overloaded server is left alone.

    Args:
        retry_after: Seconds that it asked for; 0 if it named none.
    """
    return min(MAX_COOL_DOWN, retry_after) if retry_after > 0 else DEFAULT_COOL_DOWN


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Details of an event.

    Attributes:
        detail: Exact observation for the log, such as "connection refused".
        response_time: Of a health check, seconds.
        delivering: Of a health check: bytes of responses came from the server lately.
        retry_after: Of BUSY, seconds; 0 if the server gave none.
    """

    detail: str = ""
    response_time: float = 0.0
    delivering: bool = False
    retry_after: float = 0.0


NO_FACTS = Facts()


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of servers.toml about health. Times in seconds."""

    health_check_interval: float
    enable_active_health_check: bool
    health_check_consecutive_failures: int
    health_check_window_size: int
    health_check_min_success_rate: float
    health_check_max_response_time: float
    failure_threshold: int
    max_ejection_percent: float
    auto_recovery_threshold: float
    stall_timeout: float


CONCERNED: Mapping[Cause, tuple[str, ...]] = {
    Cause.PROBES: (
        "enable_active_health_check",
        "health_check_consecutive_failures",
        "health_check_window_size",
        "health_check_min_success_rate",
        "health_check_max_response_time",
    ),
    Cause.REQUESTS: ("failure_threshold", "max_ejection_percent", "auto_recovery_threshold"),
    Cause.ASLEEP: (),
    Cause.STALLED: ("stall_timeout", "auto_recovery_threshold"),
}
"""Settings that concern a cause: a server that is out for it is tried again when one changes."""


class Record:
    """The past of one server, as far as the rules need it.

    Attributes:
        limits: The current settings; may be replaced at any time.
        last_check: Time of the end of the last health check, or None.
        last_response_time: Of the last health check, seconds, or None.
        total_checks: Number of health checks so far.
        consecutive_failures: Number of failed health checks in a row.
        cause: Cause why it is out of service, or was the last time.
        wait_until: End of the backoff.
        trial_until: Time when a trial without a failure is over.
        trips: Number of ejections with too little good time between them.
        in_since: Time when it came back, or None while it is out or if it was never out.
        cool_until: End of the cool-down.
    """

    __slots__ = (
        "_window",
        "cause",
        "consecutive_failures",
        "cool_until",
        "in_since",
        "last_check",
        "last_response_time",
        "limits",
        "total_checks",
        "trial_until",
        "trips",
        "wait_until",
    )

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.last_check: float | None = None
        self.last_response_time: float | None = None
        self.total_checks = 0
        self.consecutive_failures = 0
        self.cause = Cause.PROBES
        self.wait_until = 0.0
        self.trial_until = 0.0
        self.trips = 0
        self.in_since: float | None = None
        self.cool_until = 0.0
        # For each of the last health checks: True if it succeeded, and its response time.
        self._window: deque[tuple[bool, float]] = deque()

    @property
    def window_is_full(self) -> bool:
        """True if there were enough health checks to speak of a success rate."""
        return len(self._window) >= self.limits.health_check_window_size

    @property
    def success_rate(self) -> float:
        """Share of successful health checks, 0 to 1; 1 before the first and after a recovery."""
        if not self._window:
            return 1.0
        return sum(ok for ok, _ in self._window) / len(self._window)

    @property
    def response_times(self) -> list[float]:
        """Response times of the last successful health checks, seconds."""
        return [response_time for ok, response_time in self._window if ok]

    @property
    def average_response_time(self) -> float | None:
        """Mean of `response_times`, or None without any."""
        times = self.response_times
        return sum(times) / len(times) if times else None

    def note_probe(self, event: Event, now: float, facts: Facts, *, is_in: bool) -> Event | None:
        """Remember a health check.

        Args:
            event: Its outcome.
            now: Time of its end.
            facts: Its details.
            is_in: True for a server in service: a slow answer goes into its average, while a
                server that is to come back must answer quickly.

        Returns:
            The event as it counts; None if it does not: a slow answer of a server that delivers.
        """
        self.total_checks += 1
        self.last_check = now
        self.last_response_time = facts.response_time
        is_ok = event is Event.PROBE_OK
        is_slow = event is Event.PROBE_SLOW or (
            is_ok and facts.response_time > self.limits.health_check_max_response_time
        )
        if is_slow and facts.delivering:
            return None
        if is_ok and is_slow and not is_in:
            is_ok, event = False, Event.PROBE_SLOW
        self.consecutive_failures = 0 if is_ok else self.consecutive_failures + 1
        self._window.append((is_ok, facts.response_time))
        while len(self._window) > self.limits.health_check_window_size:
            self._window.popleft()
        return event

    def note_busy(self, now: float, retry_after: float) -> None:
        """Remember until when it backs off; an earlier, longer Retry-After stays valid."""
        self.cool_until = max(self.cool_until, now + cool_down(retry_after))

    def note_out(self, cause: Cause, now: float) -> None:
        """Remember when and why it went out of service, and for how long it backs off.

        The backoff starts with `health_check_interval`, doubles each time, and is never longer
        than `auto_recovery_threshold`. After so long in service it starts from the beginning.
        """
        longest = self.limits.auto_recovery_threshold
        if self.in_since is not None and now - self.in_since >= longest:
            self.trips = 0
        self.cause = cause
        self.in_since = None
        self.trips += 1
        doubled = self.limits.health_check_interval * 2.0 ** min(self.trips - 1, 30)
        self.wait_until = now + min(longest, doubled)

    def note_recovery(self, now: float) -> None:
        """Forget the health checks that took it out, or the next one would do so again."""
        self._window.clear()
        self.consecutive_failures = 0
        self.in_since = now
