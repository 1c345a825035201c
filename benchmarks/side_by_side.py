"""fastroute beside nginx and HAProxy: CPU per request and per streamed event, in one run.

    python -m benchmarks.side_by_side            # 5 rounds, about 7 minutes
    python -m benchmarks.side_by_side --quick    # 3 short rounds, under 3 minutes

Each proxy runs with one worker in front of the same four stand-in servers. Rounds are interleaved
(direct, nginx, haproxy, fastroute, direct, ...), so that whatever else the machine does hits all.
Every answer is checked to the byte; wrong ones are listed under the table, and the exit code is 1.
"""

import argparse
import datetime
import os
import platform
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
import orjson
import uvloop

from benchmarks.comparison import processes, report
from benchmarks.comparison.peers import PEERS, Peer, Place, allow_open_files
from benchmarks.comparison.scenarios import SCENARIOS, TICK, Scenario
from benchmarks.comparison.spec import LoadResult, LoadSpec

RESULTS = Path(__file__).parent / "results"
SERVERS = 4


class Target(msgspec.Struct, frozen=True):
    """Something to send load to: a proxy, or the stand-in servers themselves."""

    name: str
    ports: tuple[int, ...]
    watched: dict[str, int]


class Cores(msgspec.Struct, frozen=True):
    """Where a proxy runs, and where all else does.

    Left to itself the scheduler now lets two processes share a core, which makes waking each other
    cheap, and now does not: the figures of one proxy then differ by a factor of two.
    """

    proxy: set[int]
    others: set[int]

    @classmethod
    def chosen(cls, *, pinned: bool) -> "Cores":
        allowed = sorted(os.sched_getaffinity(0))
        if not pinned or len(allowed) < 2:
            return cls(set(allowed), set(allowed))
        return cls({allowed[-1]}, set(allowed[:-1]))


class Timing(msgspec.Struct, frozen=True):
    """How often and how long, in seconds; how often again when disturbed."""

    rounds: int
    warmup: float
    seconds: float
    patience: int = 0


QUICK = Timing(rounds=3, warmup=0.4, seconds=2.0)
FULL = Timing(rounds=5, warmup=1.0, seconds=5.0)


@contextmanager
def started(peers: Sequence[Peer], directory: Path, cores: Cores) -> Iterator[list[Target]]:
    """Start the stand-in servers and every proxy, all of which then stay up for all rounds."""
    log = directory / "servers.log"
    command = ["benchmarks.comparison.upstream", "--servers", str(SERVERS), "--tick", str(TICK)]
    with ExitStack() as stack:
        servers = stack.enter_context(
            processes.running([sys.executable, "-m", *command], log, cores.others)
        )
        ports = tuple(orjson.loads(processes.wait_for_line(servers, log)))
        watched = {"servers": servers.pid}
        targets = [Target(report.DIRECT, ports, watched)]
        for peer in peers:
            own = directory / peer.name
            own.mkdir(mode=0o755)
            place = Place(processes.free_port(), ports, own)
            log = own / "output.log"
            proxy = stack.enter_context(processes.running(peer.command(place), log, cores.proxy))
            processes.wait_for_answer(proxy, log, place.port)
            targets.append(Target(peer.name, (place.port,), {**watched, peer.name: proxy.pid}))
        yield targets


def measure(scenario: Scenario, target: Target, timing: Timing, cores: Cores) -> LoadResult:
    """Run one load process against one target.

    Raises:
        RuntimeError: when the load process itself fails.
    """
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
    command = [sys.executable, "-m", "benchmarks.comparison.load"]
    output = processes.output_of(
        [*command, msgspec.json.encode(spec).decode()],
        timing.warmup + timing.seconds + 40,
        cores.others,
    )
    return msgspec.json.decode(output, type=LoadResult)


def measure_in_peace(
    scenario: Scenario, target: Target, timing: Timing, cores: Cores
) -> LoadResult:
    """Measure, and again up to `timing.patience` times while other work disturbs; keep the calmest.

    What is kept depends on what else ran, never on the figure itself.
    """
    calmest = measure(scenario, target, timing, cores)
    for _ in range(timing.patience):
        if report.others(calmest) <= report.DISTURBING_CORES:
            break
        again = measure(scenario, target, timing, cores)
        again.errors = dict(report.errors([calmest, again]))
        if report.others(again) < report.others(calmest):
            calmest = again
        calmest.errors = again.errors
    return calmest


