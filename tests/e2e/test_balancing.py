"""Balancing by current load: bursts, several workers, external traffic, weights."""

import asyncio
import contextlib
from collections import Counter

import pytest

from tests.support.processes import router_process
from tests.support.scripted import read_request, replies, scripted
from tests.support.standin_client import ask, chat, client, post
from tests.support.standins import standins, until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
BURST = 200
# Servers and clients share a loop here: 200 new connections may take some seconds.
PATIENT = {"connect_timeout": 30.0}
REQUEST = chat(model="standin", fields="Connection: close\r\n")


async def burst(port: int, servers) -> list[int]:
    """Send 200 requests concurrently; return their number at each server when all had arrived.

    The stand-ins send no response before that.
    """
    asking = [asyncio.ensure_future(ask(port, REQUEST)) for _ in range(BURST)]
    engines = [server.engine for server in servers]
    await until(lambda: sum(e.running + e.waiting for e in engines) == BURST, 20)
    spread = [engine.running + engine.waiting for engine in engines]
    for asked in asking:
        asked.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    await until(lambda: not any(e.running + e.waiting for e in engines), 20)
    return spread


@pytest.mark.parametrize("policy", ["load", "least_inflight", "power_of_two", "round_robin"])
async def test_burst_in_one_worker(start_router, policy):
    """Within one scrape interval, none of 4 equal servers gets more than 30 %."""
    async with standins(4, ttft=60.0) as servers:
        router = await start_router(*(server.url for server in servers), policy=policy, **PATIENT)
        spread = await burst(router.port, servers)
    print(f"{policy}, 1 worker: {spread}")
    assert max(spread) <= 0.3 * BURST
    if policy != "power_of_two":
        assert spread == [50] * 4


async def test_burst_in_several_workers(tmp_path):
    """Each worker sees the others' requests in flight: the result is as good as with one."""
    async with standins(4, ttft=60.0) as servers:
        urls = [server.url for server in servers]
        async with router_process(
            tmp_path, *urls, workers=2, scrape_interval=60.0, **PATIENT
        ) as router:
            await all_up(router, 4)
            spread = await burst(router.port, servers)
            await until_no_requests(router)
    print(f"load, 2 workers: {spread}")
    assert max(spread) <= 0.3 * BURST
    assert max(spread) - min(spread) <= 6, "workers choose at the same moment now and then"


async def all_up(router, count: int) -> None:
    """Wait until the supervisor has reported all servers as usable."""
    async with asyncio.timeout(20):
        while True:
            stats = await asyncio.to_thread(router.get, "/load-stats")
            if stats["summary"]["healthy_servers"] == count:
                return
            await asyncio.sleep(0.02)


async def until_no_requests(router) -> None:
    async with asyncio.timeout(20):
        while await asyncio.to_thread(router.in_flight):
            await asyncio.sleep(0.02)


async def test_both_workers_take_part(tmp_path):
    """The burst above would prove nothing if one worker had got all requests."""
    async with standins(2) as servers:
        urls = [server.url for server in servers]
        async with router_process(tmp_path, *urls, workers=2) as router:
            await all_up(router, 2)
            async with contextlib.AsyncExitStack() as stack:
                for _ in range(40):
                    connection = await stack.enter_async_context(client(router.port))
                    connection.send(chat(model="standin"))
                    assert (await connection.receive()).status == 200
                stats = await asyncio.to_thread(router.get, "/load-stats")
        connections = [worker["client_connections"] for worker in stats["summary"]["workers"]]
        assert min(connections) >= 5, connections


class TestForeign:
    async def test_load_from_elsewhere_moves_the_choice(self, start_router):
        """As published by the supervisor; it counts from the next request."""
        async with scripted(replies(OK)) as server:
            router = await start_router(server.url, server.url, capacity=8)
            foreign = router.table.servers.foreign_milli
            for busy, free in ((0, 1), (1, 0)):
                foreign[busy], foreign[free] = 4000, 0
                before = router.state.cells.started.tolist()
                for _ in range(10):
                    await ask(router.port, post("/v1/x", {}))
                after = router.state.cells.started.tolist()
                assert (after[busy] - before[busy], after[free] - before[free]) == (0, 10)

    async def test_is_added_to_our_own(self, start_router):
        """4 external requests: the other server gets 4 more of ours before it has the same load."""
        async with standins(2, ttft=60.0) as servers:
            router = await start_router(*(server.url for server in servers), **PATIENT)
            router.table.servers.foreign_milli[0] = 4000
            spread = await burst(router.port, servers)
        assert spread == [98, 102]

    async def test_is_not_seen_by_least_inflight(self, start_router):
        async with standins(2, ttft=60.0) as servers:
            urls = [server.url for server in servers]
            router = await start_router(*urls, policy="least_inflight", **PATIENT)
            router.table.servers.foreign_milli[0] = 100_000
            assert await burst(router.port, servers) == [100, 100]


