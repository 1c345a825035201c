"""Ends of connections and processes: idle servers, a drained router, a killed server."""

import json
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.real.router_process import RouterProcess, servers_toml
from tests.real.tap import Tap
from tests.real.vllm_server import VllmServer
from tests.real.waiting import wait_until
from tests.real.wire import BrokenReply, WireConnection, WireReply, completion, post, stream_text

pytestmark = pytest.mark.real

DONE = b"data: [DONE]\n\n"
# vLLM closes a connection that was idle for 5.000 s; around that its end and a request cross.
GAPS = [4.9, 4.98, 4.99, 4.998, 5.0, 5.002, 5.01, 5.1]
ROUNDS = 3
TOKENIZE = post("/tokenize", {"model": "tiny", "prompt": "Hi"})


def statuses_with_gaps(port: int, gap: float) -> list[int]:
    """One client connection, requests `gap` seconds apart."""
    seen = []
    with WireConnection(port) as connection:
        for number in range(ROUNDS + 1):
            time.sleep(gap if number else 0)
            connection.send(TOKENIZE if number % 2 else completion(2, stream=False))
            seen.append(connection.read_reply().status)
    return seen


def config_file(folder: Path, urls: list[str], **settings: float) -> str:
    path = folder / "servers.toml"
    path.write_text(servers_toml(urls, **settings))
    return str(path)


def answers_after_gaps(routers: list[RouterProcess]) -> list[list[int]]:
    """Each gap has a separate router: with one pool requests would share connections."""
    with ThreadPoolExecutor(len(GAPS)) as pool:
        return list(pool.map(statuses_with_gaps, [router.port for router in routers], GAPS))


@pytest.mark.parametrize("pool_idle_timeout", [4, 30], ids=["default", "too-long-on-purpose"])
def test_keep_alive(spawn_router, servers, tmp_path: Path, measured, pool_idle_timeout):
    """A client's connection outlives the server's, and no request is lost at the limit.

    With the default, fastroute closes an idle connection in time. With a longer limit it detects
    nearly all of the server's closes in time; the next test is about the others.
    """
    urls = [server.url for server in servers]
    settings = config_file(tmp_path, urls, pool_idle_timeout=pool_idle_timeout)
    routers = [spawn_router("--config", settings) for _ in GAPS]
    assert answers_after_gaps(routers) == [[200] * (ROUNDS + 1)] * len(GAPS)
    retries = sum(router.retries() for router in routers)
    measured(f"{len(GAPS) * ROUNDS} requests after an idle time, {retries} tried again")


def test_keep_alive_over_a_slow_network(spawn_router, servers, tmp_path: Path, measured):
    """The server's close is still in flight when the next request is sent on the connection.

    A latency of 0.1 s makes sure that this happens; the request was not served, and must be tried
    again on a fresh connection.
    """
    with Tap(servers[0].port, latency=0.1) as tap:
        settings = config_file(tmp_path, [tap.url], pool_idle_timeout=30)
        routers = [spawn_router("--config", settings) for _ in GAPS]
        assert answers_after_gaps(routers) == [[200] * (ROUNDS + 1)] * len(GAPS)
        retries = sum(router.retries() for router in routers)
    measured(f"{len(GAPS) * ROUNDS} requests after an idle time, {retries} tried again")
    assert retries > 0


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_drain(spawn_router, servers: list[VllmServer], measured, sent):
    """A stream in flight continues to its end; idle and new connections are closed."""
    router: RouterProcess = spawn_router(*server_arguments(servers))
    with (
        WireConnection(router.port) as idle,
        WireConnection(router.port) as plain,
        WireConnection(router.port) as connection,
    ):
        idle.send(TOKENIZE)
        assert idle.read_reply().status == 200
        plain.send(completion(200, stream=False))
        connection.send(completion(300))
        reply = connection.read_reply(until_chunks=20)
        router.signal(sent)
        start = time.monotonic()
        assert idle.socket.recv(1) == b""
        wait_until(lambda: is_refused(router.port), 1)
        assert router.is_running()
        answer = plain.read_reply()
        assert (answer.status, answer.value(b"connection")) == (200, b"close")
        connection.read_chunks(reply)
        ended = time.monotonic()
        assert router.wait() == 0
        measured(
            f"stream went on for {ended - start:.2f} s after the signal, "
            f"exit {time.monotonic() - ended:.3f} s after its end"
        )
    assert reply.chunks[-1] == DONE
    assert len(stream_text(reply.chunks)) == 300


def is_refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except ConnectionRefusedError:
        return True
    return False


def server_arguments(servers: list[VllmServer]) -> list[str]:
    return [word for server in servers for word in ("--server", server.url)]


def test_server_killed_under_load(spawn_router, servers: list[VllmServer], measured):
    """Its streams are truncated, without a clean end; others continue; new requests succeed."""
    if not all(server.is_ours for server in servers):
        pytest.skip("the servers belong to somebody else")
    router: RouterProcess = spawn_router(*server_arguments(servers))
    victim, survivor = servers
    streams = [WireConnection(router.port) for _ in range(8)]
    plain = [WireConnection(router.port) for _ in range(4)]
    try:
        for connection in streams:
            connection.send(completion(400))
        for connection in plain:
            connection.send(completion(400, stream=False))
        replies = [connection.read_reply(until_chunks=5) for connection in streams]
        wait_until(lambda: victim.running() + survivor.running() == 12, 5)
        doomed = victim.running()
        assert 3 <= doomed <= 9
        victim.kill()
        with ThreadPoolExecutor(len(streams)) as pool:
            whole = list(pool.map(ends_whole, streams, replies))
        answers = [connection.read_reply() for connection in plain]
        # A plain request without a response byte may be retried elsewhere or fail with a 502.
        moved = router.retries()
        failed = [answer for answer in answers if answer.status != 200]
        later = [one_answer(router.port) for _ in range(20)]
        measured(
            f"{doomed} requests on the killed server: {whole.count(False)} streams broken, "
            f"{len(failed)} answered 502, {moved} tried elsewhere; {len(later)} later ones fine"
        )
        assert all(json.loads(answer.content)["error"]["code"] == 502 for answer in failed)
        assert whole.count(False) + len(failed) + moved == doomed
        assert later == [200] * 20
        assert victim.url.removeprefix("http://") in router.log()
    finally:
        for connection in [*streams, *plain]:
            connection.close()
        victim.stop()
        victim.start()
        victim.wait_until_healthy()
    # It is used again after its restart, and no request fails meanwhile.
    before = victim.finished()
    deadline = time.monotonic() + 60
    while victim.finished() == before:
        assert one_answer(router.port) == 200
        assert time.monotonic() < deadline


def ends_whole(connection: WireConnection, reply: WireReply) -> bool:
    """Return True if a stream is complete; otherwise it must be truncated, without added data."""
    try:
        connection.read_chunks(reply)
    except BrokenReply:
        # Raised because the last chunk is missing; nothing before may look like an end either.
        assert DONE not in reply.chunks
        return False
    assert reply.chunks[-1] == DONE
    assert len(stream_text(reply.chunks)) == 400
    return True


def one_answer(port: int) -> int:
    with WireConnection(port) as connection:
        connection.send(completion(2, stream=False))
        return connection.read_reply().status
