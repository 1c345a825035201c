"""Servers whose numbers stand still, with the real processes: clients are not taken for a hang."""

import concurrent.futures
import json
import socket
import time
from contextlib import closing

import pytest

from tests.support.command import RunningCommand, wait_until
from tests.support.failing_server import MODEL, FailingServer, failing_servers
from tests.support.failures import ask, start_router, states, wait_for_models

STALLS = {"stall_timeout": 1, "scrape_interval": 0.1}
BODY = json.dumps({"model": MODEL, "case": "large"})
LARGE = (
    "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    f"Content-Length: {len(BODY)}\r\n\r\n{BODY}"
).encode()


def metrics(running: int = 0, waiting: int = 0, tokens: int = 7, *, asleep: bool = False) -> bytes:
    """Return metrics of vLLM; those of a test stand still until it sets others."""
    return (
        f'vllm:num_requests_running{{model_name="m"}} {running}\n'
        f'vllm:num_requests_waiting{{model_name="m"}} {waiting}\n'
        f'vllm:generation_tokens_total{{model_name="m"}} {tokens}\n'
        f'vllm:engine_sleep_state{{engine="0",sleep_state="awake"}} {int(not asleep)}\n'
    ).encode()


@pytest.fixture(name="start")
def start_fixture(tmp_path):
    """Run a router with short times for these servers, and wait until it knows their models."""

    def start(*servers: FailingServer, **settings):
        return start_router(tmp_path, *servers, **STALLS | settings)

    return start


def ask_large(router: RunningCommand) -> socket.socket:
    """Ask for a large response, which is not read yet."""
    client = socket.create_connection(("127.0.0.1", router.port))
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.sendall(LARGE)
    return client


def watch(router: RunningCommand, seconds: float) -> tuple[set[str], set[int]]:
    """Return the states seen, and the statuses of good requests sent meanwhile."""
    seen: set[str] = set()
    got: set[int] = set()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        seen |= states(router)
        got.add(ask(router)[0])
        time.sleep(0.05)
    return seen, got


def test_clients_that_read_2_kb_a_second(start):
    """After 60 s their servers "made no progress", and two of them took two servers away."""
    with failing_servers(2) as servers:
        for server in servers:
            server.metrics = metrics(running=1)
        with start(*servers) as router:
            wait_for_models(router, 2)
            with closing(ask_large(router)) as first, closing(ask_large(router)) as second:
                wait_until(lambda: router.in_flight() == 2)
                deadline = time.monotonic() + 3
                while time.monotonic() < deadline:
                    for client in (first, second):
                        assert client.recv(200)
                    assert states(router) == {"up"}
                    time.sleep(0.1)
                assert router.in_flight() == 2, "they still read"
                assert ask(router)[0] == 200
            wait_until(lambda: router.in_flight() == 0)


def test_prefills_longer_than_stall_timeout(start):
    """On all servers alike; other requests pass meanwhile."""
    with failing_servers(2) as servers:
        for server in servers:
            server.metrics = metrics(running=1)
            server.silence = 3.0
        with start(*servers) as router, concurrent.futures.ThreadPoolExecutor(4) as pool:
            wait_for_models(router, 2)
            prefills = [pool.submit(ask, router, case="silent") for _ in range(4)]
            wait_until(lambda: router.in_flight() == 4)
            seen = set()
            while not all(prefill.done() for prefill in prefills):
                seen |= states(router)
            assert [prefill.result()[0] for prefill in prefills] == [200] * 4
            assert seen == {"up"}


@pytest.mark.parametrize("path", ["/v1/load_lora_adapter", "/v1/chat/completions"])
def test_one_server_and_a_slow_request(path, start):
    """An admin call says nothing of the engine; even a stalled server answers other requests."""
    with failing_servers(1) as [server]:
        server.metrics, server.silence = metrics(running=1), 3.0
        with start(server) as router, concurrent.futures.ThreadPoolExecutor(1) as pool:
            wait_for_models(router, 1)
            slow = pool.submit(ask, router, path, case="silent")
            wait_until(lambda: router.in_flight() == 1)
            seen, deadline = set(), time.monotonic() + 2.0
            while time.monotonic() < deadline:
                seen |= states(router)
            assert ask(router)[0] == 200, "while the slow one waits"
            assert slow.result()[0] == 200
            assert seen == ({"up"} if path == "/v1/load_lora_adapter" else {"up", "ejected"})


def test_gauges_that_stand_still(start):
    """Seen after mass aborts: requests of nobody, for ever. The server gets requests again."""
    with failing_servers(2) as servers:
        frozen, other = servers
        frozen.metrics = metrics(running=40, waiting=9)
        other.metrics = metrics()
        with start(*servers, policy="load") as router:
            wait_for_models(router, 2)
            seen, got = watch(router, 1.0)
            wait_until(lambda: ask(router)[0] == 200 and frozen.asked > 5, 20)
            assert (seen, got) == ({"up"}, {200})


@pytest.mark.parametrize("after", [None, b"junk"], ids=["404", "junk"])
def test_a_server_whose_metrics_end_while_it_sleeps(after, start):
    """Nothing says any more that it sleeps: it is tried again."""
    with failing_servers(1) as [server]:
        server.metrics = metrics(asleep=True)
        with start(server) as router:
            wait_until(lambda: states(router) == {"asleep"})
            server.metrics = after
            wait_until(lambda: states(router) == {"up"}, 20)
            assert ask(router)[0] == 200
