"""Benchmark runs with given figures."""

from benchmarks.comparison.measuring import Timing
from benchmarks.comparison.spec import LoadResult
from benchmarks.comparison.stage import Cores
from benchmarks.raw import Machine, Raw


def result(units: int = 1000, **fields) -> LoadResult:
    """Return one measurement of a second without errors."""
    values = {
        "units": units,
        "seconds": 1.0,
        "cpu_seconds": {},
        "others_cpu_seconds": 0.0,
        "resident_bytes": {},
        "latencies": {},
        "checked": units,
        "errors": {},
    }
    return LoadResult(**(values | fields))


def of_cpu(us: dict[str, float], **fields) -> dict[str, LoadResult]:
    """Return the results of one round, given microseconds of CPU time per request."""
    watched = {"servers": 0.001, "load": 0.002}
    return {
        who: result(cpu_seconds=watched | {who: each / 1000}, **fields) for who, each in us.items()
    }


def rounds(*each_round: dict[str, LoadResult]) -> dict[str, list[LoadResult]]:
    return {who: [one[who] for one in each_round] for who in each_round[0]}


def raw(**fields) -> Raw:
    values = {
        "machine": Machine(
            date="2026-01-01T00:00:00+00:00",
            cpu="A processor",
            cores=2,
            kernel="6.1",
            python="3.11.7",
            uvloop="0.23.0",
            load_average=0.1,
            versions={"nginx": "nginx version: nginx/1.22.1", "fastroute": "fastroute 0.1.0"},
        ),
        "cores": Cores({1}, {0}),
        "timing": Timing(rounds=2, warmup=0.1, seconds=1.0),
    }
    return Raw(**(values | fields))
