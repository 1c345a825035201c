"""Long requests are distributed by free capacity, and all workers see the same load."""

import asyncio
import contextlib

import pytest

from tests.support.endings import refusing_url
from tests.support.processes import in_flight_is, router_process
from tests.support.standin_client import ask, chat, client
from tests.support.standins import standins, until

HELD = {"stream": True, "max_tokens": 100_000}


def running(servers) -> list[int]:
    return [server.engine.running for server in servers]


async def hold(stack, router, count: int, servers) -> None:
    """Start `count` more streams, one after another."""
    for _ in range(count):
        before = sum(running(servers))
        connection = await stack.enter_async_context(client(router.port))
        connection.send(chat(**HELD))
        await until(lambda: sum(running(servers)) == before + 1)  # noqa: B023  awaited at once


async def test_capacities_one_to_three(tmp_path):
    async with standins(2, slots=100, token_interval=0.05) as servers:
        capacities = {servers[0].url: 4, servers[1].url: 12}
        async with router_process(tmp_path, servers=capacities) as router:
            async with contextlib.AsyncExitStack() as stack:
                await hold(stack, router, 16, servers)
                assert running(servers) == [4, 12]
                # Also beyond their capacity: vLLM queues by itself.
                await hold(stack, router, 16, servers)
                assert running(servers) == [8, 24]
            await in_flight_is(router, 0)


@pytest.mark.parametrize("workers", [1, 2])
async def test_equals_get_equal_shares(tmp_path, workers):
    """Also with two workers: each counts the requests of the other."""
    async with standins(4, slots=100, token_interval=0.05) as servers:
        urls = [server.url for server in servers]
        async with router_process(tmp_path, *urls, workers=workers) as router:
            async with contextlib.AsyncExitStack() as stack:
                await hold(stack, router, 40, servers)
                assert running(servers) == [10, 10, 10, 10]
                stats = await asyncio.to_thread(router.get, "/load-stats")
                connected = [w["client_connections"] for w in stats["summary"]["workers"]]
                assert min(connected) > 0, "each worker has clients"
            await in_flight_is(router, 0)


async def test_what_is_finished_makes_room(start_router):
    async with standins(2, slots=100) as servers:
        router = await start_router(*(server.url for server in servers))
        async with client(router.port) as held:
            held.send(chat(**HELD, standin={"token_interval": 0.05}))
            await until(lambda: sum(running(servers)) == 1)
            busy = running(servers).index(1)
            for _ in range(20):
                assert (await ask(router.port, chat())).status == 200
            assert servers[busy].counters.served == 0
            assert servers[1 - busy].counters.served == 20


async def test_a_server_that_refuses_does_not_take_all_of_the_rest(start_router):
    """Failures are quick, so a failed server always appears idle; its share must be spread."""
    async with standins(2, slots=100, token_interval=0.05) as servers:
        with refusing_url() as refusing:
            router = await start_router(refusing, *(server.url for server in servers))
            async with contextlib.AsyncExitStack() as stack:
                await hold(stack, router, 20, servers)
                assert running(servers) == [10, 10]
