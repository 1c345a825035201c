"""The measured part of a run: units and CPU time, read at its start and end."""

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
    """From `begin` to `end`. The load process reads the clocks itself, without messages."""

    def __init__(self, spec: LoadSpec) -> None:
        self._watched = {**spec.watched, "load": os.getpid()}
        # Searched once, before the window: walking /proc costs more than reading a few clocks. A
        # process that a proxy starts within the window would be missed, and none does.
        self._trees = {name: cpu.tree(pid) for name, pid in self._watched.items()}
        self._counted = self._trees | {name: [pid] for name, pid in spec.alone.items()}
        self._begun: Mark | None = None
        self._ended: Mark | None = None

    def begin(self, units: int) -> None:
        self._begun = Mark(units, self._counted)

    def end(self, units: int) -> None:
        self._ended = Mark(units, self._counted)

    def resident_bytes(self) -> dict[str, int]:
        return {name: cpu.resident_bytes(pid) for name, pid in self._watched.items()}

    def result(
        self, *, checked: int, errors: dict[str, int], latencies: dict[str, float]
    ) -> LoadResult:
        begun, ended = self._begun, self._ended
        assert begun is not None, "begin() comes first"
        assert ended is not None, "end() comes first"
        own = {name: ended.cpu_seconds[name] - begun.cpu_seconds[name] for name in self._counted}
        machine = ended.machine_seconds - begun.machine_seconds
        ours = sum(own[name] for name in self._trees)
        return LoadResult(
            units=ended.units - begun.units,
            seconds=ended.at - begun.at,
            cpu_seconds=own,
            others_cpu_seconds=max(0.0, machine - ours),
            resident_bytes=self.resident_bytes(),
            latencies=latencies,
            checked=checked,
            errors=errors,
        )


def spread(values: list[float]) -> dict[str, float]:
    """Return p50, p99 and max of the times; empty without any."""
    ordered = sorted(values)
    if not ordered:
        return {}
    return {
        "p50": percentile(ordered, 0.5),
        "p99": percentile(ordered, 0.99),
        "max": ordered[-1],
    }


def percentile(ordered: list[float], share: float) -> float:
    """Return the quantile `share` (0 to 1) of an ordered, non-empty list."""
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]
