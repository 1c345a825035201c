"""Examination of all servers: measurements, their order, and findings."""

import asyncio
import contextlib

import pytest

from fastroute.config import parse_config
from fastroute.doctor.checks import CHECKS, FLEET_CHECKS, Kind
from fastroute.doctor.examine import diagnose, examine, measures
from fastroute.doctor.findings import Severity
from fastroute.doctor.measure.generation import measure_abort, measure_stream
from tests.support.config_file import toml_text
from tests.support.facts import facts
from tests.support.ports import free_port
from tests.support.scripted import read_request, scripted
from tests.support.standins import standin


def config(*servers, **settings):
    return parse_config(toml_text(*servers, **settings), "t")


async def diagnosed(settings, kinds):
    steps = []
    found = await examine(settings, kinds, lambda: steps.append(1))
    assert len(steps) == len(settings.servers) * sum(map(len, measures(kinds).values()))
    return diagnose(settings, found)


def names(named) -> list[str]:
    return list(dict.fromkeys(name for name, _ in named))


async def test_all_checks_of_a_healthy_server():
    async with standin(token_interval=0.01, keep_alive=0.5) as server:
        settings = config(server.url, pool_idle_timeout=0)
        found = await diagnosed(settings, set(Kind))
    assert found.verdict is Severity.OK
    assert names(found.servers[0]) == [c.name for c in CHECKS if c.name != "TLS"]
    assert {finding.severity for _, finding in found.servers[0]} == {Severity.OK}
    assert names(found.fleet) == ["versions"]


async def test_quick_checks():
    """They neither generate nor wait."""
    async with standin(token_interval=0.01) as server:
        found = await diagnosed(config(server.url), {Kind.QUICK})
        assert server.engine.generation_tokens == 0
        assert server.counters.connections_accepted == 2
    assert found.facts[0].keep_alive is None
    expected = [c.name for c in CHECKS if c.kind is Kind.QUICK and c.name != "TLS"]
    assert names(found.servers[0]) == expected


async def test_each_server_has_its_own_findings_in_the_order_of_the_file():
    gone = f"http://127.0.0.1:{free_port()}"
    async with standin(models=["a"]) as first, standin(models=["b"], healthy=False) as third:
        settings = config(first.url, gone, third.url, aliases={"x": "b"})
        found = await diagnosed(settings, {Kind.QUICK})
    assert [each.server.url for each in found.facts] == [first.url, gone, third.url]
    assert [each.known_models for each in found.facts] == [("a",), None, ("b",)]
    # An unreachable server gets no further requests.
    assert names(found.servers[1]) == ["reachable"]
    assert found.servers[1][0][1].severity is Severity.ERROR
    assert "/health returns 503" in found.servers[2][0][1].words
    assert names(found.fleet) == ["versions", "aliases"]
    assert found.verdict is Severity.ERROR


async def test_servers_are_examined_concurrently():
    """Each responds to the first request only after the other has received one, too."""
    both = asyncio.Barrier(2)
    reply = b"HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n"

    async def handler(reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                head, _ = await read_request(reader)
                if head.startswith(b"GET /health "):
                    await both.wait()
                writer.write(reply)

    async with scripted(handler) as first, scripted(handler) as second:
        found = await examine(config(first.url, second.url), {Kind.QUICK}, lambda: None)
    assert [facts.reach.status for facts in found] == [404, 404]


def test_each_measurement_is_taken_once():
    every = [each for found in measures(set(Kind)).values() for each in found]
    assert len(every) == len(set(every))
    assert {check.measure for check in (*CHECKS, *FLEET_CHECKS)} == set(every)


def test_without_generation():
    every = [e for found in measures({Kind.QUICK, Kind.IDLE}).values() for e in found]
    assert not {measure_stream, measure_abort} & set(every)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param([{}, {}], Severity.OK, id="well"),
        pytest.param([{}, {"version": "9"}], Severity.WARNING, id="a-fleet-warning-counts"),
    ],
)
def test_the_verdict_over_all(changes, expected):
    servers = [facts(f"http://gpu-{n}", **change) for n, change in enumerate(changes)]
    assert diagnose(servers[0].config, servers).verdict is expected
