"""The measured part of a run: units and CPU time, read at the same two moments."""

import os
import time

from benchmarks.comparison import cpu
from benchmarks.comparison.spec import LoadResult, LoadSpec


class Mark:
    """The counts at one moment."""

    __slots__ = ("at", "cpu_seconds", "machine_seconds", "units")

    def __init__(self, units: int, trees: dict[str, list[int]]) -> None:
        self.units = units
        self.at = time.monotonic()
        self.machine_seconds = cpu.machine_seconds()
        self.cpu_seconds = {
            name: sum(map(cpu.process_seconds, pids)) for name, pids in trees.items()
        }


class Window:
    """From `begin` to `end`. The load process reads the clocks itself: no message in between."""

    def __init__(self, spec: LoadSpec) -> None:
        self._watched = {**spec.watched, "load": os.getpid()}
        # Found once, before the window: walking /proc costs more than reading a few clocks. A
        # process that a proxy starts within the window would be missed, and none does.
        self._trees = {name: cpu.tree(pid) for name, pid in self._watched.items()}
        self._begun: Mark | None = None
        self._ended: Mark | None = None

    def begin(self, units: int) -> None:
        self._begun = Mark(units, self._trees)

    def end(self, units: int) -> None:
        self._ended = Mark(units, self._trees)

    def result(
        self, *, checked: int, errors: dict[str, int], latencies: dict[str, float]
    ) -> LoadResult:
        begun, ended = self._begun, self._ended
        assert begun is not None, "begin() comes first"
        assert ended is not None, "end() comes first"
        own = {name: ended.cpu_seconds[name] - begun.cpu_seconds[name] for name in self._trees}
        machine = ended.machine_seconds - begun.machine_seconds
        return LoadResult(
            units=ended.units - begun.units,
            seconds=ended.at - begun.at,
            cpu_seconds=own,
            others_cpu_seconds=max(0.0, machine - sum(own.values())),
            resident_bytes={name: cpu.resident_bytes(pid) for name, pid in self._watched.items()},
            latencies=latencies,
            checked=checked,
            errors=errors,
        )


def percentile(ordered: list[float], share: float) -> float:
    """Return the value below which `share` (0 to 1) of an ordered, non-empty list lies."""
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]
