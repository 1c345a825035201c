"""Queries of real stand-in servers and of a running router."""

import pytest

from fastroute.config import parse_config
from fastroute.monitor.poller import NoResponse
from fastroute.route.explain import Settings
from fastroute.route.sources import query_router, query_servers
from fastroute.rules.health_check import HealthCheck
from fastroute.rules.server_state import ServerState
from fastroute.server_address import ServerAddress
from tests.support.config_file import toml_text
from tests.support.ports import free_port
from tests.support.standin_client import chat, client
from tests.support.standins import standin, until


async def asked(*servers, **settings):
    answered = []
    config = parse_config(toml_text(*servers, **settings), "t")
    found, used = await query_servers(config, lambda: answered.append(1))
    assert len(answered) == len(servers)
    return found, used


async def test_a_server_that_works():
    async with standin(models=["a", "b"], slots=1, token_interval=0.05) as server:
        async with client(server.port) as first, client(server.port) as second:
            for each in (first, second):
                each.send(chat(max_tokens=200, stream=True, model="a"))
            await until(lambda: server.engine.waiting == 1)
            (known,), used = await asked(
                {"url": server.url, "max_concurrent_requests": 3, "weight": 2.0},
                waiting_weight=0.25,
                policy="random",
                busy_threshold=0.75,
                aliases={"x": "a"},
            )
    assert used == Settings(policy="random", busy_threshold=0.75, aliases={"x": "a"})
    assert (known.state, known.foreign_load, known.in_flight) == (ServerState.UP, 1.25, 0)
    assert (known.max_concurrent_requests, known.weight) == (3, 2.0)
    assert (known.models, known.note) == (("a", "b"), "")


async def test_servers_that_are_out():
    async with standin(healthy=False) as ill, standin() as drained, standin() as sleeper:
        sleeper.engine.set_mode(type(sleeper.engine.mode).ASLEEP)
        found, _ = await asked(
            f"http://127.0.0.1:{free_port()}",
            ill.url,
            {"url": drained.url, "drain": True},
            sleeper.url,
        )
    assert [(known.state.name, known.reason) for known in found] == [
        ("DOWN", "cannot connect: Connection refused"),
        ("DOWN", HealthCheck().complaint("/health", 503)),
        ("DRAINING", "drain = true"),
        ("ASLEEP", "its engine is asleep"),
    ]


async def test_without_health_checks_only_requests_would_show_it():
    (known,), _ = await asked(f"http://127.0.0.1:{free_port()}", enable_active_health_check=False)
    assert (known.state, known.models) == (ServerState.UP, None)
    assert known.note == ("load unknown, assumed to be 0: cannot connect: Connection refused")


async def test_pinned_models():
    async with standin() as server:
        (known,), _ = await asked({"url": server.url, "models": ["p"]})
    assert known.models == ("p",)


async def test_a_router(start_router):
    async with standin(token_interval=0.05) as server:
        router = await start_router(server.url, capacity=4, policy="power_of_two")
        router.configure({"models": ("standin",)}, busy_threshold=0.25, aliases={"x": "standin"})
        router.table.servers.foreign_milli[0] = 1500
        async with client(router.port) as busy:
            busy.send(chat(max_tokens=200, stream=True, model="standin"))
            await until(lambda: server.engine.running == 1)
            (known,), used = await query_router(ServerAddress.from_url(router.url))
    assert used == Settings(policy="power_of_two", busy_threshold=0.25, aliases={"x": "standin"})
    assert (known.url, known.state, known.models) == (server.url, ServerState.UP, ("standin",))
    assert (known.in_flight, known.foreign_load) == (1, 1.5)
    assert (known.max_concurrent_requests, known.weight) == (4, 1.0)


async def test_something_else_than_a_router():
    async with standin() as server:
        with pytest.raises(NoResponse, match=r"not a fastroute: /load-stats returned status 404"):
            await query_router(ServerAddress.from_url(server.url))
