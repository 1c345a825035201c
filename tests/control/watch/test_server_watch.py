import asyncio
import ssl

import msgspec
import pytest

from fastroute.config import Config, ServerConfig
from fastroute.control.fleet.fleet import Fleet
from fastroute.control.watch.server_watch import ServerWatch
from fastroute.ipc.messages import ConfigState
from fastroute.ipc.score_table import ScoreTable
from fastroute.net.resolver import Resolver
from tests.support.standins import standin, until

OFTEN = {"scrape_interval": 0.05, "health_check_interval": 0.05, "models_refresh_interval": 0.05}
NEVER = {"scrape_interval": 600, "health_check_interval": 600, "models_refresh_interval": 600}


class Watched:
    """One watched stand-in."""

    def __init__(self, table: ScoreTable, config: Config) -> None:
        self.table = table
        self.fleet = Fleet(table, config)
        (self.server,) = self.fleet.servers.values()
        self.watch = ServerWatch(self.server, ssl.create_default_context, Resolver(), config)

    def update(self, **settings) -> None:
        """Apply other settings."""
        config = msgspec.structs.replace(self.fleet.config, **settings)
        self.fleet.apply(config)
        self.watch.update(config)

    @property
    def checks(self) -> int:
        return self.server.health_report().total_checks

    def scraped(self) -> int:
        return self.table.servers.scraped_at_ns[0]

    def knows_everything(self) -> bool:
        return bool(self.checks and self.scraped() and self.server.models.names)


@pytest.fixture(name="watched")
async def watched_fixture():
    """Watch a stand-in with intervals that never end."""
    async with standin(slots=2) as server:
        table = ScoreTable.create(rows=8, workers=1)
        made = Watched(table, Config(servers=(ServerConfig(url=server.url),), **NEVER))
        made.standin = server
        yield made
        made.watch.stop()
        await until(lambda: len(asyncio.all_tasks()) == 1)
        table.close()


async def test_finds_out_everything_at_once(watched):
    await until(watched.knows_everything, seconds=2)
    assert watched.server.models.names == ("standin",)
    assert watched.fleet.configure(ConfigState()).models_json is not None


async def test_shorter_intervals_count_at_once(watched):
    await until(watched.knows_everything)
    before = watched.scraped(), watched.checks
    watched.update(**OFTEN)
    await until(lambda: watched.checks > before[1] + 3 and watched.scraped() > before[0])


async def test_settings_of_other_things_do_not_disturb_it(watched):
    await until(watched.knows_everything)
    before = watched.scraped()
    watched.update(max_retries=7)
    watched.server.probe_now.set()
    await until(lambda: watched.checks == 2)
    assert watched.scraped() == before


async def test_health_checks_are_switched_off_and_on(watched):
    watched.update(**OFTEN, enable_active_health_check=False)
    await asyncio.sleep(0.01)
    checks, scraped = watched.checks, watched.scraped()
    await until(lambda: watched.scraped() > scraped)
    assert watched.checks == checks
    watched.update(enable_active_health_check=True)
    await until(lambda: watched.checks > checks)


async def test_stopped(watched):
    await until(watched.knows_everything)
    watched.watch.stop()
    await until(lambda: len(asyncio.all_tasks()) == 1)
    await until(lambda: watched.standin.counters.connections_open == 0)
