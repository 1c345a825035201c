"""Kills workers that hang, but none that is only busy, and not all at once."""

import enum
import logging
from collections.abc import Sequence
from typing import Protocol

from fastroute.control.workers.activity import activity_of
from fastroute.rules.liveness import Activity, Liveness, Patience, Verdict

KILL_INTERVAL = 60.0
"""Minimum seconds between two kills. If several workers seem to hang at once, something else is
wrong: an attack that reaches each of them in turn, or the machine."""

PROOFS = frozenset((Verdict.HUNG, Verdict.SPINNING))


class Step(enum.IntEnum):
    """Steps taken against a worker without a heartbeat; each is logged once."""

    NONE = 0
    REPORTED = 1
    SPARED = 2
    KILLED = 3


LOGGED = {
    Step.REPORTED: (logging.WARNING, "it is not killed"),
    Step.SPARED: (
        logging.ERROR,
        f"it is not killed now: another one was killed less than {KILL_INTERVAL:g} s ago",
    ),
    Step.KILLED: (logging.ERROR, "it is killed"),
}
"""Level, and what becomes of the worker."""

log = logging.getLogger("supervisor")


class Watched(Protocol):
    """A worker process."""

    @property
    def pid(self) -> int:
        """Its process id."""

    @property
    def index(self) -> int:
        """Index of the worker."""

    @property
    def name(self) -> str:
        """Its name in log lines."""

    def kill(self) -> None:
        """Kill it."""


class Watchdog:
    """Looks at the heartbeats of all workers."""

    __slots__ = ("_beats", "_liveness", "_patience", "_since_kill", "_steps")

    def __init__(self, beats: Sequence[memoryview], patience: Patience) -> None:
        """Prepare.

        Args:
            beats: The heartbeat's cell of each worker.
            patience: Its limits.
        """
        self._beats = beats
        self._patience = patience
        self._liveness: dict[int, Liveness] = {}
        self._steps: dict[int, Step] = {}
        self._since_kill = KILL_INTERVAL

    def look(self, workers: Sequence[Watched], interval: float) -> None:
        """Look at the workers that accept clients; call this every `interval` seconds."""
        self._since_kill += interval
        for worker in workers:
            liveness = self._liveness.get(worker.index)
            if liveness is None:
                liveness = self._liveness[worker.index] = Liveness(self._patience)
            seen = _seen(liveness)
            if not liveness.has_beaten(self._beats[worker.index][0]):
                activity = activity_of(worker.pid)
                self._act(worker, liveness, activity, liveness.look(activity, interval))
            elif self._steps.pop(worker.index, Step.NONE):
                log.warning("%s is back: %s", worker.name, seen)

    def forget(self, index: int) -> None:
        """Forget a worker that has exited."""
        self._liveness.pop(index, None)
        self._steps.pop(index, None)

    def _act(
        self, worker: Watched, liveness: Liveness, activity: Activity, verdict: Verdict
    ) -> None:
        if verdict is Verdict.ALIVE:
            return
        step = Step.REPORTED
        if verdict in PROOFS:
            step = Step.KILLED if self._since_kill >= KILL_INTERVAL else Step.SPARED
        if step <= self._steps.get(worker.index, Step.NONE):
            return
        self._steps[worker.index] = step
        level, fate = LOGGED[step]
        words = f"{_seen(liveness)}, and is {activity.state_name}"
        log.log(level, "%s %s: %s; %s", worker.name, verdict.value, words, fate)
        if step is Step.KILLED:
            self._since_kill = 0.0
            worker.kill()


def _seen(liveness: Liveness) -> str:
    return (
        f"it had no heartbeat for {liveness.silent_s:.1f} s, used {liveness.cpu_s:.1f} s of CPU "
        "time in them"
    )
