"""`fastroute top` of a router in front of real vLLM servers."""

import json
import subprocess
import sys

import pytest

from tests.real.router_process import RouterProcess
from tests.real.vllm_server import MODEL_NAME, VllmServer
from tests.real.waiting import wait_until

pytestmark = pytest.mark.real


def top(url: str, option: str) -> str:
    command = [sys.executable, "-m", "fastroute", "top", url, option]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def running(server: dict) -> int:
    return server["detailed_metrics"]["num_requests_running"] or 0


def test_what_it_shows_is_what_the_servers_say(
    router: RouterProcess, servers: list[VllmServer], through, measured
):
    stream = through.completions.create(
        model=MODEL_NAME, prompt="Once upon a time", max_tokens=8000, stream=True
    )
    with stream:
        next(iter(stream))

        def seen() -> list[dict]:
            return json.loads(top(router.url, "--json"))["servers"]

        # The engine's own figure comes with the next scrape.
        wait_until(lambda: sum(running(server) for server in seen()) == 1, 10)
        shown = seen()
        assert sum(server["in_flight"] for server in shown) == 1
        assert {server["url"] for server in shown} == {server.url for server in servers}
        assert all(server["models"] == [MODEL_NAME] for server in shown)
        table = top(router.url, "--once")
    for line in table.splitlines():
        measured(line)
    assert all(f"127.0.0.1:{server.port}" in table for server in servers)
