"""The control plane with real vLLM: load, health, recovery, models, the configuration file."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.real.conftest import warm_up
from tests.real.router_process import RouterProcess, servers_toml
from tests.real.steady_load import DONE, Outcome, SteadyLoad
from tests.real.tap import Tap
from tests.real.vllm_server import MODEL_NAME, SLOTS, VllmServer
from tests.real.waiting import wait_until
from tests.real.wire import (
    WireConnection,
    WireReply,
    completion,
    exchange,
    post,
    request_bytes,
    stream_text,
)

pytestmark = pytest.mark.real

# Two scrape intervals with their jitter, and the response time of a server on two busy cores.
TWO_SCRAPES = 2.5
# A change of servers.toml is detected within a second; the rest is for a busy machine.
RELOAD = 2.0
RECOVERY = 15.0
# Far more tokens than any test here waits for.
LONG = 4000


@pytest.fixture(scope="module", autouse=True)
def as_they_were(servers: list[VllmServer]) -> Iterator[None]:
    """Restores the servers for later tests."""
    yield
    for server in servers:
        if model_ids(server.port) != [MODEL_NAME]:
            start_again(server)


def start_again(server: VllmServer) -> None:
    server.stop()
    server.start()
    server.wait_until_healthy()
    warm_up(server)


def model_ids(port: int) -> list[str]:
    """Return the models that a server or fastroute lists; none without a response."""
    try:
        reply = exchange(port, request_bytes("GET", "/v1/models"))
    except OSError:
        return []
    return [model["id"] for model in json.loads(reply.content)["data"]]


@pytest.fixture
def mortal(servers: list[VllmServer]) -> Iterator[list[VllmServer]]:
    """The servers, of which a test may stop one; it is restarted if the test failed to."""
    if not all(server.is_ours for server in servers):
        pytest.skip("the servers belong to somebody else")
    yield servers
    for server in servers:
        if not server.answers():
            start_again(server)


@pytest.fixture
def started(spawn_router, servers: list[VllmServer]) -> RouterProcess:
    """A router that has scraped both servers."""
    urls = [word for server in servers for word in ("--server", server.url)]
    router: RouterProcess = spawn_router(*urls, "--max-load", str(SLOTS))
    wait_until_known(router, servers)
    return router


def wait_until_known(router: RouterProcess, servers: list[VllmServer]) -> None:
    def are_known() -> bool:
        seen = [router.server(server.url) for server in servers]
        return all(s.get("scrape_age_seconds") is not None for s in seen)

    wait_until(are_known, 5)


@contextmanager
def load_from_outside(server: VllmServer, requests: int = 2 * SLOTS) -> Iterator[None]:
    """Streams that bypass fastroute: one per slot runs, the others wait."""
    with ExitStack() as stack:
        for _ in range(requests):
            stack.enter_context(WireConnection(server.port)).send(completion(LONG))
        running = min(requests, SLOTS)
        wait_until(lambda: server.running() == running, 10)
        wait_until(lambda: server.waiting() == requests - running, 10)
        yield
    wait_until(lambda: server.running() + server.waiting() == 0, 5)


def ask(router: RouterProcess, payload: dict[str, Any] | None = None) -> int:
    """Send one short plain request; return the status."""
    request = {"model": MODEL_NAME, "prompt": "Once upon a time", "max_tokens": 2}
    return exchange(router.port, post("/v1/completions", {**request, **(payload or {})})).status


def ask_in_turn(router: RouterProcess, count: int) -> None:
    assert [ask(router) for _ in range(count)] == [200] * count


def ask_at_once(router: RouterProcess, count: int) -> None:
    with ThreadPoolExecutor(count) as pool:
        assert list(pool.map(lambda _: ask(router), range(count))) == [200] * count


def sent(router: RouterProcess, servers: list[VllmServer]) -> list[int]:
    """Return the requests that fastroute has sent so far, by server."""
    return [router.server(server.url)["requests"]["started"] for server in servers]


@contextmanager
def shares(router: RouterProcess, servers: list[VllmServer]) -> Iterator[list[int]]:
    """Yield a list that is filled with the number of requests to each server in the block."""
    result: list[int] = []
    before = sent(router, servers)
    yield result
    result += [now - was for now, was in zip(sent(router, servers), before, strict=True)]


def test_load_from_outside_moves_requests(started, servers, measured):
    """One server gets 32 streams bypassing fastroute: requests go to the other meanwhile."""
    busy, idle = servers
    with load_from_outside(busy):
        seen = wait_until(lambda: started.server(busy.url)["score"] > 1, TWO_SCRAPES)
        with shares(started, [busy, idle]) as in_turn:
            ask_in_turn(started, 20)
        with shares(started, [busy, idle]) as at_once:
            ask_at_once(started, 16)
    over = wait_until(lambda: started.server(busy.url)["score"] == 0, TWO_SCRAPES)
    with shares(started, [busy, idle]) as afterwards:
        ask_at_once(started, 16)
    measured(
        f"outside load seen after {seen:.2f} s; then 20 requests {in_turn}, 16 at once {at_once}; "
        f"its end seen after {over:.2f} s; then 16 at once {afterwards}"
    )
    assert in_turn == [0, 20]
    assert at_once[1] >= 15
    assert min(afterwards) >= 4


GAUGES = {
    "num_requests_running": "vllm:num_requests_running",
    "num_requests_waiting": "vllm:num_requests_waiting",
    "gpu_cache_usage_perc": "vllm:kv_cache_usage_perc",
    "generation_tokens_total": "vllm:generation_tokens_total",
}


@pytest.mark.parametrize("requests", [0, 5, 2 * SLOTS], ids=["idle", "five", "full"])
def test_numbers_are_those_of_the_server(started, servers, measured, requests):
    """Values in /load-stats lie between the server's own just before and just after."""
    server = servers[0]
    with load_from_outside(server, requests):
        before = {name: server.metric(metric) for name, metric in GAUGES.items()}
        read_at = time.monotonic()
        wait_until(lambda: scraped_since(started, server, read_at), TWO_SCRAPES)
        seen = started.server(server.url)
        after = {name: server.metric(metric) for name, metric in GAUGES.items()}
        assert (before["num_requests_running"], before["num_requests_waiting"]) == (
            min(requests, SLOTS),
            max(0, requests - SLOTS),
        )
        ages = []
        while time.monotonic() < read_at + 2 * TWO_SCRAPES:
            ages.append(started.server(server.url)["scrape_age_seconds"])
            time.sleep(0.02)
    for name, value in seen["detailed_metrics"].items():
        if name in GAUGES:
            # The cache's share is stored in millionths.
            assert before[name] - 1e-6 <= value <= after[name] + 1e-6, name
    assert seen["scrape_failures"] == 0
    assert max(ages) < TWO_SCRAPES
    cache = seen["detailed_metrics"]["gpu_cache_usage_perc"]
    measured(f"{requests} requests: KV cache {cache:.6f}, scraped at most {max(ages):.2f} s ago")


