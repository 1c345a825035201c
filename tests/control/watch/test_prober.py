"""A probe says how a server answered, and the next comes when its owner wants it."""

import asyncio
import contextlib

import pytest

from fastroute.control.watch.prober import keep_probing, probe_once
from fastroute.net.http_client import ServerClient
from fastroute.server_address import ServerAddress
from fastroute.standin.engine import Mode
from tests.support.ports import free_port
from tests.support.scripted import read_request, replies, scripted
from tests.support.standins import standin, until


def client_of(url):
    return ServerClient(ServerAddress.from_url(url))


async def probe(url, within=5.0):
    with contextlib.closing(client_of(url)) as client:
        return await probe_once(client, within)


async def hang(reader, writer):
    await read_request(reader)
    await reader.read()


class Server:
    """What a loop tells of a server."""

    def __init__(self, interval=60.0, timeout=5.0):
        self.probe_interval = interval
        self.health_check_timeout = timeout
        self.probes = []

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
    """As vLLM's does: only its frozen token counter tells."""
    async with standin() as server:
        server.engine.set_mode(Mode.HUNG)
        assert (await probe(server.url)).ok


async def test_unhealthy():
    async with standin(healthy=False) as server:
        seen = await probe(server.url)
    assert (seen.ok, seen.slow, seen.reason) == (False, False, "/health answered 503")


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


async def test_no_answer_in_time_is_slow():
    async with scripted(hang) as server:
        seen = await probe(server.url, 0.05)
    assert (seen.ok, seen.slow, seen.reason) == (False, True, "no answer within 0.05 s")
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
    # 40 are due; waiting for the other one would leave 2.
    assert len(well.probes) >= 10


async def test_cancelled_it_leaves_no_connection():
    server = Server()
    async with standin() as other:
        async with probing(other.url, server):
            await until(lambda: server.probes)
        await until(lambda: other.counters.connections_open == 0)
