"""A probe reports a server's response, and the next follows after its owner's interval."""

import asyncio
import contextlib

import pytest

from fastroute.control.watch.prober import keep_probing, probe_once
from fastroute.net.http_client import ServerClient
from fastroute.rules.health_check import HealthCheck
from fastroute.server_address import ServerAddress
from fastroute.standin.engine import Mode
from tests.support.descriptors import no_descriptors
from tests.support.ports import free_port
from tests.support.scripted import read_request, replies, scripted
from tests.support.standins import standin, until


def client_of(url):
    return ServerClient(ServerAddress.from_url(url))


async def probe(url, within=5.0, **check):
    with contextlib.closing(client_of(url)) as client:
        return await probe_once(client, HealthCheck(**check), within)


async def hang(reader, writer):
    await read_request(reader)
    await reader.read()


class Server:
    """Records what a loop reports."""

    def __init__(self, interval=60.0, timeout=5.0):
        self.probe_interval = interval
        self.health_check_timeout = timeout
        self.health_check = HealthCheck()
        self.probes = []
        self.skips = []

    def skipped(self, reason):
        self.skips.append(reason)

    def probed(self, probe):
        self.probes.append(probe)


@contextlib.asynccontextmanager
async def probing(url, server):
    wake = asyncio.Event()
    task = asyncio.create_task(keep_probing(server, client_of(url), wake))
    try:
        yield wake
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_healthy():
    async with standin() as server:
        seen = await probe(server.url)
    assert (seen.ok, seen.slow, seen.reason) == (True, False, "")
    assert 0 < seen.response_time < 5


async def test_a_hung_engine_looks_healthy():
    """Like vLLM: only the frozen token counter shows the hang."""
    async with standin() as server:
        server.engine.set_mode(Mode.HUNG)
        assert (await probe(server.url)).ok


async def test_unhealthy():
    async with standin(healthy=False) as server:
        seen = await probe(server.url)
    assert (seen.ok, seen.slow) == (False, False)
    assert seen.reason.startswith("/health returned 503, not 2xx; ")
    assert "health_path or health_statuses" in seen.reason


@pytest.mark.parametrize(
    ("status", "ok"),
    [
        pytest.param(204, True, id="no-content"),
        pytest.param(302, False, id="sent-elsewhere"),
        pytest.param(401, False, id="not-allowed"),
        pytest.param(404, False, id="not-found"),
    ],
)
async def test_statuses(status, ok):
    reply = b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status
    async with scripted(replies(reply)) as server:
        assert (await probe(server.url)).ok is ok


def answering(statuses):
    """A handler that answers each path with its status; 500 to those it does not name."""

    async def handler(reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError):  # the end of the connection
            while True:
                head, _ = await read_request(reader)
                status = statuses.get(head.split(b" ", 2)[1].decode(), 500)
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status)

    return handler


@pytest.mark.parametrize(
    ("statuses", "check", "ok", "path"),
    [
        pytest.param({"/health": 404, "/v1/models": 200}, {}, True, "/v1/models", id="404"),
        pytest.param({"/health": 405, "/v1/models": 200}, {}, True, "/v1/models", id="405"),
        pytest.param({"/health": 404, "/v1/models": 401}, {}, False, "/v1/models", id="no-key"),
        pytest.param({"/health": 403, "/v1/models": 200}, {}, False, "/health", id="403"),
        pytest.param({"/ping": 200}, {"path": "/ping"}, True, "/ping", id="path-is-set"),
        pytest.param(
            {"/ping": 404, "/v1/models": 200}, {"path": "/ping"}, False, "/ping", id="only"
        ),
        pytest.param({"/health": 401}, {"statuses": (401,)}, True, "/health", id="status-is-set"),
    ],
)
async def test_servers_without_health(statuses, check, ok, path):
    async with scripted(answering(statuses)) as server:
        seen = await probe(server.url, **check)
    assert (seen.ok, seen.path) == (ok, path)


async def test_the_path_that_a_server_has_is_remembered_while_it_is_good():
    asked, statuses = [], {"/health": 404, "/v1/models": 200}

    class Statuses(dict):
        def get(self, path, default):
            asked.append(path)
            return statuses.get(path, default)

    server = Server(interval=0.001)
    async with scripted(answering(Statuses())) as script, probing(script.url, server):
        await until(lambda: len(server.probes) >= 3)
        assert asked[:4] == ["/health", "/v1/models", "/v1/models", "/v1/models"]
        statuses["/v1/models"] = 500
        statuses["/health"] = 200  # another server was started in its place
        await until(lambda: server.probes[-1].path == "/health")
        assert server.probes[-1].ok


async def test_a_server_that_accepts_and_closes_at_once_fails_its_checks():
    """A TCP proxy whose server is gone does that; each check ended with an AssertionError."""

    async def close(reader, writer):
        writer.transport.abort()

    server = Server(interval=0.001)
    async with scripted(close) as script, probing(script.url, server):
        await until(lambda: len(server.probes) >= 3)
    assert not any(probe.ok or "unexpected" in probe.reason for probe in server.probes)


async def test_no_answer_in_time_is_slow():
    async with scripted(hang) as server:
        seen = await probe(server.url, 0.05)
    assert (seen.ok, seen.slow, seen.reason) == (False, True, "no response within 0.05 s")
    assert seen.response_time >= 0.045


async def test_refused_is_not_slow():
    seen = await probe(f"http://127.0.0.1:{free_port()}")
    assert (seen.ok, seen.slow) == (False, False)
    assert seen.reason == "cannot connect: Connection refused"


async def test_the_first_is_at_once_and_the_interval_is_asked_anew():
    server = Server(interval=60.0)
    async with standin() as other, probing(other.url, server) as wake:
        await until(lambda: len(server.probes) == 1)
        server.probe_interval = 0.001
        wake.set()
        await until(lambda: len(server.probes) >= 5)
        other.settings.healthy = False
        await until(lambda: not server.probes[-1].ok)
        other.settings.healthy = True
        await until(lambda: server.probes[-1].ok)


async def test_an_event_brings_one_probe():
    server = Server(interval=60.0)
    async with standin() as other, probing(other.url, server) as wake:
        for count in (1, 2, 3):
            await until(lambda count=count: len(server.probes) == count)
            await asyncio.sleep(0.01)
            assert len(server.probes) == count
            wake.set()


async def test_a_hung_server_delays_no_other():
    hung, well = Server(interval=0.0, timeout=0.2), Server(interval=0.01)
    async with scripted(hang) as script, standin() as other:
        async with probing(script.url, hung), probing(other.url, well):
            await until(lambda: len(hung.probes) >= 2)
    assert all(probe.slow for probe in hung.probes)
    # 40 are due; only 2 if it waited for the other server.
    assert len(well.probes) >= 10


async def test_cancelled_it_leaves_no_connection():
    server = Server()
    async with standin() as other:
        async with probing(other.url, server):
            await until(lambda: server.probes)
        await until(lambda: other.counters.connections_open == 0)


async def test_a_check_that_could_not_be_sent_is_no_check():
    server = Server(interval=0.001)
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    async with scripted(replies(reply)) as script:
        with no_descriptors():
            async with probing(script.url, server):
                await until(lambda: len(server.skips) >= 3)
        assert server.probes == []
        assert set(server.skips) == {"cannot connect: Too many open files"}
        async with probing(script.url, server):
            await until(lambda: server.probes)
    assert server.probes[0].ok