def scraped_since(router: RouterProcess, server: VllmServer, moment: float) -> bool:
    asked_at = time.monotonic()
    age: float = router.server(server.url)["scrape_age_seconds"]
    return asked_at - age > moment


def test_only_the_needed_metrics_are_asked_for(spawn_router, servers, measured):
    """Over one kept connection, with two kilobytes per second instead of sixty."""
    with Tap(servers[0].port) as tap:
        router = spawn_router("--server", tap.url)

        def scrapes() -> list[Any]:
            return [c for c in tap.connections if b"GET /metrics" in c.request]

        wait_until(lambda: sum(c.request.count(b"GET /metrics") for c in scrapes()) >= 4, 6)
        assert router.server(tap.url)["scrape_failures"] == 0
        (connection,) = scrapes()
    asked = connection.request.count(b"GET /metrics/?name[]=vllm:num_requests_running&")
    assert asked == connection.request.count(b"GET ")
    size = len(connection.reply) / connection.reply.count(b"HTTP/1.1 200 OK")
    whole = len(servers[0].get("/metrics")[1])
    measured(f"{size:.0f} bytes a scrape, head included; all metrics: {whole}")
    assert size < 6000 < whole


def test_killed_and_restarted_under_load(spawn_router, mortal, measured):
    """SIGKILL: only its streams are truncated. Restarted on its port, it is used within 15 s."""
    victim, survivor = mortal
    urls = [word for server in mortal for word in ("--server", server.url)]
    router = spawn_router(*urls, "--max-load", str(SLOTS))
    with SteadyLoad(router.port, streams=6, plain=6) as load:
        wait_until(lambda: len(load.outcomes()) > 24, 60)
        wait_until(lambda: victim.running() >= 4, 10)
        in_hand = victim.running()
        killed_at = time.monotonic()
        victim.kill()
        wait_until(lambda: router.server(victim.url)["status"] == "down", 10)
        down = time.monotonic() - killed_at
        count = len(load.outcomes())
        wait_until(lambda: len(load.outcomes()) > count + 24, 60)
        measured(f"{in_hand} requests in hand when killed; DOWN after {down:.2f} s")
        victim.stop()
        victim.start(MODEL_NAME, "newcomer")
    # Requests continue, but few: it needs the cores to start.
    with SteadyLoad(router.port, streams=1, plain=1, tokens=10, pause=0.1) as later:
        recovered_in(router, victim, measured)
        ask_in_turn(router, 20)
    failures = load.failures()
    measured(
        f"{len(load.outcomes())} requests, broken streams {len(failures)}, "
        f"others failed {sum(not is_excused(f, killed_at) for f in failures)}, "
        f"tried again {router.retries()}; while away {len(later.outcomes())}, "
        f"failed {len(later.failures())}"
    )
    assert [f for f in failures if not is_excused(f, killed_at)] == []
    assert len(failures) <= in_hand + 1
    assert later.failures() == []
    # What it has now was found out at its return; and a model of one server goes to it alone.
    wait_until(lambda: model_ids(router.port) == [MODEL_NAME, "newcomer"], 2)
    with shares(router, [victim, survivor]) as at_once:
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: ask(router, {"model": "newcomer"}), range(8)))
    assert (answers, at_once) == ([200] * 8, [8, 0])


