"""Figures from the results of all rounds: medians, spreads, ratios within a round."""

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from benchmarks.comparison.peers import BASELINE
from benchmarks.comparison.spec import LoadResult
from benchmarks.comparison.stage import DIRECT

# Number of cores used by other work above which a measurement counts as disturbed.
DISTURBING_CORES = 0.25
# Results of one scenario: proxy -> one result per round, in the order of the rounds.
Rounds = dict[str, list[LoadResult]]


def cpu_per_unit(result: LoadResult, who: str) -> float:
    """Return the microseconds of CPU time of `who` per request or event."""
    return result.cpu_seconds[who] / max(result.units, 1) * 1e6


def busy(result: LoadResult, who: str) -> float:
    """Return the number of cores used by `who`, 0 to 1 for a single thread."""
    return result.cpu_seconds[who] / result.seconds


def rate(result: LoadResult) -> float:
    """Return requests or events per second."""
    return result.units / result.seconds


def others(result: LoadResult) -> float:
    """Return the number of cores used by other work."""
    return result.others_cpu_seconds / result.seconds


def errors(results: Iterable[LoadResult]) -> Counter[str]:
    total: Counter[str] = Counter()
    for result in results:
        total.update(result.errors)
    return total


def pairs(rounds: Rounds, who: str, base: str) -> list[tuple[LoadResult, LoadResult]]:
    """Return the results of both in the same round, if both had responses."""
    both = zip(rounds.get(who, ()), rounds.get(base, ()), strict=False)
    return [(own, other) for own, other in both if own.units and other.units]


def ratios(rounds: Rounds, who: str, base: str = BASELINE) -> list[float]:
    """Return CPU time per unit relative to another's, by round, measured in the same minute."""
    return [
        cpu_per_unit(own, who) / cpu_per_unit(other, base)
        for own, other in pairs(rounds, who, base)
        if other.cpu_seconds[base]
    ]


def added_latency(rounds: Rounds, who: str, which: str) -> list[float]:
    """Return the microseconds that a proxy adds to a latency (`p50`, `p99`), by round."""
    return [
        (own.latencies[which] - direct.latencies[which]) * 1e6
        for own, direct in pairs(rounds, who, DIRECT)
        if own.latencies and direct.latencies
    ]


class Spread:
    """The median of some values, with the smallest and the largest."""

    def __init__(self, values: Sequence[float]) -> None:
        self.median = statistics.median(values)
        self.low = min(values)
        self.high = max(values)

    def data(self) -> dict[str, float]:
        return {"median": self.median, "min": self.low, "max": self.high}


def spread_of(values: Sequence[float]) -> Spread | None:
    """Return the spread of values, None without any."""
    return Spread(values) if values else None


def summary(rounds: Rounds) -> dict[str, dict[str, object]]:
    """Return the figures of one scenario as plain data, for the raw file."""
    figures: dict[str, dict[str, object]] = {}
    for who, results in rounds.items():
        measured = "servers" if who == DIRECT else who
        answered = [one for one in results if one.units]
        timed = [one.latencies for one in answered if one.latencies]
        figures[who] = {
            "cpu_us_per_unit": _data([cpu_per_unit(one, measured) for one in answered]),
            "cpu_ratio": _data([] if who == DIRECT else ratios(rounds, who)),
            "units_per_second": _data([rate(one) for one in results]),
            "others_cores": _data([others(one) for one in results]),
            "latency_us": {
                name: _data([one[name] * 1e6 for one in timed]) for name in (timed or [{}])[0]
            },
            "errors": errors(results),
        }
    return figures


def _data(values: Sequence[float]) -> dict[str, float] | None:
    spread = spread_of(values)
    return spread.data() if spread else None


def median_of(results: Sequence[LoadResult], value: Callable[[LoadResult], float]) -> float:
    return statistics.median(map(value, results))
