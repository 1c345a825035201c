"""`fastroute doctor` and `fastroute route` with real vLLM."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.real.router_process import RouterProcess, servers_toml
from tests.real.vllm_server import MODEL_NAME, SLOTS, VllmServer
from tests.real.waiting import wait_until
from tests.real.wire import WireConnection, completion

pytestmark = pytest.mark.real


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fastroute", *arguments],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


@pytest.fixture(name="config")
def config_fixture(servers: list[VllmServer], tmp_path: Path) -> Path:
    path = tmp_path / "servers.toml"
    path.write_text(servers_toml([s.url for s in servers], aliases=f'{{ "gpt" = "{MODEL_NAME}" }}'))
    return path


def test_all_is_well(config: Path, servers: list[VllmServer], measured):
    """Its output is shown in docs/doctor.md."""
    done = command("doctor", "--config", str(config), "--strict")
    for line in (done.stderr + done.stdout).splitlines():
        measured(line)
    assert done.returncode == 0
    assert done.stdout.endswith(f"verdict: no problems, {len(servers)} of 2 servers\n")
    wait_until(lambda: all(s.running() + s.waiting() == 0 for s in servers), 2)


def test_what_was_measured(config: Path, measured):
    done = command("doctor", "--config", str(config), "--json")
    for server in json.loads(done.stdout)["servers"]:
        found = server["measured"]
        assert 4.7 <= found["keep_alive"]["closed_after"] <= 5.5
        assert found["filtered"]["error"] == ""
        assert found["filtered"]["size"] * 10 < found["metrics"]["size"]
        assert found["metrics"]["kv_cache"]["tokens"] > 8192
        assert found["models"]["context_lengths"] == {MODEL_NAME: 8192}
        assert found["abort"]["back_after"] < 0.5
        assert len(found["stream"]["events_at"]) > 8
        measured(
            f"keep-alive {found['keep_alive']['closed_after']:.3f} s, abort "
            f"{found['abort']['back_after']:.3f} s, {len(found['stream']['events_at'])} events in "
            f"{found['stream']['events_at'][-1] - found['stream']['events_at'][0]:.3f} s"
        )


def test_too_long_a_pool_and_too_many_at_once(servers: list[VllmServer], tmp_path: Path):
    """Both are detected on an overloaded server."""
    config = tmp_path / "servers.toml"
    entry = f"{servers[0].url}, max_concurrent_requests = 64"
    config.write_text(
        servers_toml([entry], pool_idle_timeout=30).replace("max_concurrent_requests = 16, ", "")
    )
    connections = [WireConnection(servers[0].port) for _ in range(SLOTS + 4)]
    try:
        for connection in connections:
            connection.send(completion(4000))
        wait_until(lambda: servers[0].waiting() == 4, 20)
        done = command("doctor", "--config", str(config), "--no-generate", "--strict")
    finally:
        for connection in connections:
            connection.close()
    assert done.returncode == 1
    assert "warning  keep-alive  closes idle connections after 5." in done.stdout
    assert f"warning  capacity    only {SLOTS} requests run while 4 wait" in done.stdout


def test_route_of_the_servers_themselves(config: Path, servers: list[VllmServer]):
    busy, idle = servers
    with WireConnection(busy.port) as connection:
        connection.send(completion(4000))
        wait_until(lambda: busy.running() == 1, 10)
        done = command("route", "--model", "gpt", "--config", str(config), "--json")
    assert done.returncode == 0
    document = json.loads(done.stdout)
    assert (document["model"], document["chosen"]) == (MODEL_NAME, idle.url)
    assert [each["foreign_load"] for each in document["servers"]] == [1.0, 0.0]
    assert command("route", "--model", "absent", "--config", str(config)).returncode == 1


def test_route_of_the_router(router: RouterProcess, servers: list[VllmServer]):
    """The server it names gets the next request."""
    with WireConnection(router.port) as first:
        first.send(completion(4000))
        wait_until(lambda: sum(server.running() for server in servers) == 1, 10)
        done = command("route", "--model", MODEL_NAME, "--url", router.url, "--json")
        document = json.loads(done.stdout)
        (named,) = [server for server in servers if server.url == document["chosen"]]
        assert named.running() == 0
        with WireConnection(router.port) as second:
            second.send(completion(4000))
            wait_until(lambda: named.running() == 1, 10)
