import asyncio
import re

import pytest

from fastroute.demo import show as show_module
from fastroute.demo.companion import Companion
from fastroute.demo.servers import demo_servers
from fastroute.demo.show import Plan, Show, with_show
from tests.support.command import is_alive
from tests.support.standins import until

NOBODY = "http://127.0.0.1:9"


@pytest.fixture(name="servers")
def servers_fixture():
    with demo_servers(2) as servers:
        yield servers


async def test_the_second_server_is_killed_and_restarted(servers, caplog):
    caplog.set_level("INFO")
    show = Show(servers, Plan(with_traffic=False, outage_every=1.5))
    assert show.caption() == ""
    victim = servers[1].address
    playing = asyncio.create_task(show.play(NOBODY))
    await until(lambda: re.fullmatch(rf"demo: {victim} will be killed in 1 s", show.caption()))
    await until(lambda: servers[1]._process is None)
    assert servers[0]._process is not None
    await until(lambda: "was killed; restart in 0 s" in show.caption())
    await until(lambda: f"{victim} restarted" in caplog.text)
    await until(lambda: "will be killed" in show.caption())
    _, writer = await asyncio.open_connection(*victim.split(":"))
    writer.close()
    playing.cancel()


async def test_a_taken_port_is_waited_for(servers, monkeypatch):
    monkeypatch.setattr(show_module, "RESTART_DELAY", 0.05)
    show = Show(servers, Plan(outage_every=0))
    servers[1].kill()
    host, port = servers[1].address.split(":")
    taken = await asyncio.start_server(lambda reader, writer: None, host, port)
    starting = asyncio.create_task(show._restart())
    await asyncio.sleep(1.0)
    assert not starting.done()
    taken.close()
    async with asyncio.timeout(10):
        await starting


async def test_without_outages_nothing_is_announced(servers):
    show = Show(servers, Plan(with_traffic=False, outage_every=0))
    playing = asyncio.create_task(show.play(NOBODY))
    await asyncio.sleep(0.1)
    assert not playing.done()
    assert show.caption() == ""
    playing.cancel()


class TestWithShow:
    async def test_it_plays_from_ready_until_stopping(self, servers, monkeypatch):
        started: list[Companion] = []

        class Noted(Companion):
            def __init__(self, *arguments: str) -> None:
                super().__init__(*arguments)
                started.append(self)

        monkeypatch.setattr(show_module, "Companion", Noted)
        ready, stopping, end = asyncio.Event(), asyncio.Event(), asyncio.Event()
        show = Show(servers, Plan())

        async def router() -> int:
            await end.wait()
            return 7

        running = asyncio.create_task(
            with_show(router(), ready, stopping, lambda: show.play(NOBODY))
        )
        await asyncio.sleep(0.05)
        assert not started
        ready.set()
        await until(lambda: started)
        pid = started[0]._process.pid
        assert is_alive(pid)
        stopping.set()
        await until(lambda: not is_alive(pid))
        assert not running.done()
        end.set()
        assert await running == 7

    async def test_the_router_continues_if_the_scenario_fails(self, caplog):
        ready = asyncio.Event()
        ready.set()

        async def play() -> None:
            raise ValueError("stage fright")

        async def router() -> int:
            await until(lambda: "the demo's scenario ended unexpectedly" in caplog.text)
            return 7

        assert await with_show(router(), ready, asyncio.Event(), play) == 7
        assert "stage fright" in caplog.text

    async def test_a_router_that_never_gets_ready(self):
        async def router() -> int:
            return 1

        async def play() -> None:
            raise AssertionError("it never plays")

        assert await with_show(router(), asyncio.Event(), asyncio.Event(), play) == 1
