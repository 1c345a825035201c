"""Compare micro benchmarks with a baseline: `python -m benchmarks.micro`, `--save` to update it.

Times of two machines are compared by the calibration, a fixed workload without fastroute's code:
the result is how much slower a benchmark is than expected from the calibration. A benchmark that is
20 % slower is measured again, because other work on the machine has the same effect.

Exit codes: 0: nothing is slower; 1: something is; 2: unknown.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from benchmarks.comparison.environments import CACHE, ROOT

BASELINE = ROOT / "benchmarks" / "baseline" / "micro.json"
CALIBRATION = "benchmarks/bench_calibration.py::test_calibration"
SLOWER = 1.20
"""Ratio from which a benchmark is reported as slower."""

Times = Mapping[str, float]
"""Name of a benchmark -> seconds of its fastest round; slower rounds are due to other work."""


class Comparison(NamedTuple):
    """One benchmark, compared with the baseline.

    Attributes:
        name: Name of the benchmark.
        before: Seconds in the baseline, scaled to this machine; None if it is new.
        now: Seconds; None if it no longer exists.
    """

    name: str
    before: float | None
    now: float | None

    @property
    def ratio(self) -> float | None:
        return self.now / self.before if self.now and self.before else None

    @property
    def is_slower(self) -> bool:
        return self.ratio is not None and self.ratio >= SLOWER


class NoComparison(Exception):
    """No comparison is possible; the message says what to do."""


def compare(baseline: Times, times: Times) -> list[Comparison]:
    """Compare times with the baseline, scaled to this machine.

    Raises:
        NoComparison: The calibration is missing in one of them.
    """
    if CALIBRATION not in baseline or CALIBRATION not in times:
        raise NoComparison(f"{CALIBRATION} is missing: run all, or renew the baseline with --save")
    machine = times[CALIBRATION] / baseline[CALIBRATION]
    names = [name for name in {**baseline, **times} if name != CALIBRATION]
    return [
        Comparison(name, baseline[name] * machine if name in baseline else None, times.get(name))
        for name in names
    ]


def table(compared: Iterable[Comparison], machine: float) -> str:
    """Return the comparison as text, one line per benchmark.

    Args:
        compared: The comparisons.
        machine: Duration of the calibration relative to that of the baseline.
    """
    lines = [f"{'':54} {'baseline':>12} {'now':>12}  ratio"]
    for each in compared:
        ratio = "-" if each.ratio is None else f"{each.ratio:.2f}"
        slower = "  SLOWER" if each.is_slower else ""
        name = each.name.rpartition("/")[2].replace(".py::test_", " ")
        lines.append(
            f"{name:54} {_micro(each.before):>12} {_micro(each.now):>12} {ratio:>6}{slower}"
        )
    lines.append(f"us; the baseline's times are x {machine:.2f}, according to the calibration")
    return "\n".join(lines)


def _micro(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1e6:,.2f}"


def times_in(report: Mapping[str, object]) -> dict[str, float]:
    """Return the times in a report of pytest-benchmark."""
    return {each["fullname"]: each["stats"]["min"] for each in report["benchmarks"]}


def fastest(one: Times, other: Times) -> dict[str, float]:
    """Return the faster time of each benchmark."""
    return {
        name: min(times[name] for times in (one, other) if name in times)
        for name in {**one, **other}
    }


def measured(names: Iterable[str] = ("benchmarks",)) -> dict[str, float]:
    """Run benchmarks and return their times.

    Raises:
        NoComparison: One of them failed.
    """
    output = CACHE / "micro.json"
    output.parent.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "pytest", *names, "-o", "python_files=bench_*.py"]
    options = ["--benchmark-only", f"--benchmark-json={output}", "--benchmark-columns=min,median"]
    done = subprocess.run([*command, *options, "--quiet"], cwd=ROOT, check=False)
    if done.returncode != 0:
        raise NoComparison("a benchmark failed")
    return times_in(json.loads(output.read_text()))


def save(times: Times, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(dict(sorted(times.items())), indent=1) + "\n")


def compared_twice(baseline: Times) -> tuple[list[Comparison], float]:
    """Run all, and slower ones again; return the comparison and the machine's factor."""
    times = measured()
    slower = [each.name for each in compare(baseline, times) if each.is_slower]
    if slower:
        print(f"measuring {len(slower)} again", file=sys.stderr)
        times = fastest(times, measured([*slower, CALIBRATION]))
    return compare(baseline, times), times[CALIBRATION] / baseline[CALIBRATION]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--save", action="store_true", help="keep the times as the baseline")
    options = parser.parse_args()
    try:
        if options.save:
            save(fastest(measured(), measured()), BASELINE)
            print(f"saved as {BASELINE.relative_to(ROOT)}")
            return 0
        if not BASELINE.exists():
            raise NoComparison("there is no baseline yet: make bench-micro-save")
        compared, machine = compared_twice(json.loads(BASELINE.read_text()))
    except NoComparison as error:
        print(error, file=sys.stderr)
        return 2
    print(table(compared, machine))
    return 1 if any(each.is_slower for each in compared) else 0


if __name__ == "__main__":
    sys.exit(main())
