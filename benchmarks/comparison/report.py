"""From the results of all rounds to figures, and from figures to a table."""

import statistics
from collections import Counter
from collections.abc import Callable, Iterable

from benchmarks.comparison.peers import BASELINE
from benchmarks.comparison.scenarios import Scenario
from benchmarks.comparison.spec import LoadResult

DIRECT = "direct"
# Cores that other work may use during a measurement before it counts as disturbed.
DISTURBING_CORES = 0.25
# Results of one scenario: who -> one result a round, in the order of the rounds.
Rounds = dict[str, list[LoadResult]]

_COLUMNS = ("", "CPU", "spread", "ratio", "spread", "rate/s", "busy", "load", "servers", "others")
_LATENCY_COLUMNS = ("p50", "p99", "late p99")


def cpu_per_unit(result: LoadResult, who: str) -> float:
    """Return the microseconds of CPU that `who` took for a request or event."""
    return result.cpu_seconds[who] / max(result.units, 1) * 1e6


def busy(result: LoadResult, who: str) -> float:
    """Return the share of one core that `who` had, 0 to 1 for a single thread."""
    return result.cpu_seconds[who] / result.seconds


def others(result: LoadResult) -> float:
    """Return how many cores had other work to do."""
    return result.others_cpu_seconds / result.seconds


def errors(results: Iterable[LoadResult]) -> Counter[str]:
    total: Counter[str] = Counter()
    for result in results:
        total.update(result.errors)
    return total


def ratios(rounds: Rounds, who: str) -> list[float]:
    """Return CPU relative to the baseline, round by round: what ran in the same minute."""
    return [
        cpu_per_unit(own, who) / cpu_per_unit(base, BASELINE)
        for own, base in zip(rounds[who], rounds.get(BASELINE, ()), strict=False)
        if base.units
    ]


def summary(rounds: Rounds) -> dict[str, dict[str, object]]:
    """Return the figures of one scenario as plain data, for the raw file."""
    figures: dict[str, dict[str, object]] = {}
    for who, results in rounds.items():
        measured = "servers" if who == DIRECT else who
        figures[who] = {
            "cpu_us_per_unit": _spread([cpu_per_unit(one, measured) for one in results]),
            "cpu_ratio": _spread([] if who == DIRECT else ratios(rounds, who)),
            "units_per_second": _spread([one.units / one.seconds for one in results]),
            "others_cores": _spread([others(one) for one in results]),
            "latency_us": {
                name: _spread([one.latencies[name] * 1e6 for one in results])
                for name in results[0].latencies
            },
            "errors": errors(results),
        }
    return figures


def _spread(values: list[float]) -> dict[str, float] | None:
    if not values:
        return None
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def table(scenario: Scenario, rounds: Rounds) -> str:
    """Return one scenario as a Markdown table, with the errors of each below it."""
    timed = any(one.latencies for results in rounds.values() for one in results)
    columns = (*_COLUMNS, *(_LATENCY_COLUMNS if timed else ()))
    lines = [
        f"### {scenario.title}",
        "",
        f"CPU in us per {scenario.unit}; ratio to {BASELINE} of the same round; "
        "busy, load, servers, others: cores used by the proxy, the load, the stand-in servers and "
        "whatever else ran" + ("; latencies in us" if timed else ""),
        "",
        _row(columns),
        _row(["---", *["---:"] * (len(columns) - 1)]),
        *(_row(_cells(who, rounds, timed)) for who in rounds),
    ]
    for who, results in rounds.items():
        for reason, count in errors(results).most_common(5):
            lines.append(f"\n**{who}: {count} wrong**: {reason}")
    everything = [one for results in rounds.values() for one in results]
    disturbed = sum(others(one) > DISTURBING_CORES for one in everything)
    if disturbed:
        lines.append(
            f"\n{disturbed} of {len(everything)} measurements were disturbed by other work."
        )
    return "\n".join(lines) + "\n"


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cells(who: str, rounds: Rounds, timed: bool) -> list[str]:
    results = rounds[who]
    own = ["-"] * 4
    if who != DIRECT:
        own = [
            *_two([cpu_per_unit(one, who) for one in results], "{:.1f}"),
            *_two(ratios(rounds, who), "{:.2f}"),
        ]
    cells = [
        who,
        *own,
        _median(results, lambda one: one.units / one.seconds, "{:,.0f}"),
        "-" if who == DIRECT else _median(results, lambda one: busy(one, who), "{:.2f}"),
        _median(results, lambda one: busy(one, "load"), "{:.2f}"),
        _median(results, lambda one: busy(one, "servers"), "{:.2f}"),
        _median(results, others, "{:.2f}"),
    ]
    if timed:
        cells += [
            _median(results, lambda one, name=name: one.latencies.get(name, 0) * 1e6, "{:,.0f}")
            for name in ("p50", "p99", "sent_late_p99")
        ]
    return cells


def _two(values: list[float], form: str) -> tuple[str, str]:
    if not values:
        return "-", "-"
    return (
        form.format(statistics.median(values)),
        f"{form.format(min(values))}-{form.format(max(values))}",
    )


def _median(results: list[LoadResult], value: Callable[[LoadResult], float], form: str) -> str:
    return form.format(statistics.median(map(value, results)))