def is_excused(failure: Outcome, killed_at: float) -> bool:
    """Return True if it was streaming when its server was killed (or a moment later)."""
    return failure.stream and failure.head_at is not None and failure.head_at < killed_at + 0.1


def recovered_in(router: RouterProcess, server: VllmServer, measured) -> None:
    """Wait for a starting server: until /health responds, and until it gets requests."""
    starting = wait_until(server.answers, 300)
    healthy_at = time.monotonic()
    (before,) = sent(router, [server])
    wait_until(lambda: router.server(server.url)["status"] == "up", RECOVERY)
    up = time.monotonic() - healthy_at
    finished = router.server(server.url)["requests"]["finished_2xx"]

    def is_used() -> bool:
        return router.server(server.url)["requests"]["finished_2xx"] > finished

    wait_until(is_used, RECOVERY - up)
    used = time.monotonic() - healthy_at
    assert sent(router, [server])[0] > before
    measured(
        f"/health answered after {starting:.1f} s; UP {up:.2f} s later, a request answered "
        f"{used:.2f} s later"
    )


def test_terminated_server_drains(spawn_router, mortal, measured):
    """SIGTERM: its streams are complete, and no client sees its 500 for new requests."""
    victim = mortal[0]
    urls = [word for server in mortal for word in ("--server", server.url)]
    router = spawn_router(*urls, "--max-load", str(SLOTS))
    with ExitStack() as stack:
        streams = [stack.enter_context(WireConnection(router.port)) for _ in range(6)]
        for stream in streams:
            stream.send(completion(250))
        replies = [stream.read_reply(until_chunks=3) for stream in streams]
        doomed = victim.running()
        assert doomed >= 2
        with SteadyLoad(router.port, streams=1, plain=1, tokens=10) as load:
            signalled_at = time.monotonic()
            victim.terminate()
            down = wait_until(lambda: router.server(victim.url)["status"] == "down", 10)
            reason = router.server(victim.url)["state_reason"]
            refusal = exchange(victim.port, completion(2))
            for stream, reply in zip(streams, replies, strict=True):
                stream.read_chunks(reply)
            wait_until(victim.has_ended, 40)
    measured(
        f"DOWN after {down:.2f} s ({reason}); {doomed} streams of it ended whole; "
        f"{len(load.outcomes())} requests meanwhile, tried again {router.retries()}, "
        f"failed {len(load.failures())}"
    )
    assert (refusal.status, b"cannot schedule new futures" in refusal.content) == (500, True)
    assert [ended_whole(reply, 250) for reply in replies] == [True] * len(replies)
    assert [f for f in load.failures() if not is_cut_by_vllm(f, signalled_at)] == []
    victim.stop()
    victim.start()
    with SteadyLoad(router.port, streams=1, plain=1, tokens=10, pause=0.1) as later:
        recovered_in(router, victim, measured)
    assert later.failures() == []


