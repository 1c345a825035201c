"""Cost of scraping 100 servers each second: the supervisor's CPU time, and the users' p99."""

import sys
import time

from benchmarks.comparison import cpu, measuring
from benchmarks.comparison.measuring import Timing
from benchmarks.comparison.peers import Peer
from benchmarks.comparison.spec import LoadResult, LoadSpec
from benchmarks.comparison.stage import Stage, Target

SERVERS = 100
RATE = 1000.0
SUPERVISOR = "supervisor"
# Servers scraped once at the start, each second filtered, each second unfiltered (64 KB).
OFF, FILTERED, UNFILTERED = "off", "filtered", "unfiltered"
_KINDS = {
    OFF: (86_400.0, ()),
    FILTERED: (1.0, ()),
    UNFILTERED: (1.0, ("--no-filter",)),
}
# At the start all servers are scraped without a filter; the measurement starts later.
_SECONDS_TO_SETTLE = 2.0


def servers_toml(ports: tuple[int, ...], interval: float) -> str:
    servers = ", ".join(
        f'{{ url = "http://127.0.0.1:{port}", max_concurrent_requests = 64 }}' for port in ports
    )
    return f"[servers]\nservers = [ {servers} ]\n[config]\nscrape_interval = {interval}\n"


def run(stage: Stage, peer: Peer, timing: Timing) -> dict[str, list[LoadResult]]:
    """Measure the three kinds in turn, `rounds` times."""
    results: dict[str, list[LoadResult]] = {kind: [] for kind in _KINDS}
    for number in range(1, timing.rounds + 1):
        for kind, (interval, options) in _KINDS.items():
            with stage.servers(*options, count=SERVERS) as servers:
                config = servers_toml(servers.ports, interval)
                with stage.proxy(peer, servers, config=config) as proxy:
                    time.sleep(_SECONDS_TO_SETTLE)
                    result = _measure(stage, proxy, timing)
            results[kind].append(result)
            p99 = result.latencies.get("p99", 0) * 1e6
            wrong = f", WRONG {result.errors}" if result.errors else ""
            print(
                f"{number}/{timing.rounds} scraping {kind:11} supervisor "
                f"{supervisor_share(result):.1%} of a core, p99 {p99:,.0f} us{wrong}",
                file=sys.stderr,
            )
    return results


def _measure(stage: Stage, proxy: Target, timing: Timing) -> LoadResult:
    spec = LoadSpec(
        kind="paced",
        ports=proxy.ports,
        connections=64,
        request_bytes=1024,
        rate=RATE,
        warmup=timing.warmup,
        seconds=timing.seconds,
        watched=proxy.watched,
        alone={SUPERVISOR: supervisor_pid(proxy.watched[proxy.name])},
    )
    return measuring.run_load(spec, stage.cores)


def supervisor_pid(pid: int) -> int:
    """Return the process that has the worker.

    Raises:
        RuntimeError: There are other processes than these two.
    """
    tree = cpu.tree(pid)
    if len(tree) != 2:
        raise RuntimeError(f"a supervisor and one worker were expected, not {len(tree)} processes")
    return tree[0]


def supervisor_share(result: LoadResult) -> float:
    """Return the supervisor's share of one core."""
    return result.cpu_seconds[SUPERVISOR] / result.seconds
