"""Liveness of a worker: one without a heartbeat is busy, or waits for the machine, or hangs.

The heartbeat comes from the event loop, so it is late while the worker handles a costly request,
and while other processes have the CPU or the disk. To kill it then would abort all its responses.
So a worker is killed only on proof:

    hung        for `hung_after` seconds it had nothing to do but wait, and its timer did not run
    spinning    it used `spinning_after` seconds of CPU time within one turn of its loop
"""

import enum

import msgspec

# As in /proc/PID/stat: sleeping, stopped by a signal, stopped by a debugger.
_IDLE_STATES = frozenset("STt")
_IDLE_SHARE = 0.1
_STATE_NAMES = {
    "R": "runnable",
    "S": "sleeping",
    "D": "waiting for the disk",
    "T": "stopped",
    "t": "stopped by a debugger",
}


class Activity(msgspec.Struct, frozen=True):
    """Activity of a process, as the kernel reports it.

    Attributes:
        cpu_s: Seconds of CPU time that it used since its start.
        state: Its state, a letter as in /proc/PID/stat.
    """

    cpu_s: float = 0.0
    state: str = "S"

    @property
    def is_idle(self) -> bool:
        """True if it is waiting for an event, and neither for the CPU nor for the disk."""
        return self.state in _IDLE_STATES

    @property
    def state_name(self) -> str:
        """The state in words."""
        return _STATE_NAMES.get(self.state, self.state)


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """Limits, in seconds."""

    hung_after: float = 10.0
    """Time without a heartbeat, in which a worker is idle; a heartbeat comes every half second."""
    spinning_after: float = 60.0
    """CPU time without a heartbeat. No request takes a thousandth of this."""


class Verdict(enum.Enum):
    """Result of a look at a worker."""

    ALIVE = "alive"
    BUSY = "is busy"
    HUNG = "hangs"
    SPINNING = "is in an endless loop"


class Liveness:
    """Looks at one worker at regular intervals, and what they prove.

    Time is counted in looks: after a pause of the whole machine no heartbeat is recent.

    Attributes:
        silent_s: Seconds without a heartbeat.
        cpu_s: CPU time used in them, in seconds.
    """

    __slots__ = ("_beat", "_idle_s", "_last", "_patience", "cpu_s", "silent_s")

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._last: Activity | None = None
        self._beat = 0
        self._idle_s = 0.0
        self.silent_s = 0.0
        self.cpu_s = 0.0

    def has_beaten(self, beat: int) -> bool:
        """Note the heartbeat; return True if it is a new one."""
        if beat == self._beat:
            return False
        self._beat = beat
        self._last = None
        self._idle_s = self.silent_s = self.cpu_s = 0.0
        return True

    def look(self, activity: Activity, interval: float) -> Verdict:
        """Judge a worker without a new heartbeat.

        Args:
            activity: Its activity now.
            interval: Seconds since the last look.
        """
        before = activity if self._last is None else self._last
        self._last = activity
        used = activity.cpu_s - before.cpu_s
        self.silent_s += interval
        self.cpu_s += used
        if activity.is_idle and used <= _IDLE_SHARE * interval:
            self._idle_s += interval
        if self._idle_s > self._patience.hung_after:
            return Verdict.HUNG
        if self.cpu_s > self._patience.spinning_after:
            return Verdict.SPINNING
        return Verdict.BUSY if self.silent_s > self._patience.hung_after else Verdict.ALIVE
