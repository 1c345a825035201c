"""The pieces against the saved baseline: `python -m benchmarks.micro`, `--save` to renew it.

Times of two machines are compared through the calibration, a fixed piece of work that has nothing
of ours: what counts is how much slower a piece is than the calibration makes one expect. A piece
that is 20 % slower is timed once more, as other work on the machine looks the same.

Exit codes: 0 nothing is slower; 1 something is; 2 it could not be told.
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
"""A piece is reported from this ratio on."""

Times = Mapping[str, float]
"""Name of a benchmark -> seconds of its fastest round; what is slower is other work."""


class Comparison(NamedTuple):
    """One piece, beside the baseline.

    Attributes:
        name: Of the benchmark.
        before: Seconds in the baseline, as they would be on this machine; None if it is new.
        now: Seconds; None if it is gone.
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
    """There is nothing to compare with; the message says what to do."""


def compare(baseline: Times, times: Times) -> list[Comparison]:
    """Put times beside the baseline, whose times are first made those of this machine.

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
    """Return the comparison as text, a line a piece.

    Args:
        compared: What to show.
        machine: How much longer the calibration took here than in the baseline.
    """
    lines = [f"{'':54} {'baseline':>12} {'now':>12}  ratio"]
    for each in compared:
        ratio = "-" if each.ratio is None else f"{each.ratio:.2f}"
        slower = "  SLOWER" if each.is_slower else ""
        name = each.name.rpartition("/")[2].replace(".py::test_", " ")
        lines.append(
            f"{name:54} {_micro(each.before):>12} {_micro(each.now):>12} {ratio:>6}{slower}"
        )
    lines.append(f"us; the baseline's times are x {machine:.2f}, as the calibration says")
    return "\n".join(lines)


def _micro(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1e6:,.2f}"


def times_in(report: Mapping[str, object]) -> dict[str, float]:
    """Return the times in a report of pytest-benchmark."""
    return {each["fullname"]: each["stats"]["min"] for each in report["benchmarks"]}


def fastest(one: Times, other: Times) -> dict[str, float]:
    """Return the better time of each."""
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
    """Time all, what is slower once more; return the comparison and the machine's factor."""
    times = measured()
    slower = [each.name for each in compare(baseline, times) if each.is_slower]
    if slower:
        print(f"timing {len(slower)} once more", file=sys.stderr)
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
