"""Compare fastroute with nginx, HAProxy, vllm-router and smg, and with its targets, in one run.

    python -m benchmarks                                # everything, about 20 minutes
    python -m benchmarks --quick                        # the same, shorter: under 3 minutes
    python -m benchmarks --peer nginx --peer fastroute-checkout --scenario streams-256 --part rounds

Each proxy runs with one worker in front of the same four stand-in servers. Rounds are interleaved
(direct, nginx, haproxy, ..., direct, ...), so that other work on the machine affects all equally.
Every response is compared byte by byte; a wrong one is an error of that proxy, and the exit code
is 1.

Raw figures, tables and plots are written to .bench/results/, with --publish to benchmarks/results/
and into the README. Missing proxies are installed from Debian (as root), PyPI and this checkout.

Exit codes: 0: all responses were correct; 1: some were wrong, or a part failed; 2: it could not
run; 130: interrupted.
"""

import argparse
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from benchmarks import raw as raw_file
from benchmarks import report, tables
from benchmarks.comparison import environments, measuring, processes
from benchmarks.comparison.measuring import Timing
from benchmarks.comparison.peers import PEERS, SUBJECT, Peer, allow_open_files, chosen_peers
from benchmarks.comparison.scenarios import SCENARIOS
from benchmarks.comparison.stage import Cores, Stage
from benchmarks.raw import Raw
from benchmarks.studies import choosing, cross_check, many_streams, scraping, startup, workers

# By part: its field of `Raw`, and the function that measures it.
Studies = dict[str, tuple[str, Callable[[], object]]]

PARTS = ("rounds", "cross-check", "choosing", "starts", "workers", "scraping", "streams")


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Amount of measurements."""

    timing: Timing
    studies: Timing
    """Number of rounds of parts that only fastroute has."""
    streams: many_streams.Size
    starts: int


FULL = Plan(
    timing=Timing(rounds=5, warmup=0.8, seconds=4.0),
    studies=Timing(rounds=3, warmup=0.8, seconds=4.0),
    streams=many_streams.Size(first=1000, streams=10_000, seconds=10.0),
    starts=3,
)
QUICK = Plan(
    timing=Timing(rounds=2, warmup=0.2, seconds=0.6),
    studies=Timing(rounds=1, warmup=0.2, seconds=1.0),
    streams=many_streams.Size(first=200, streams=600, seconds=1.5),
    starts=1,
)


def installed(peers: Sequence[Peer]) -> tuple[list[Peer], dict[str, str]]:
    """Install missing proxies; return the available ones, and why others are missing."""
    here, missing = [], {}
    for peer in peers:
        try:
            peer.install()
        except environments.InstallFailed as error:
            print(f"{peer.name} is skipped: {error}", file=sys.stderr)
            missing[peer.name] = str(error)
        else:
            here.append(peer)
    return here, missing


def subject_of(peers: Sequence[Peer]) -> Peer | None:
    """Return the fastroute to which the targets apply: the wheel's, or the only one available."""
    own = [peer for peer in peers if peer.name.startswith(SUBJECT)]
    return own[0] if own else None


def run(raw: Raw, peers: Sequence[Peer], plan: Plan, chosen: argparse.Namespace) -> None:
    """Measure the chosen parts, and store the results in `raw`."""
    subject = subject_of(peers)
    with processes.scratch_directory() as directory:
        stage = Stage(directory, raw.cores)
        _beside_each_other(raw, peers, plan, stage, chosen)
        studies: Studies = {"starts": ("starts", lambda: startup.run(stage, peers, plan.starts))}
        if subject is not None:
            raw.subject = subject.name
            studies |= _studies_of(subject, stage, plan)
        for part in PARTS:
            if part in chosen.part and part in studies:
                field, study = studies[part]
                _put(raw, field, study)


def _studies_of(subject: Peer, stage: Stage, plan: Plan) -> Studies:
    """Return the studies of fastroute alone."""
    timing = plan.studies
    python, cores = subject.version[0], stage.cores.proxy
    return {
        "choosing": ("choosing", lambda: choosing.run(python, stage.directory, cores)),
        "workers": ("workers", lambda: workers.run(stage, subject, timing)),
        "scraping": ("scraping", lambda: scraping.run(stage, subject, timing)),
        "streams": ("many_streams", lambda: many_streams.run(stage, [subject], plan.streams)),
    }


def _put(raw: Raw, field: str, study: Callable[[], object]) -> None:
    """Store a study's result in `raw`; a failed study must not discard earlier results."""
    try:
        setattr(raw, field, study())
    except (processes.StartFailed, subprocess.SubprocessError, OSError, RuntimeError) as error:
        print(f"{field} is skipped: {error}", file=sys.stderr)
        raw.leave_out(field, str(error))


