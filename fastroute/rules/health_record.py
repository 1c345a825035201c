"""The record of a server that the rules of its health look at.

Seconds are of any one clock, given as `now`.
"""

import enum
from collections import deque

import msgspec

from fastroute.rules.health_event import Event, Facts

DEFAULT_COOL_DOWN = 1.0
"""Seconds, for a server that is full and gives no Retry-After, as vLLM does not."""

MAX_COOL_DOWN = 30.0
"""Seconds; a server's word is not taken for longer than this."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Those settings of servers.toml that are about health. Times in seconds.

    Defaults and ranges are those of the fields of the same names in `Config`.
    """

    health_check_interval: float
    enable_active_health_check: bool
    health_check_consecutive_failures: int
    health_check_window_size: int
    health_check_min_success_rate: float
    health_check_max_response_time: float
    failure_threshold: int
    auto_recovery_threshold: float


class Cause(enum.Enum):
    """Why a server is DOWN, which decides what brings it back."""

    PROBES = enum.auto()
    REQUESTS = enum.auto()
    ASLEEP = enum.auto()
    STALLED = enum.auto()


class Record:
    """The past of a server, as far as the rules need it.

    Attributes:
        limits: May be replaced at any time.
        last_check: When the last probe ended, or None.
        last_response_time: Of the last probe, seconds, or None.
        total_checks: Probes so far.
        consecutive_failures: Probes failed in a row.
        request_failures: Requests failed in a row.
        cause: Why it is DOWN, or was the last time.
        down_since: When it went DOWN the last time.
        wait_until: The end of the breaker's wait.
        trips: How often in a row requests took it down.
        up_since: When it came back, or None: it is not back, or was never gone.
        cool_until: The end of the cool-down.
    """

    __slots__ = (
        "_window",
        "cause",
        "consecutive_failures",
        "cool_until",
        "down_since",
        "last_check",
        "last_response_time",
        "limits",
        "request_failures",
        "total_checks",
        "trips",
        "up_since",
        "wait_until",
    )

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.last_check: float | None = None
        self.last_response_time: float | None = None
        self.total_checks = 0
        self.consecutive_failures = 0
        self.request_failures = 0
        self.cause = Cause.PROBES
        self.down_since = 0.0
        self.wait_until = 0.0
        self.trips = 0
        self.up_since: float | None = None
        self.cool_until = 0.0
        # Whether each of the last probes succeeded, and its response time.
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
        """Mean response time of the last successful health checks, seconds; None without any."""
        times = self.response_times
        return sum(times) / len(times) if times else None

    def note_probe(self, event: Event, now: float, facts: Facts, *, is_up: bool) -> Event | None:
        """Remember a probe.

        Args:
            event: How it ended.
            now: When.
            facts: What belongs to it.
            is_up: Whether it is a server in use; its slow answers go into the average, while
                one that is to come back must answer quickly.

        Returns:
            How it is to be taken; None: not at all, as busy is not dead.
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
        if is_ok and is_slow and not is_up:
            is_ok, event = False, Event.PROBE_SLOW
        self.consecutive_failures = 0 if is_ok else self.consecutive_failures + 1
        self._window.append((is_ok, facts.response_time))
        while len(self._window) > self.limits.health_check_window_size:
            self._window.popleft()
        return event

    def note_busy(self, now: float, retry_after: float) -> None:
        """Remember how long it must be left alone; an earlier, longer wish stands."""
        wait = min(MAX_COOL_DOWN, retry_after) if retry_after > 0 else DEFAULT_COOL_DOWN
        self.cool_until = max(self.cool_until, now + wait)

    def note_down(self, cause: Cause, now: float) -> None:
        """Remember that and why it went DOWN."""
        longest = self.limits.auto_recovery_threshold
        if self.up_since is not None and now - self.up_since >= longest:
            # Good for so long: what was before is forgiven, though no request may have told so.
            self.trips = 0
        self.cause = cause
        self.down_since = now
        self.up_since = None
        if cause is not Cause.REQUESTS:
            return
        self.trips += 1
        doubled = self.limits.health_check_interval * 2.0 ** min(self.trips - 1, 30)
        self.wait_until = now + min(longest, doubled)

    def note_recovery(self, now: float) -> None:
        """Forget what took it down, or the next probe would do so again."""
        self._window.clear()
        self.consecutive_failures = 0
        self.request_failures = 0
        self.up_since = now
