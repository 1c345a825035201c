"""Fixtures of the tests with real vLLM: two servers, fastroute in front of them, clients.

These tests run with `pytest tests/real -m real` only; a plain `pytest` does not even import them.
`FASTROUTE_REAL_SERVERS="PORT PORT"` uses servers that are already running on this machine
(`python -m tests.real.vllm_server PORT PORT`) and so saves their start while developing; tests
that must kill a server are skipped then.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import pytest

from tests.real.router_process import RouterProcess
from tests.real.setup_vllm import ensure_ready
from tests.real.vllm_server import VllmServer, free_port
from tests.real.waiting import wait_until
from tests.real.wire import exchange, post

MEASURED = pytest.StashKey[list[str]]()

# The first test of a run waits for the installation and for two servers to start.
TIMEOUT = 1200


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Ignore these files unless they are requested."""
    return None if config.option.markexpr == "real" else True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give these tests more time than the others get."""
    for item in items:
        if item.get_closest_marker("real"):
            item.add_marker(pytest.mark.timeout(TIMEOUT))


def pytest_configure(config: pytest.Config) -> None:
    config.stash[MEASURED] = []


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    """Print the tests' measurements, for docs/real-vllm.md."""
    if config.stash[MEASURED]:
        terminalreporter.section("measured")
        for line in config.stash[MEASURED]:
            terminalreporter.write_line(line)


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Keeps a line for the summary at the end of the run."""
    return lambda line: request.config.stash[MEASURED].append(f"{request.node.name}: {line}")


@pytest.fixture(scope="session")
def servers() -> Iterator[list[VllmServer]]:
    """Two real vLLM servers with the same model, warmed up."""
    ensure_ready()
    if ports := os.environ.get("FASTROUTE_REAL_SERVERS", "").split():
        found = [VllmServer(int(port), is_ours=False) for port in ports]
    else:
        found = [VllmServer(free_port()) for _ in range(2)]
    try:
        for server in found:
            if server.is_ours:
                server.start()
        for server in found:
            server.wait_until_healthy()
        with ThreadPoolExecutor() as pool:
            list(pool.map(warm_up, found))
        yield found
    finally:
        for server in found:
            server.stop()


def warm_up(server: VllmServer) -> None:
    """Trigger the server's work of the first use, and verify once more that it responds.

    The prompt has more than one token, because a first request of one token crashed vLLM
    0.32.0's worker process (SIGILL) on the development machine; later ones did not.
    """
    payload = {"model": "tiny", "prompt": "warm up", "max_tokens": 2, "logprobs": 1}
    assert exchange(server.port, post("/v1/completions", payload)).status == 200


@pytest.fixture(scope="session")
def router(
    servers: list[VllmServer], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RouterProcess]:
    """A router in front of both servers, for the whole session."""
    arguments = [word for server in servers for word in ("--server", server.url)]
    log_path = tmp_path_factory.mktemp("router") / "fastroute.log"
    router = RouterProcess([*arguments, "--max-load", "16"], log_path)
    try:
        yield router
    finally:
        assert router.stop() == 0, router.log()
    assert "Traceback" not in router.log(), router.log()


@pytest.fixture
def spawn_router(tmp_path: Path) -> Iterator[Callable[..., RouterProcess]]:
    """Starts routers for a single test; those still running must have nothing in flight."""
    started: list[RouterProcess] = []

    def start(*arguments: str) -> RouterProcess:
        started.append(RouterProcess([*arguments], tmp_path / f"fastroute-{len(started)}.log"))
        return started[-1]

    yield start
    try:
        for router in started:
            if router.is_running():
                wait_until(lambda router=router: router.in_flight() == 0, 2)
    finally:
        for router in started:
            router.stop()
    for router in started:
        assert "Traceback" not in router.log(), router.log()


@pytest.fixture(autouse=True)
def nothing_left(router: RouterProcess, servers: list[VllmServer]) -> Iterator[None]:
    """Check after each test that no request is in flight in fastroute or on the servers."""
    yield
    wait_until(lambda: router.in_flight() == 0, 2)
    wait_until(lambda: all(s.running() + s.waiting() == 0 for s in servers), 2)


@pytest.fixture
def direct(servers: list[VllmServer]) -> Iterator[openai.OpenAI]:
    """The official client, connected directly to the first server."""
    with client_of(servers[0].url) as client:
        yield client


@pytest.fixture
def through(router: RouterProcess) -> Iterator[openai.OpenAI]:
    """The official client, connected to fastroute."""
    with client_of(router.url) as client:
        yield client


def client_of(url: str) -> openai.OpenAI:
    """The official client; without retries, which would hide a failure."""
    return openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=60)
