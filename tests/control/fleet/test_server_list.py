import logging

import pytest

from fastroute.config import Config, ServerConfig
from fastroute.config.expansion import expand
from fastroute.control.fleet.fleet import Fleet
from fastroute.control.fleet.server_list import Roster
from fastroute.errors import ConfigError
from fastroute.ipc.messages import FollowedName
from fastroute.ipc.score_table import ScoreTable
from fastroute.net.resolver import Unresolved
from tests.support.names import Names
from tests.support.standins import until

A = ServerConfig(url="http+dns://a:9", max_concurrent_requests=4)
B = ServerConfig(url="http+dns://b:9")
# Ports of this machine where nobody listens; what is asked of them fails at once.
FIRST, SECOND, THIRD = "127.0.0.1", "127.0.0.2", "127.0.0.3"


def at(host: str) -> str:
    return f"http://{host}:9"


class Rostered:
    """A roster with a fleet, and names whose answers the test gives."""

    def __init__(self, *servers: ServerConfig, rows: int = 8, **answers: object) -> None:
        self.names = Names(**answers)
        self.table = ScoreTable.create(rows=rows, workers=1)
        config = self._config(*servers)
        self.fleet = Fleet(self.table, expand(config, {}).config)
        self.roster = Roster(self.fleet, config, self.names.resolver)
        self.changes = 0
        self.roster.start(self._changed)

    def _config(self, *servers: ServerConfig) -> Config:
        return Config(servers=servers, dns_interval=0.1, dns_hold=0)

    def _changed(self) -> None:
        self.changes += 1

    def apply(self, *servers: ServerConfig) -> None:
        self.roster.apply(self._config(*servers))

    def urls(self) -> list[str]:
        return [server.config.url for server in self.fleet.servers.values()]

    async def until(self, *urls: str) -> None:
        await until(lambda: self.urls() == list(urls))

    def server(self, host: str):
        return self.fleet.servers[ServerConfig(url=at(host)).address]

    def watched(self) -> list[str]:
        return [server.config.url for server in self.roster._watches]

    def warnings(self) -> list[str | None]:
        return [name.warning for name in self.roster.names]


@pytest.fixture(name="make")
async def make_fixture():
    made = []

    def make(*servers, **options) -> Rostered:
        made.append(Rostered(*servers, **options))
        return made[-1]

    yield make
    for each in made:
        each.roster.stop()
        each.table.close()


@pytest.fixture(name="log")
def log_fixture(caplog):
    caplog.set_level(logging.INFO)
    return lambda: [
        record.message
        for record in caplog.records
        if record.name == "supervisor" and "dns" in record.message.lower()
    ]


class TestByDNS:
    async def test_servers_come_stay_and_go(self, make, log):
        made = make(A, a=(FIRST, SECOND))
        assert made.urls() == []
        await made.until(at(FIRST), at(SECOND))
        assert sorted(made.watched()) == [at(FIRST), at(SECOND)]
        assert made.server(FIRST).config.max_concurrent_requests == 4
        staying = made.server(SECOND)
        made.table.worker_cells(0).started[staying.row] = 7
        made.names.answers["a"] = (SECOND, THIRD)
        await made.until(at(SECOND), at(THIRD))
        assert made.server(SECOND) is staying
        assert made.table.worker_cells(0).started[staying.row] == 7
        assert sorted(made.watched()) == [at(SECOND), at(THIRD)]
        assert [server.config.url for server in made.fleet.leaving.values()] == [at(FIRST)]
        assert log() == [
            f"by DNS: server {at(FIRST)} of http+dns://a:9 added",
            f"by DNS: server {at(SECOND)} of http+dns://a:9 added",
            f"by DNS: server {at(FIRST)} of http+dns://a:9 removed",
            f"by DNS: server {at(THIRD)} of http+dns://a:9 added",
        ]

    async def test_what_is_told_of_names(self, make):
        made = make(A, B, a=(FIRST,), b=Unresolved("why"))
        await until(lambda: made.names.asked["b"] >= 2)
        assert made.roster.names == (
            FollowedName(url=A.url, addresses=(FIRST,), resolved=True),
            FollowedName(url=B.url, warning="it cannot be resolved: why"),
        )

    async def test_the_same_again_is_no_news(self, make):
        made = make(A, a=(FIRST,))
        await made.until(at(FIRST))
        before = made.changes, made.fleet.config
        asked = made.names.asked["a"]
        await until(lambda: made.names.asked["a"] >= asked + 3)
        assert (made.changes, made.fleet.config) == before

    async def test_addresses_stay_without_an_answer(self, make):
        made = make(A, a=(FIRST,))
        await made.until(at(FIRST))
        made.names.answers["a"] = Unresolved("why")
        await until(lambda: any(made.warnings()))
        assert made.warnings() == ["it cannot be resolved: why; the last one is kept"]
        assert made.urls() == [at(FIRST)]

    async def test_an_address_that_another_entry_has(self, make, log):
        made = make(A, ServerConfig(url=at(SECOND)), B, a=(FIRST, SECOND), b=(FIRST, THIRD))
        await made.until(at(FIRST), at(SECOND), at(THIRD))
        by_entry = f"{at(SECOND)} is left out: it has an entry of its own"
        by_name = f"{at(FIRST)} is left out: it is also an address of {A.url}"
        assert made.warnings() == [by_entry, by_name]
        asked = made.names.asked["b"]
        await until(lambda: made.names.asked["b"] >= asked + 2)
        assert log().count(f"{A.url}: {by_entry}") == log().count(f"{B.url}: {by_name}") == 1

    async def test_more_than_there_is_room_for(self, make, log):
        made = make(A, rows=2, a=(FIRST,))
        await made.until(at(FIRST))
        made.names.answers["a"] = (FIRST, SECOND, THIRD)
        await until(lambda: any(made.warnings()))
        assert made.urls() == [at(FIRST)]
        asked = made.names.asked["a"]
        await until(lambda: made.names.asked["a"] >= asked + 2)
        refusals = [line for line in log() if "there is room for 1 more" in line]
        assert len(refusals) == 1
        assert refusals[0].endswith(made.warnings()[0])
        made.names.answers["a"] = (FIRST, THIRD)
        await made.until(at(FIRST), at(THIRD))
        assert made.warnings() == [None]


