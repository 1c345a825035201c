import json
import os
import subprocess
import sys

import pytest

from benchmarks.micro import (
    BASELINE,
    CALIBRATION,
    Comparison,
    NoComparison,
    compare,
    fastest,
    save,
    table,
    times_in,
)

ROOT = BASELINE.parents[2]
ALL = ("-o", "python_files=bench_*.py")
ALONE = {name: os.environ[name] for name in os.environ if "XDIST" not in name}
"""Return the environment for a pytest outside pytest-xdist, in which benchmarks are disabled."""


@pytest.mark.parametrize(
    ("calibration", "now", "ratio", "slower"),
    [
        pytest.param(1.0, 1.0, 1.0, False, id="same"),
        pytest.param(1.0, 1.19, 1.19, False, id="just-below"),
        pytest.param(1.0, 1.25, 1.25, True, id="slower"),
        pytest.param(2.0, 2.0, 1.0, False, id="half-as-fast-a-machine"),
        pytest.param(0.5, 1.0, 2.0, True, id="slower-on-a-faster-machine"),
        pytest.param(1.0, 0.5, 0.5, False, id="faster"),
    ],
)
def test_a_piece_is_judged_by_the_machine(calibration, now, ratio, slower):
    (one,) = compare({CALIBRATION: 1.0, "a": 1.0}, {CALIBRATION: calibration, "a": now})
    assert one.ratio == pytest.approx(ratio)
    assert one.is_slower == slower


def test_new_and_gone_pieces_are_shown_and_not_judged():
    compared = compare({CALIBRATION: 1.0, "gone": 1.0}, {CALIBRATION: 1.0, "new": 9.0})
    assert compared == [Comparison("gone", 1.0, None), Comparison("new", None, 9.0)]
    assert not any(one.is_slower for one in compared)
    assert table(compared, 1.0).count(" - ") >= 2


@pytest.mark.parametrize("times", [({}, {CALIBRATION: 1.0}), ({CALIBRATION: 1.0}, {})])
def test_without_calibration_nothing_is_compared(times):
    with pytest.raises(NoComparison, match="--save"):
        compare(*times)


def test_the_table_names_what_is_slower():
    text = table([Comparison("benchmarks/bench_policy.py::test_choose[8]", 2e-6, 3e-6)], 1.5)
    (_, line, last) = text.splitlines()
    assert line.split() == ["bench_policy", "choose[8]", "2.00", "3.00", "1.50", "SLOWER"]
    assert "x 1.50" in last


def test_the_faster_of_two_times_counts():
    assert fastest({"a": 2.0, "b": 1.0}, {"a": 1.0, "c": 3.0}) == {"a": 1.0, "b": 1.0, "c": 3.0}


def test_save_sorts(tmp_path):
    save({"b": 2.0, "a": 1.0}, tmp_path / "new" / "micro.json")
    assert (tmp_path / "new" / "micro.json").read_text() == '{\n "a": 1.0,\n "b": 2.0\n}\n'


def test_a_report_of_the_real_runner(tmp_path):
    """Only the calibration, timed as by `make bench-micro`: outside pytest-xdist."""
    report = tmp_path / "report.json"
    options = [*ALL, "--benchmark-max-time=0.05", "--quiet"]
    subprocess.run(
        [sys.executable, "-m", "pytest", CALIBRATION, f"--benchmark-json={report}", *options],
        cwd=ROOT,
        env=ALONE,
        check=True,
        capture_output=True,
        timeout=60,
    )
    (name, seconds) = times_in(json.loads(report.read_text())).popitem()
    assert name == CALIBRATION
    assert 1e-6 < seconds < 1.0


def test_the_baseline_has_every_benchmark():
    """A part without a baseline could become slower unnoticed."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "benchmarks", *ALL, "--collect-only", "--quiet"],
        cwd=ROOT,
        env=ALONE,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    collected = {line for line in done.stdout.splitlines() if "::" in line}
    assert collected == set(json.loads(BASELINE.read_text()))
