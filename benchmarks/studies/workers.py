"""Two workers compared with one: throughput, CPU time per request, distribution of clients."""

import http.client
import socket
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack

import msgspec
import orjson

from benchmarks.comparison import measuring
from benchmarks.comparison.measuring import Timing
from benchmarks.comparison.peers import Peer
from benchmarks.comparison.scenarios import Scenario
from benchmarks.comparison.spec import LoadResult
from benchmarks.comparison.stage import Cores, Stage, Target

COUNTS = (1, 2)
# Each worker, the load and the stand-in servers must have a core to show what two workers can do.
CORES_NEEDED = 4
_CLIENTS = 1000
_SECONDS_TO_ACCEPT = 5.0
_SATURATED = Scenario("workers", "", kind="closed", connections=64)


class Result(msgspec.Struct, kw_only=True):
    """Results; `rounds` has one result per round for each number of workers."""

    rounds: dict[int, list[LoadResult]]
    clients: list[int]
    """Number of clients of each of two workers, after all connected at the same time."""
    worker_cores: int
    """Number of cores of the workers."""


def run(stage: Stage, peer: Peer, timing: Timing) -> Result:
    """Measure one and two workers in turn.

    Where there are too few cores, all workers share the one that is the proxy's: then CPU for a
    request can be compared, and throughput cannot.
    """
    cores = Cores.chosen(for_proxy=2)
    wide = Stage(stage.directory, cores)
    rounds: dict[int, list[LoadResult]] = {count: [] for count in COUNTS}
    with wide.servers() as servers, ExitStack() as stack:
        proxies = {
            count: stack.enter_context(wide.proxy(peer, servers, "--workers", str(count)))
            for count in COUNTS
        }
        for number in range(1, timing.rounds + 1):
            for count, proxy in proxies.items():
                result = measuring.measure(_SATURATED, proxy, timing, cores)
                measuring.note_progress(
                    f"{number}/{timing.rounds} {count} workers", proxy.name, result
                )
                rounds[count].append(result)
        clients = clients_of_workers(proxies[max(COUNTS)])
    print(f"{_CLIENTS} clients spread as {clients}", file=sys.stderr)
    return Result(rounds=rounds, clients=clients, worker_cores=len(cores.proxy))


def clients_of_workers(proxy: Target) -> list[int]:
    """Connect many clients at the same time; return the number of clients of each worker."""
    (port,) = proxy.ports
    with ExitStack() as stack:
        for _ in range(_CLIENTS):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        return _settled(lambda: _connected(port))


def _settled(read: Callable[[], list[int]]) -> list[int]:
    """Read until all clients have been accepted."""
    deadline = time.monotonic() + _SECONDS_TO_ACCEPT
    while sum(found := read()) < _CLIENTS and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def _connected(port: int) -> list[int]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/load-stats")
        stats = orjson.loads(connection.getresponse().read())
    finally:
        connection.close()
    return [worker["client_connections"] for worker in stats["summary"]["workers"]]


def difference(clients: list[int]) -> float:
    """Return the difference between the workers' clients, relative to an equal share."""
    return (max(clients) - min(clients)) / (sum(clients) / len(clients))