def run_rounds(
    scenarios: Sequence[Scenario], targets: Sequence[Target], timing: Timing, cores: Cores
) -> dict[str, report.Rounds]:
    """Measure everything, `rounds` times over; says on stderr what it is at."""
    results = {one.name: {target.name: [] for target in targets} for one in scenarios}
    for number in range(1, timing.rounds + 1):
        for scenario in scenarios:
            for target in targets:
                result = measure_in_peace(scenario, target, timing, cores)
                results[scenario.name][target.name].append(result)
                note_progress(f"{number}/{timing.rounds} {scenario.name}", target, result)
    return results


def note_progress(label: str, target: Target, result: LoadResult) -> None:
    who = "servers" if target.name == report.DIRECT else target.name
    cost = report.cpu_per_unit(result, who)
    wrong = f", WRONG {result.errors}" if result.errors else ""
    rate = result.units / result.seconds
    print(
        f"{label:20} {target.name:10} {cost:6.1f} us ({who}), {rate:9,.0f}/s{wrong}",
        file=sys.stderr,
    )


def machine(peers: Sequence[Peer]) -> dict[str, object]:
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "cpu": names[0] if names else platform.machine(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "uvloop": uvloop.__version__,
        "versions": {peer.name: peer.version_line() for peer in peers},
    }


def written(
    facts: dict[str, object], timing: Timing, results: dict[str, report.Rounds], name: str
) -> str:
    """Write the tables and the raw figures; return the tables."""
    chosen = [one for one in SCENARIOS if one.name in results]
    heading = (
        f"{facts['date']}, {facts['cpu']}, {facts['cores']} cores, Linux {facts['kernel']}, "
        f"Python {facts['python']}, uvloop {facts['uvloop']}, load average at the start "
        f"{facts['load_average'][0]:.1f}; {'; '.join(facts['versions'].values())}. "
        f"Proxies on core {facts['cores_used'].proxy}, all else on {facts['cores_used'].others}. "
        f"{timing.rounds} interleaved rounds of {timing.seconds:g} s; medians, spread is min-max.\n"
    )
    text = "\n".join([heading, *(report.table(one, results[one.name]) for one in chosen)])
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.md").write_text(text)
    raw = {
        "machine": facts,
        "timing": timing,
        "scenarios": {one.name: one._asdict() for one in chosen},
        "summary": {key: report.summary(rounds) for key, rounds in results.items()},
        "rounds": results,
    }
    formatted = msgspec.json.format(msgspec.json.encode(raw), indent=1)
    (RESULTS / f"{name}.json").write_bytes(formatted + b"\n")
    return text


def installed(names: list[str]) -> list[Peer]:
    """Return the chosen proxies that are here; say which are not, and how to get them."""
    chosen = [peer for peer in PEERS if not names or peer.name in names]
    for peer in chosen:
        if not peer.is_installed():
            print(f"{peer.name} is not installed: {peer.package}", file=sys.stderr)
    return [peer for peer in chosen if peer.is_installed()]


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="3 short rounds")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="length of one measurement")
    parser.add_argument(
        "--peer", action="append", default=[], choices=[peer.name for peer in PEERS]
    )
    parser.add_argument(
        "--scenario", action="append", default=[], choices=[one.name for one in SCENARIOS]
    )
    parser.add_argument(
        "--patience",
        type=int,
        default=0,
        help="how often a measurement that other work disturbed is repeated",
    )
    parser.add_argument(
        "--unpinned",
        action="store_true",
        help="let the scheduler place the processes; else the proxy has a core of its own",
    )
    parser.add_argument("--name", default="side_by_side", help="of the files in results/")
    return parser.parse_args()


def chosen_timing(chosen: argparse.Namespace) -> Timing:
    timing = QUICK if chosen.quick else FULL
    return Timing(
        chosen.rounds or timing.rounds,
        timing.warmup,
        chosen.seconds or timing.seconds,
        chosen.patience,
    )


def main() -> int:
    chosen = options()
    timing = chosen_timing(chosen)
    cores = Cores.chosen(pinned=not chosen.unpinned)
    scenarios = [one for one in SCENARIOS if not chosen.scenario or one.name in chosen.scenario]
    peers = installed(chosen.peer)
    # SIGTERM as Ctrl-C: both unwind the stacks, which ends what we started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    allow_open_files()
    facts = {**machine(peers), "cores_used": cores}
    begun = time.monotonic()
    try:
        with processes.scratch_directory() as directory:
            with started(peers, directory, cores) as targets:
                results = run_rounds(scenarios, targets, timing, cores)
    except processes.StartFailed as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; everything started has been ended", file=sys.stderr)
        return 130
    print(written(facts, timing, results, chosen.name))
    print(f"{time.monotonic() - begun:.0f} s; raw figures in {RESULTS}", file=sys.stderr)
    everything = [one for rounds in results.values() for many in rounds.values() for one in many]
    return 1 if report.errors(everything) else 0


if __name__ == "__main__":
    sys.exit(main())
