"""Routers that are each other's servers: no request goes round, and nothing else does."""

import asyncio
import re

import pytest

from fastroute.rules.via import MAX_HOPS
from tests.support.ports import free_port
from tests.support.processes import router_process
from tests.support.score_table import put_server
from tests.support.scripted import replies, scripted
from tests.support.standin_client import ask, client, get, post
from tests.support.standins import standin

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def counted(port, name):
    """Sum of a metric of a router."""
    text = (await ask(port, get("/metrics"))).body.decode()
    return sum(map(float, re.findall(rf"^{name}(?:{{.*}})? ([0-9.]+)$", text, re.M)))


def lead(router, port):
    """Replace the server of a router."""
    router.configure({"url": f"http://127.0.0.1:{port}", "generation": 2})
    put_server(router.table, 0, generation=2)


async def test_two_routers(start_router):
    """One request made 33,000 hops, until the last connection timed out."""
    first = await start_router("http://127.0.0.1:9")
    second = await start_router(f"http://127.0.0.1:{first.port}")
    lead(first, second.port)
    for raw in (get("/v1/x"), post("/v1/chat/completions", {"model": "m"})):
        reply = await ask(first.port, raw)
        assert reply.status == 508
        assert b"has passed this router before" in reply.body
        assert b"LoopDetectedError" in reply.body
    assert first.total("started") == second.total("started") == 2


async def test_a_router_that_is_its_own_server(start_router):
    router = await start_router("http://127.0.0.1:9")
    lead(router, router.port)
    assert (await ask(router.port, get("/v1/x"))).status == 508
    assert router.total("started") == 1


@pytest.mark.parametrize(("hops", "status"), [(MAX_HOPS, 200), (MAX_HOPS + 1, 508)])
async def test_hops(start_router, hops, status):
    """Proxies without a mark of ours in a loop end it, too, at the latest by their number."""
    async with scripted(replies(OK)) as server:
        router = await start_router(server.url)
        async with client(router.port) as connection:
            via = b", ".join([b"1.1 p"] * hops)
            connection.send(b"GET /v1/x HTTP/1.1\r\nHost: t\r\nVia: %b\r\n\r\n" % via)
            assert (await connection.receive()).status == status


async def test_metrics_with_a_slash(start_router):
    async with standin() as server:
        router = await start_router(server.url)
        for path in ("/metrics/", "/metrics/?name[]=vllm:num_requests_running"):
            assert b"fastroute_requests_total" in (await ask(router.port, get(path))).body
    assert router.total("started") == 0


async def test_scrapes_and_listings(tmp_path):
    """Without any client, two routers sent each other 800 requests a second."""
    ports = [free_port(), free_port()]
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    settings = {"scrape_interval": 0.05, "health_check_interval": 0.2}
    runs = [
        router_process(
            folder,
            f"http://127.0.0.1:{other}",
            options=("--port", str(port)),
            **settings,
        )
        for folder, port, other in zip(folders, ports, reversed(ports), strict=True)
    ]
    async with runs[0], runs[1], asyncio.timeout(30):
        for port in ports:
            while await counted(port, "fastroute_scrape_failures_total") < 4:
                await asyncio.sleep(0.05)
        # Listings of models are forwarded until a server has told some: once there, once back.
        for port in ports:
            assert await counted(port, "fastroute_requests_started_total") < 20
