"""A short run of the benchmark, with this checkout's fastroute only."""

import subprocess
import sys

import pytest

from benchmarks import raw as raw_file
from benchmarks.__main__ import FULL, QUICK, options, planned
from benchmarks.comparison.environments import ROOT
from benchmarks.comparison.peers import PEERS, chosen_peers

PEER = "fastroute-checkout"


def bench(directory, *arguments: str):
    command = [sys.executable, "-m", "benchmarks", "--quick", "--peer", PEER]
    done = subprocess.run(
        [*command, "--output", str(directory), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return raw_file.load(directory / "bench.json")


def test_rounds(tmp_path):
    scenarios = ("json-saturated", "prompts-100k")
    chosen = [word for name in scenarios for word in ("--scenario", name)]
    run = bench(tmp_path, "--part", "rounds", "--rounds", "1", "--seconds", "0.4", *chosen)
    assert set(run.rounds) == set(scenarios)
    for both in run.rounds.values():
        assert set(both) == {"direct", PEER}
        for who, (one,) in both.items():
            assert one.units > 0
            assert one.checked >= one.units
            assert one.errors == {}
            assert one.cpu_seconds["servers" if who == "direct" else who] > 0
    document = (tmp_path / "bench.md").read_text()
    assert f"| {PEER} |" in document
    assert (tmp_path / "bench.json").exists()


def test_choosing(tmp_path):
    run = bench(tmp_path, "--part", "choosing")
    assert run.subject == PEER
    assert set(run.choosing) == {8, 200}
    assert all(1e-7 < seconds < 1e-2 for seconds in run.choosing.values())


@pytest.mark.parametrize(
    ("arguments", "plan"),
    [
        pytest.param([], FULL, id="full"),
        pytest.param(["--quick"], QUICK, id="quick"),
    ],
)
def test_plans(arguments, plan):
    assert planned(options(arguments)) == plan


def test_a_plan_can_be_changed():
    plan = planned(options(["--rounds", "7", "--seconds", "9", "--patience", "2"]))
    for timing in (plan.timing, plan.studies):
        assert (timing.rounds, timing.seconds, timing.patience) == (7, 9, 2)
    assert plan.timing.warmup == FULL.timing.warmup


def test_the_usual_proxies():
    assert [peer.name for peer in chosen_peers()] == [
        "nginx",
        "haproxy",
        "vllm-router",
        "smg",
        "fastroute",
    ]
    assert [peer.name for peer in chosen_peers([PEER, "nginx"])] == ["nginx", PEER]
    assert len({peer.name for peer in PEERS}) == len(PEERS)


def test_a_proxy_of_another_name_is_refused():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--peer", "apache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "invalid choice: 'apache'" in done.stderr
