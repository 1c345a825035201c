import random

import orjson
import pytest

from fastroute.demo.companion import Companion
from fastroute.demo.traffic import ANSWER_TOKENS, WAVE, Client, clients_at
from fastroute.server_address import ServerAddress
from tests.support.command import wait_until
from tests.support.ports import free_port
from tests.support.standins import standin_process


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, 13), (WAVE / 4, 20), (WAVE / 2, 13), (WAVE * 3 / 4, 6), (WAVE, 13), (WAVE * 10.25, 20)],
)
def test_clients_come_and_go(seconds, expected):
    assert clients_at(seconds, 20) == expected


def test_requests_differ():
    client = Client(ServerAddress.from_url("http://[::1]:8888"), random.Random(1))
    requests = [client._request() for _ in range(200)]
    heads, bodies = zip(*(request.split(b"\r\n\r\n", 1) for request in requests), strict=True)
    assert all(b"\r\nHost: [::1]:8888\r\n" in head for head in heads)
    read = [orjson.loads(body) for body in bodies]
    assert {each["stream"] for each in read} == {True, False}
    lengths = {each["max_tokens"] for each in read}
    assert len(lengths) > 50
    assert min(lengths) >= ANSWER_TOKENS[0]
    assert max(lengths) <= ANSWER_TOKENS[1]


def test_clients_run_until_the_demo_ends_and_some_disconnect():
    with standin_process("--slots", "50", "--token-interval", "0.01") as server:
        traffic = Companion("fastroute.demo.traffic", server.url, "--clients", "30")
        wait_until(lambda: server.state()["served"] >= 20)
        wait_until(lambda: server.state()["aborted"] >= 1, 30)
        traffic.stop()
        assert traffic._process.returncode == 0
        # Clients with responses in progress have disconnected.
        wait_until(lambda: server.state()["running"] == 0)


def test_clients_retry_while_the_router_is_unreachable():
    port = free_port()
    traffic = Companion("fastroute.demo.traffic", f"http://127.0.0.1:{port}", "--clients", "4")
    try:
        with standin_process("--port", str(port)) as server:
            wait_until(lambda: server.state()["served"] >= 3)
    finally:
        traffic.stop()
    assert traffic._process.returncode == 0
