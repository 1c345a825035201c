"""Results of one run of the benchmark, and the raw file that stores them."""

import datetime
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import uvloop

from benchmarks.comparison import environments, figures
from benchmarks.comparison.figures import Rounds
from benchmarks.comparison.measuring import Timing
from benchmarks.comparison.peers import SUBJECT, Peer
from benchmarks.comparison.spec import LoadResult
from benchmarks.comparison.stage import Cores
from benchmarks.studies.cross_check import Check
from benchmarks.studies.startup import Start
from benchmarks.studies.workers import Result as WorkersResult


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Machine and software of the run."""

    date: str
    cpu: str
    cores: int
    kernel: str
    python: str
    uvloop: str
    """Version of uvloop, used by the load and the stand-in servers."""
    load_average: float
    """Load average of the minute before the start, which shows other work."""
    versions: dict[str, str]


class Raw(msgspec.Struct, kw_only=True):
    """One run. Skipped parts are None or empty."""

    machine: Machine
    cores: Cores
    timing: Timing
    subject: str = SUBJECT
    """The proxy to whose figures the targets apply."""
    left_out: dict[str, str] = {}
    """Parts and proxies that could not be installed, started or measured, with the reason."""
    rounds: dict[str, Rounds] = {}
    """Scenario -> proxy -> one result per round."""
    wrk: dict[str, Check] = {}
    many_streams: dict[str, LoadResult] = {}
    workers: WorkersResult | None = None
    scraping: dict[str, list[LoadResult]] = {}
    choosing: dict[int, float] = {}
    starts: dict[str, list[Start]] = {}
    seconds: float = 0.0
    """Duration of the run."""

    def leave_out(self, what: str, reason: str) -> None:
        """Record that something could not be measured, without local paths."""
        self.left_out = {**self.left_out, what: reason.replace(str(environments.ROOT), ".")}

    def errors(self) -> dict[str, int]:
        """Return the numbers of wrong responses, by reason."""
        everything = [
            *(one for rounds in self.rounds.values() for many in rounds.values() for one in many),
            *self.many_streams.values(),
            *(one for many in self.scraping.values() for one in many),
            *(
                one
                for many in (self.workers.rounds if self.workers else {}).values()
                for one in many
            ),
        ]
        return dict(figures.errors(everything))


def machine(peers: Sequence[Peer]) -> Machine:
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return Machine(
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        cpu=names[0] if names else platform.machine(),
        cores=os.cpu_count() or 1,
        kernel=platform.release(),
        python=platform.python_version(),
        uvloop=uvloop.__version__,
        load_average=os.getloadavg()[0],
        versions={peer.name: peer.version_line() for peer in peers},
    )


def save(raw: Raw, path: Path) -> None:
    """Write a raw file, with a summary of the rounds for human readers."""
    summary = {name: figures.summary(rounds) for name, rounds in raw.rounds.items()}
    document: Mapping[str, object] = {**msgspec.to_builtins(raw), "summary": summary}
    encoded = msgspec.json.encode(document)
    # Indented, so that a change of one figure is one line in a diff.
    path.write_bytes(msgspec.json.format(encoded, indent=1) + b"\n")


def load(path: Path) -> Raw:
    """Read a raw file.

    Raises:
        msgspec.ValidationError: It is not a raw file.
        OSError: It cannot be read.
    """
    return msgspec.json.decode(path.read_bytes(), type=Raw)
