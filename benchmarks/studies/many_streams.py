"""10,000 streams with one event per second through one worker: errors, delay, memory."""

import itertools
import resource
import sys
from collections.abc import Sequence

import msgspec

from benchmarks.comparison import measuring, processes
from benchmarks.comparison.peers import Peer
from benchmarks.comparison.spec import LoadResult, LoadSpec
from benchmarks.comparison.stage import DIRECT, Stage, Target

TICK = 1.0
# Descriptors of a proxy for other purposes; each stream has two.
_SPARE_FILES = 200


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """Number of streams, and duration of the measurement in seconds."""

    first: int
    streams: int
    seconds: float


def streams_allowed(wanted: int, open_files: int) -> int:
    """Return the number of streams that a proxy can have with this limit of open files."""
    return max(1, min(wanted, (open_files - _SPARE_FILES) // 2))


def run(stage: Stage, peers: Sequence[Peer], size: Size) -> dict[str, LoadResult]:
    """Measure without a proxy and through each of the peers, one after the other."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    streams = streams_allowed(size.streams, files)
    if streams < size.streams:
        print(f"only {streams} streams: {files} open files are allowed", file=sys.stderr)
    results = {}
    with stage.servers("--tick", str(TICK), "--stamped") as servers:
        results[DIRECT] = _measure(stage, servers, streams, size)
        for peer in peers:
            try:
                with stage.proxy(peer, servers) as proxy:
                    results[peer.name] = _measure(stage, proxy, streams, size)
            except processes.StartFailed as error:
                print(error, file=sys.stderr)
    return results


def _measure(stage: Stage, target: Target, streams: int, size: Size) -> LoadResult:
    spec = LoadSpec(
        kind="many",
        ports=target.ports,
        connections=streams,
        first_connections=min(size.first, streams),
        request_bytes=1024,
        tick=TICK,
        warmup=1.0,
        seconds=size.seconds,
        watched=target.watched,
    )
    result = measuring.run_load(spec, stage.cores)
    measuring.note_progress(f"{streams} streams", target.name, result)
    return result


def bytes_per_stream(result: LoadResult, who: str) -> list[tuple[int, float]]:
    """Return the growth of resident memory per stream in each step, and the number of streams."""
    steps = result.resident_steps
    return [
        (streams, (resident[who] - resident_before[who]) / (streams - before))
        for (before, resident_before), (streams, resident) in itertools.pairwise(steps)
        if streams > before
    ]