def is_cut_by_vllm(failure: Outcome, signalled_at: float) -> bool:
    """Return True if it is a stream that crossed the signal.

    VLLM may respond to a request in the last 10 ms or so with 200 and only [DONE], also to direct
    clients; no token was generated, and it cannot be distinguished from a regular response.
    """
    is_empty = failure.problem.startswith("0 tokens: [b'data: [DONE]")
    return failure.stream and is_empty and failure.sent_at < signalled_at + 0.1


def ended_whole(reply: WireReply, tokens: int) -> bool:
    return reply.chunks[-1] == DONE and len(stream_text(reply.chunks)) == tokens


def test_hung_engine_is_taken_out(spawn_router, mortal, tmp_path: Path, measured):
    """A server's /health and /metrics still respond while its engine hangs."""
    hung, other = mortal
    config = tmp_path / "servers.toml"
    config.write_text(servers_toml([server.url for server in mortal], stall_timeout=5))
    router = spawn_router("--config", str(config))
    engine = hung.engine_pid()
    with ExitStack() as stack:
        streams = [stack.enter_context(WireConnection(router.port)) for _ in range(6)]
        for stream in streams:
            stream.send(completion(200))
        replies = [stream.read_reply(until_chunks=3) for stream in streams]
        assert hung.running() >= 2
        os.kill(engine, signal.SIGSTOP)
        try:
            down = wait_until(lambda: router.server(hung.url)["status"] == "down", 12)
            reason = router.server(hung.url)["state_reason"]
            assert hung.answers()
            with shares(router, [hung, other]) as meanwhile:
                ask_in_turn(router, 20)
        finally:
            os.kill(engine, signal.SIGCONT)
        up = wait_until(lambda: router.server(hung.url)["status"] == "up", RECOVERY)
        for stream, reply in zip(streams, replies, strict=True):
            stream.read_chunks(reply)
    measured(f"DOWN after {down:.2f} s ({reason}); UP {up:.2f} s after it goes on")
    assert meanwhile == [0, 20]
    assert [ended_whole(reply, 200) for reply in replies] == [True] * len(replies)
    with shares(router, [hung, other]) as afterwards:
        ask_at_once(router, 16)
    assert min(afterwards) >= 4


