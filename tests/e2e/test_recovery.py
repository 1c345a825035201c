"""Servers that crash, hang, sleep and recover, with the real processes and default settings except
intervals."""

import os
import signal
import socket
import time
from contextlib import ExitStack

import pytest

from tests.support.command import RunningCommand, running, wait_until
from tests.support.config_file import write_config
from tests.support.ports import free_port
from tests.support.standins import StandInProcess, standin_process
from tests.support.traffic import BODY, traffic

RUN = ("run", "--host", "127.0.0.1", "--port", "0")
REQUEST = (
    "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    f"content-length: {len(BODY)}\r\n\r\n{BODY}"
).encode()


@pytest.fixture(name="start")
def start_fixture(tmp_path):
    """Run a router for these servers."""

    def start(*servers: StandInProcess, workers: int = 1, **settings):
        path = tmp_path / "servers.toml"
        write_config(path, *(server.url for server in servers), **settings)
        return running(tmp_path, *RUN, "--config", str(path), "--workers", str(workers))

    return start


def wait_for_state(router: RunningCommand, server: StandInProcess, state: str, seconds: float):
    """Wait for a server's state; return the seconds it took."""
    began = time.monotonic()
    wait_until(lambda: router.statuses()[server.url] == state, seconds)
    return time.monotonic() - began


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_under_traffic_and_restarted(workers, start):
    port = ("--port", str(free_port()))
    with standin_process() as first, standin_process(*port) as second:
        with start(first, second, workers=workers) as router, traffic(router.port) as clients:
            wait_until(lambda: clients.good > 20)
            second.kill()
            wait_for_state(router, second, "down", seconds=5)
            good = clients.good
            wait_until(lambda: clients.good > good + 20)
            with standin_process(*port) as again:
                wait_for_state(router, again, "up", seconds=15)
                wait_until(lambda: again.state()["served"] > 5)
            assert clients.bad == []
        assert f"server {second.url} is DOWN: " in router.stderr()
        assert f"server {second.url} is UP: " in router.stderr()


def test_killed_while_nobody_asks(start):
    with standin_process() as server, start(server) as router:
        wait_until(lambda: "has models" in router.stderr())
        server.kill()
        wait_for_state(router, server, "down", seconds=10)
        reason = "3 health checks in a row failed: cannot connect: Connection refused"
        assert f"server {server.url} is DOWN: {reason}\n" in router.stderr()
        assert router.stderr().count("is DOWN") == 1


def test_ill_by_its_own_account(start):
    with standin_process() as server, start(server, health_check_interval=0.2) as router:
        server.set(healthy=False)
        wait_for_state(router, server, "down", seconds=8)
        assert "3 health checks in a row failed: /health returned 503" in router.stderr()
        server.set(healthy=True)
        wait_for_state(router, server, "up", seconds=8)


def test_a_hung_engine(start):
    settings = {"stall_timeout": 1, "scrape_interval": 0.1}
    with standin_process("--token-interval", "0.05") as server, start(server, **settings) as router:
        with router.connect() as client:
            # Its metrics do not change any more, and do not count new requests.
            server.set(hung=True)
            client.sendall(REQUEST)
            wait_for_state(router, server, "ejected", seconds=5)
            assert server.state()["mode"] == "hung"
            assert "its engine makes no progress: no byte and no token for 1 s" in router.stderr()
            server.set(hung=False)
            wait_for_state(router, server, "trial", seconds=5)
            assert client.recv(4096).startswith(b"HTTP/1.1 200 OK\r\n")
        # Health checks succeeded while it hung: only a request proves that it works.
        with router.connect() as client:
            client.sendall(REQUEST)
            wait_for_state(router, server, "up", seconds=5)


def test_a_slow_stream_is_no_hung_engine(start):
    """Its tokens come more slowly than stall_timeout, but its counter increases."""
    settings = {"stall_timeout": 1, "scrape_interval": 0.1}
    with standin_process("--token-interval", "0.4", "--ttft", "0.4") as server:
        with start(server, **settings) as router, router.connect() as client:
            body = BODY.replace('"max_tokens": 2', '"max_tokens": 8').encode()
            client.sendall(
                b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"
                b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
                % (len(body), body)
            )
            assert client.recv(4096).startswith(b"HTTP/1.1 200 OK\r\n")
            assert "DOWN" not in router.stderr()


def test_asleep(start):
    with standin_process() as server, start(server, scrape_interval=0.1) as router:
        server.set(sleeping=True)
        wait_for_state(router, server, "asleep", seconds=5)
        assert f"server {server.url} is ASLEEP: its engine is asleep\n" in router.stderr()
        server.set(sleeping=False)
        wait_for_state(router, server, "up", seconds=5)


@pytest.mark.parametrize("servers", [1, 2])
def test_put_to_sleep_and_woken_through_the_router(servers, start):
    """The requests that wake a server go to the one that sleeps."""
    with ExitStack() as stack:
        fleet = [stack.enter_context(standin_process()) for _ in range(servers)]
        router = stack.enter_context(start(*fleet, scrape_interval=0.1))
        assert router.ask("/sleep?level=1", "POST") == {"status": "sleeping", "level": 1}
        wait_until(lambda: "asleep" in router.statuses().values())
        for _ in range(5):
            assert router.ask("/is_sleeping") == {"is_sleeping": True}
        assert router.ask("/wake_up", "POST") == {"status": "awake", "tags": None}
        wait_until(lambda: set(router.statuses().values()) == {"up"})
        assert router.ask("/is_sleeping") == {"is_sleeping": False}


def test_a_server_that_shuts_down_loses_no_request(start):
    """For a while it returns 200 for /health and 500 for every new request."""
    with standin_process("--shutdown-timeout", "5") as leaving, standin_process() as staying:
        leaving.set(ttft=3.0)
        with (
            # With policy load the server with its last client would get too few requests.
            start(leaving, staying, policy="round_robin") as router,
            socket.create_connection(("127.0.0.1", leaving.port)) as its_last_client,
        ):
            its_last_client.sendall(REQUEST)
            wait_until(lambda: leaving.state()["running"] == 1)
            with traffic(router.port) as clients:
                leaving.signal(signal.SIGTERM)
                wait_for_state(router, leaving, "ejected", seconds=5)
                good = clients.good
                wait_until(lambda: clients.good > good + 20)
            assert clients.bad == []
        line = f"server {leaving.url} is EJECTED: it is shutting down"
        assert line in router.stderr(), router.stderr()


def test_a_worker_that_is_replaced_knows_what_is_known(start):
    with standin_process() as server, start(server) as router:
        wait_until(lambda: "has models" in router.stderr())
        server.kill()
        wait_for_state(router, server, "down", seconds=10)
        (before,) = router.worker_pids()
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: router.worker_pids() != [before])
        with router.connect() as client:
            client.sendall(REQUEST)
            assert client.recv(4096).startswith(b"HTTP/1.1 503 ")
        assert router.get("/v1/models")["data"][0]["id"] == "standin"


def test_servers_that_never_answer_delay_nothing(start, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent, standin_process() as server:
        silent_url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        path = tmp_path / "servers.toml"
        write_config(path, silent_url, server.url, scrape_timeout=60, health_check_timeout=60)
        with running(tmp_path, *RUN, "--config", str(path)) as router:
            assert router.statuses() == {silent_url: "up", server.url: "up"}
            url = f"server {server.url} has models: standin"
            wait_until(lambda: url in router.stderr(), 2)
            assert router.stop() == 0