class TestReload:
    async def test_new_settings_of_a_name(self, make):
        made = make(A, a=(FIRST, SECOND))
        await made.until(at(FIRST), at(SECOND))
        before = made.server(FIRST)
        made.apply(ServerConfig(url=A.url, max_concurrent_requests=9, drain=True))
        assert made.server(FIRST) is before
        for host in (FIRST, SECOND):
            assert made.server(host).config.max_concurrent_requests == 9
            assert made.server(host).health.state.name == "DRAINING"

    async def test_a_name_is_removed_with_its_servers(self, make):
        made = make(A, ServerConfig(url=at(THIRD)), a=(FIRST, SECOND))
        await made.until(at(FIRST), at(SECOND), at(THIRD))
        made.apply(ServerConfig(url=at(THIRD)))
        assert made.urls() == made.watched() == [at(THIRD)]
        assert made.roster.names == ()

    async def test_servers_that_a_new_name_has_are_the_same(self, make):
        """Nobody is without servers while the name is looked up for the first time."""
        made = make(ServerConfig(url=at(FIRST)), ServerConfig(url=at(THIRD)), a=(FIRST, SECOND))
        before = made.server(FIRST)
        made.names.hang()
        made.apply(A)
        assert made.urls() == [at(FIRST), at(THIRD)]
        made.names.go_on()
        await made.until(at(FIRST), at(SECOND))
        assert made.server(FIRST) is before
        assert made.server(FIRST).config.discovered_from == A.url

    async def test_a_new_name_that_cannot_be_resolved_keeps_nobody(self, make):
        made = make(ServerConfig(url=at(FIRST)), a=Unresolved("why"))
        made.apply(A)
        await made.until()
        assert made.warnings() == ["it cannot be resolved: why"]

    async def test_a_server_goes_from_a_name_to_an_entry_of_its_own(self, make):
        made = make(A, a=(FIRST, SECOND))
        await made.until(at(FIRST), at(SECOND))
        before = made.server(FIRST)
        made.apply(A, ServerConfig(url=at(FIRST), max_concurrent_requests=3))
        assert made.server(FIRST) is before
        assert before.config.max_concurrent_requests == 3
        assert before.config.discovered_from is None

    async def test_a_refused_one_changes_nothing(self, make):
        made = make(A, rows=2, a=(FIRST,))
        await made.until(at(FIRST))
        with pytest.raises(ConfigError, match="there is room for 1 more"):
            made.apply(*(ServerConfig(url=f"http://127.0.0.1:{port}") for port in (1, 2, 3)))
        assert made.roster.config.servers == (A,)
        made.names.answers["a"] = (SECOND,)
        await made.until(at(SECOND))