class TestShares:
    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            pytest.param([{}, {}], [100, 100], id="equal"),
            pytest.param([{"max_concurrent_requests": 24}, {}], [150, 50], id="capacity"),
            pytest.param([{"weight": 3.0}, {}], [150, 50], id="weight"),
            pytest.param(
                [{"max_concurrent_requests": 4, "weight": 2.0}, {}], [100, 100], id="product"
            ),
            pytest.param([{"weight": 0.25}, {}], [40, 160], id="less-than-one"),
        ],
    )
    async def test_follow_capacity_and_weight(self, start_router, changes, expected):
        async with standins(2, ttft=60.0) as servers:
            router = await start_router(*(server.url for server in servers), **PATIENT)
            router.configure(*changes)
            spread = await burst(router.port, servers)
        assert all(abs(got - due) <= 1 for got, due in zip(spread, expected, strict=True)), spread

    async def test_round_robin_over_kept_connections(self, start_router):
        rows: Counter[int] = Counter()

        def answering(row: int):
            async def handler(reader, writer):
                with contextlib.suppress(asyncio.IncompleteReadError):
                    while True:
                        head, _ = await read_request(reader)
                        # Another test's router may send requests to a previous user of this port.
                        rows[row] += head.startswith(b"POST /v1/x ")
                        writer.write(OK)

            return handler

        async with scripted(answering(0)) as first, scripted(answering(1)) as second:
            router = await start_router(first.url, second.url, policy="round_robin")
            router.configure({"weight": 2.0}, {})
            async with client(router.port) as connection:
                for _ in range(60):
                    connection.send(post("/v1/x", {}))
                    await connection.receive()
        assert rows == {0: 40, 1: 20}


class TestStates:
    async def test_one_at_a_time_on_trial(self, start_router):
        """A restored server may still be broken: it must not get a whole burst."""
        async with standins(2, ttft=60.0) as (up, trying):
            router = await start_router(up.url, trying.url, **PATIENT)
            router.configure({}, {"state": 4})
            spread = await burst(router.port, [up, trying])
        assert spread == [BURST - 1, 1]

    async def test_cooling_ones_get_nothing_while_another_is_up(self, start_router):
        async with standins(2, ttft=60.0) as (up, cooling):
            router = await start_router(up.url, cooling.url, **PATIENT)
            router.configure({}, {"state": 5})
            assert await burst(router.port, [up, cooling]) == [BURST, 0]
            router.configure({"state": 5}, {"state": 5})
            assert await burst(router.port, [up, cooling]) == [BURST // 2] * 2


async def test_reconfigured_all_the_time_under_load(start_router):
    """Requests in flight continue: none of 300 is lost to 300 reconfigurations."""
    async with standins(3, ttft=0.002, token_interval=0.001) as servers:
        router = await start_router(*(server.url for server in servers))
        stop = asyncio.Event()

        async def ask_on() -> Counter[int]:
            statuses: Counter[int] = Counter()
            async with client(router.port) as connection:
                while not stop.is_set():
                    connection.send(chat(model="standin", stream=True, max_tokens=8))
                    answer = await connection.receive()
                    assert answer.complete
                    statuses[answer.status] += 1
            return statuses

        asking = [asyncio.ensure_future(ask_on()) for _ in range(30)]
        everyone = router.state.configured
        for turn in range(300):
            router.remove(turn % 3)
            await asyncio.sleep(0.001)
            router.state.configure(everyone)
            router.configure(*[{"weight": 1.0 + turn % 2, "models": ("standin",)}] * 3)
            await asyncio.sleep(0.001)
        stop.set()
        statuses = sum(await asyncio.gather(*asking), Counter())
    assert set(statuses) == {200}
    assert statuses[200] >= 300
