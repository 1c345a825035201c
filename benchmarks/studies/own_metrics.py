"""Delay of users' events while Prometheus scrapes fastroute's /metrics every second.

    python -m benchmarks.studies.own_metrics [--rounds 5] [--seconds 8]

It measures this checkout, compiled or not, with one worker and 200 servers.
"""

import argparse
import statistics
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from benchmarks.comparison import measuring, processes
from benchmarks.comparison.measuring import Timing
from benchmarks.comparison.peers import Peer, chosen_peers
from benchmarks.comparison.spec import LoadResult, LoadSpec
from benchmarks.comparison.stage import Cores, Stage, Target
from benchmarks.studies.scraping import servers_toml

SERVERS = 200
STREAMS = 200
TICK = 0.05
"""Seconds between two events of a stream: 4,000 events a second in all."""

SCRAPE_INTERVAL = 1.0
OFF, PLAIN, GZIP = "off", "plain", "gzip"
KINDS: dict[str, dict[str, str] | None] = {
    OFF: None,
    PLAIN: {},
    GZIP: {"Accept": "application/openmetrics-text;version=1.0.0", "Accept-Encoding": "gzip"},
}
"""Headers of the scrapes; None: there are none. Prometheus asks as the last one."""


def run(stage: Stage, peer: Peer, timing: Timing) -> dict[str, list[LoadResult]]:
    """Measure the kinds in turn, `rounds` times over, at one fastroute."""
    results: dict[str, list[LoadResult]] = {kind: [] for kind in KINDS}
    options = ("--tick", str(TICK), "--stamped")
    with stage.servers(*options, count=SERVERS) as servers:
        # The stand-ins are scraped once: reading 200 of them each second is another study.
        config = servers_toml(servers.ports, 86_400.0)
        with stage.proxy(peer, servers, config=config) as proxy:
            for number in range(1, timing.rounds + 1):
                for kind, headers in KINDS.items():
                    with scraped(proxy.ports[0], headers):
                        result = _measure(stage, proxy, timing)
                    results[kind].append(result)
                    print(f"{number}/{timing.rounds} {kind:6} {text(result)}", file=sys.stderr)
    return results


def _measure(stage: Stage, proxy: Target, timing: Timing) -> LoadResult:
    spec = LoadSpec(
        kind="many",
        ports=proxy.ports,
        connections=STREAMS,
        first_connections=STREAMS,
        request_bytes=1024,
        tick=TICK,
        warmup=timing.warmup,
        seconds=timing.seconds,
        watched=proxy.watched,
    )
    return measuring.run_load(spec, stage.cores)


@contextmanager
def scraped(port: int, headers: dict[str, str] | None) -> Iterator[None]:
    """Scrape /metrics each second meanwhile.

    Raises:
        RuntimeError: A scrape failed.
    """
    if headers is None:
        yield
        return
    done, failures = threading.Event(), []

    def scrape() -> None:
        request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers=headers)
        while not done.wait(SCRAPE_INTERVAL):
            try:
                with urllib.request.urlopen(request, timeout=10) as reply:
                    reply.read()
            except OSError as error:
                failures.append(error)

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    if failures:
        raise RuntimeError(f"/metrics could not be scraped: {failures[0]}")


def text(result: LoadResult) -> str:
    """Write a result as one line."""
    parts = [f"{name} {1e6 * value:,.0f} us" for name, value in result.latencies.items()]
    return ", ".join(parts) + (f", WRONG {result.errors}" if result.errors else "")


def summary(results: dict[str, list[LoadResult]]) -> list[str]:
    """Return a line for each kind: the median over the rounds, and the least."""
    lines = []
    for kind, rounds in results.items():
        for name in ("p50", "p99", "max"):
            values = [1e6 * result.latencies[name] for result in rounds if result.latencies]
            if values:
                middle, least = statistics.median(values), min(values)
                lines.append(f"{kind:6} {name:4} median {middle:8,.0f} us, least {least:8,.0f} us")
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.studies.own_metrics")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8.0)
    chosen = parser.parse_args(arguments)
    timing = Timing(rounds=chosen.rounds, warmup=1.0, seconds=chosen.seconds)
    (peer,) = chosen_peers(["fastroute-checkout"])
    started = time.monotonic()
    with processes.scratch_directory() as directory:
        results = run(Stage(directory, Cores.chosen()), peer, timing)
    print("\n".join(summary(results)))
    print(f"{time.monotonic() - started:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
