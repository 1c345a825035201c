"""Single measurements, and interleaved rounds of many."""

import subprocess
import sys
from collections.abc import Sequence

import msgspec

from benchmarks.comparison import environments, figures, processes
from benchmarks.comparison.figures import Rounds
from benchmarks.comparison.scenarios import TICK, Scenario
from benchmarks.comparison.spec import LoadResult, LoadSpec
from benchmarks.comparison.stage import DIRECT, Cores, Target

_SECONDS_TO_END = 40
_SECONDS_PER_CONNECTION = 0.01


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Number of rounds, seconds per measurement, and repetitions of disturbed ones."""

    rounds: int
    warmup: float
    seconds: float
    patience: int = 0


def run_load(spec: LoadSpec, cores: Cores) -> LoadResult:
    """Run one load process. If it fails or hangs, the result contains only an error."""
    command = [sys.executable, "-m", "benchmarks.comparison.load"]
    most_seconds = (
        spec.warmup + spec.seconds + spec.connections * _SECONDS_PER_CONNECTION + _SECONDS_TO_END
    )
    try:
        output = processes.output_of(
            [*command, msgspec.json.encode(spec).decode()],
            most_seconds,
            cores.others,
            environments.ROOT,
        )
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        return LoadResult.of_failure(spec, f"the load process failed: {type(error).__name__}")
    return msgspec.json.decode(output, type=LoadResult)


def measure(scenario: Scenario, target: Target, timing: Timing, cores: Cores) -> LoadResult:
    """Measure one scenario with one target, once."""
    spec = LoadSpec(
        kind=scenario.kind,
        ports=target.ports,
        connections=scenario.connections,
        request_bytes=scenario.request_bytes,
        rate=scenario.rate,
        tick=TICK,
        warmup=timing.warmup,
        seconds=timing.seconds,
        watched=target.watched,
    )
    return run_load(spec, cores)


def measure_in_peace(
    scenario: Scenario, target: Target, timing: Timing, cores: Cores
) -> LoadResult:
    """Measure, up to `timing.patience` more times if other work disturbs; keep the least disturbed.

    The choice depends only on the other work, never on the result itself.
    """
    calmest = measure(scenario, target, timing, cores)
    for _ in range(timing.patience):
        if figures.others(calmest) <= figures.DISTURBING_CORES:
            break
        again = measure(scenario, target, timing, cores)
        again.errors = dict(figures.errors([calmest, again]))
        if figures.others(again) < figures.others(calmest):
            calmest = again
        calmest.errors = again.errors
    return calmest


def run_rounds(
    scenarios: Sequence[Scenario], targets: Sequence[Target], timing: Timing, cores: Cores
) -> dict[str, Rounds]:
    """Measure everything, `rounds` times; report progress on stderr."""
    results = {one.name: {target.name: [] for target in targets} for one in scenarios}
    for number in range(1, timing.rounds + 1):
        for scenario in scenarios:
            for target in targets:
                result = measure_in_peace(scenario, target, timing, cores)
                results[scenario.name][target.name].append(result)
                note_progress(f"{number}/{timing.rounds} {scenario.name}", target.name, result)
    return results


def note_progress(label: str, name: str, result: LoadResult) -> None:
    who = "servers" if name == DIRECT else name
    wrong = f", WRONG {result.errors}" if result.errors else ""
    cost = f"{figures.cpu_per_unit(result, who):6.1f} us ({who})" if result.units else "nothing"
    print(f"{label:22} {name:18} {cost}, {figures.rate(result):9,.0f}/s{wrong}", file=sys.stderr)
