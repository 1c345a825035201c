"""Time to choose a server, by the number of servers; run with the wheel's Python.

The parent runs this module with the Python of the environment that it measures.
"""

import json
import os
import subprocess
import sys
import timeit
from pathlib import Path

SERVERS = (8, 200)
_REPEATS = 7
_SECONDS = 60


def run(python: Path | str, scratch: Path, cores: set[int]) -> dict[int, float]:
    """Return seconds for a choice by number of servers.

    Args:
        python: Python of the environment whose fastroute is measured.
        scratch: A directory for a link to the benchmarks. This checkout itself must not be on the
            path, for its fastroute would be measured then.
        cores: Cores to use.
    """
    link = scratch / "path" / "benchmarks"
    if not link.exists():
        link.parent.mkdir()
        link.symlink_to(Path(__file__).parents[1], target_is_directory=True)
    done = subprocess.run(
        [str(python), "-P", "-m", "benchmarks.studies.choosing", *map(str, SERVERS)],
        env=os.environ | {"PYTHONPATH": str(link.parent)},
        cwd=scratch,
        stdout=subprocess.PIPE,
        check=True,
        timeout=_SECONDS,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    found = {int(servers): seconds for servers, seconds in json.loads(done.stdout).items()}
    for servers, seconds in found.items():
        print(f"choosing among {servers} servers: {seconds * 1e6:.2f} us", file=sys.stderr)
    return found


def seconds_for_a_choice(servers: int) -> float:
    """Measure the choice among servers with different loads, of which one is the lowest.

    The result is the best of several repeats, because slower ones are due to other work.
    """
    from benchmarks.comparison import traffic
    from benchmarks.in_memory import InMemoryWorker

    worker = InMemoryWorker(servers)
    try:
        state = worker.state
        router = state.router
        for server in router.servers:
            state.cells.in_flight[server.row] = 3 + server.row * 7 % 11
        free = router.servers[servers // 2]
        state.cells.in_flight[free.row] = 1
        body = traffic.chat_request(1024)
        group, _, _ = router.find(traffic.CHAT_PATH.encode(), b"application/json", body)
        assert router.choose(group, []) is free, "the best server was not chosen"
        timer = timeit.Timer(lambda: router.choose(group, []))
        number, _ = timer.autorange()
        return min(timer.repeat(_REPEATS, number)) / number
    finally:
        worker.close()


if __name__ == "__main__":
    print(json.dumps({count: seconds_for_a_choice(int(count)) for count in sys.argv[1:]}))