@pytest.mark.parametrize("edit", ["removed", "drained"])
def test_server_taken_out_by_file(spawn_router, servers, tmp_path: Path, measured, edit):
    """It gets no new requests and finishes its streams; without drain, it is used again."""
    leaving, staying = servers
    config = tmp_path / "servers.toml"
    both = servers_toml([leaving.url, staying.url])
    without = [staying.url] if edit == "removed" else [f"{leaving.url}, drain = true", staying.url]
    config.write_text(both)
    router = spawn_router("--config", str(config))
    with ExitStack() as stack:
        streams = [stack.enter_context(WireConnection(router.port)) for _ in range(6)]
        for stream in streams:
            stream.send(completion(250))
        replies = [stream.read_reply(until_chunks=3) for stream in streams]
        finishing, finished = leaving.running(), leaving.finished()
        assert finishing >= 2
        config.write_text(servers_toml(without))
        gone = wait_until(
            lambda: router.server(leaving.url).get("status", "draining") == "draining", RELOAD
        )
        ask_in_turn(router, 20)
        for stream, reply in zip(streams, replies, strict=True):
            stream.read_chunks(reply)
    assert [ended_whole(reply, 250) for reply in replies] == [True] * len(replies)
    ask_in_turn(router, 20)
    # Its streams, and none of the 40 requests.
    assert leaving.finished() == finished + finishing
    config.write_text(both)
    back = used_after(router, leaving)
    measured(f"out after {gone:.2f} s with {finishing} streams to finish, used {back:.2f} s later")


def used_after(router: RouterProcess, server: VllmServer) -> float:
    """Return the seconds until a server gets a request; at most the time of a reload."""
    before = server.finished()

    def is_used() -> bool:
        return ask(router) == 200 and server.finished() > before

    return wait_until(is_used, RELOAD)


def test_server_added_by_file(spawn_router, servers, tmp_path: Path, measured):
    first, added = servers
    config = tmp_path / "servers.toml"
    config.write_text(servers_toml([first.url]))
    router = spawn_router("--config", str(config))
    # Like editors: replace the file by a new one.
    edited = tmp_path / "servers.toml.new"
    edited.write_text(servers_toml([first.url, added.url]))
    os.replace(edited, config)
    measured(f"the added server has answered a request after {used_after(router, added):.2f} s")


def test_unknown_model_and_list_are_as_from_vllm(router, servers):
    """Both are fastroute's own responses; with a single model the bodies are identical."""
    unknown = post("/v1/completions", {"model": "absent", "prompt": "Hi"})
    listing = request_bytes("GET", "/v1/models")
    port = next(s.port for s in servers if model_ids(s.port) == model_ids(router.port))
    for request in (unknown, listing):
        seen, expected = exchange(router.port, request), exchange(port, request)
        assert (seen.status, seen.stable()[2]) == (expected.status, expected.stable()[2])


def test_alias(spawn_router, servers, tmp_path: Path):
    """The server gets the model of the alias; no other byte is changed."""
    body = b'{ "model" : "gpt-4o", "prompt": "The model: gpt-4o", "max_tokens": 2}'
    with Tap(servers[0].port) as tap:
        config = tmp_path / "servers.toml"
        config.write_text(servers_toml([tap.url], aliases=f'{{ "gpt-4o" = "{MODEL_NAME}" }}'))
        router = spawn_router("--config", str(config))
        wait_until(lambda: MODEL_NAME in model_ids(router.port), 5)
        reply = exchange(router.port, request_bytes("POST", "/v1/completions", body))
        asked = next(c.request for c in tap.connections if b"POST /v1/completions" in c.request)
    assert (reply.status, json.loads(reply.content)["model"]) == (200, MODEL_NAME)
    assert bytes(asked).endswith(body.replace(b'"gpt-4o",', b'"tiny",', 1))


def test_check_config(servers, tmp_path: Path):
    """It reports each server, and warns about an unreachable one."""
    config = tmp_path / "servers.toml"
    config.write_text(servers_toml([*(server.url for server in servers), "http://127.0.0.1:1"]))
    command = [sys.executable, "-m", "fastroute", "check-config", "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    version = json.loads(servers[0].get("/version")[1])["version"]
    lines = done.stdout.splitlines()
    for server, line in zip(servers, lines, strict=False):
        names = re.escape(", ".join(model_ids(server.port)))
        start = rf"{server.url}: reachable; version: {re.escape(version)}; models: {names}; "
        assert re.match(start + "metrics: .*num_requests_running.*kv_cache_usage_perc", line), line
    assert lines[2].startswith("http://127.0.0.1:1: unreachable: ")
    assert "1 of 3 servers cannot be reached" in done.stderr