def _beside_each_other(
    raw: Raw, peers: Sequence[Peer], plan: Plan, stage: Stage, chosen: argparse.Namespace
) -> None:
    """Run the parts for which all proxies run at the same time."""
    if not {"rounds", "cross-check"} & set(chosen.part):
        return
    scenarios = [one for one in SCENARIOS if not chosen.scenario or one.name in chosen.scenario]
    with stage.servers() as servers, stage.all_proxies(peers, servers) as (targets, failed):
        for name, reason in failed.items():
            print(f"{name} is skipped: {reason}", file=sys.stderr)
            raw.leave_out(name, reason)
        if "rounds" in chosen.part:
            raw.rounds = measuring.run_rounds(scenarios, targets, plan.timing, stage.cores)
        if "cross-check" in chosen.part:
            seconds = plan.studies.seconds
            raw.wrk = cross_check.run(targets, stage.directory, seconds, stage.cores.others)


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="few short rounds, fewer streams")
    parser.add_argument("--rounds", type=int, help="number of rounds, instead of the plan's")
    parser.add_argument("--seconds", type=float, help="duration of one measurement")
    parser.add_argument(
        "--part", action="append", choices=PARTS, help="only this one; may be repeated"
    )
    parser.add_argument(
        "--peer",
        action="append",
        choices=[peer.name for peer in PEERS],
        help="only this one; may be repeated",
    )
    parser.add_argument(
        "--pure", action="store_true", help="also fastroute without compiled modules"
    )
    parser.add_argument(
        "--scenario",
        action="append",
        choices=[one.name for one in SCENARIOS],
        help="only this scenario of the part `rounds`; may be repeated",
    )
    parser.add_argument(
        "--patience",
        type=int,
        default=0,
        help="maximum repetitions of a measurement that was disturbed by other work",
    )
    parser.add_argument(
        "--unpinned",
        action="store_true",
        help="let the scheduler place the processes; by default the proxy has a separate core",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=environments.CACHE / "results",
        metavar="DIR",
        help="where to write raw figures, tables and plots (default: .bench/results)",
    )
    parser.add_argument(
        "--publish", action="store_true", help="write benchmarks/results/ and the README instead"
    )
    chosen = parser.parse_args(arguments)
    chosen.part = chosen.part or list(PARTS)
    return chosen


def planned(chosen: argparse.Namespace) -> Plan:
    """Return the plan, changed by the options."""
    plan = QUICK if chosen.quick else FULL
    changes = {"patience": chosen.patience}
    changes |= {"rounds": chosen.rounds} if chosen.rounds else {}
    changes |= {"seconds": chosen.seconds} if chosen.seconds else {}
    return msgspec.structs.replace(
        plan,
        timing=msgspec.structs.replace(plan.timing, **changes),
        studies=msgspec.structs.replace(plan.studies, **changes),
    )


def written(raw: Raw, chosen: argparse.Namespace) -> Path:
    """Write everything; return the path of the raw figures."""
    directory = report.RESULTS if chosen.publish else chosen.output
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "bench.json"
    raw_file.save(raw, path)
    plots = report.write(raw, path)
    if chosen.publish:
        readme = report.README.read_text()
        report.README.write_text(report.with_block(readme, report.readme_block(raw, plots)))
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = options(arguments)
    wanted = chosen_peers([*(chosen.peer or ())])
    if chosen.pure and chosen.peer is None:
        wanted += [peer for peer in PEERS if peer.name == f"{SUBJECT}-pure"]
    # SIGTERM like Ctrl-C: both unwind the stack, which stops all started processes.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    allow_open_files()
    plan = planned(chosen)
    try:
        peers, missing = installed(wanted)
        environments.install_if_allowed("wrk")
        begun = time.monotonic()
        raw = Raw(
            machine=raw_file.machine(peers),
            cores=Cores.chosen(pinned=not chosen.unpinned),
            timing=plan.timing,
        )
        for name, reason in missing.items():
            raw.leave_out(name, reason)
        run(raw, peers, plan, chosen)
    except processes.StartFailed as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; all started processes have been stopped", file=sys.stderr)
        return 130
    raw.seconds = time.monotonic() - begun
    path = written(raw, chosen)
    print(tables.document(raw))
    print(f"{raw.seconds:.0f} s; raw figures in {path}", file=sys.stderr)
    failed = set(raw.left_out) & set(Raw.__struct_fields__)
    return 1 if raw.errors() or failed else 0


if __name__ == "__main__":
    sys.exit(main())
