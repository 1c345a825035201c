"""Servers of one model by state, and those that are overloaded for it alone."""

import pytest

from fastroute.proxy.model_servers import Cooling, ModelServers
from fastroute.rules.server_state import ServerState
from tests.support.memory_router import memory_router

UP, TRIAL, COOLING = ServerState.UP, ServerState.TRIAL, ServerState.COOLING
EJECTED, ASLEEP, DOWN = ServerState.EJECTED, ServerState.ASLEEP, ServerState.DOWN


@pytest.fixture(name="group")
def group_fixture():
    """Return a group of servers with these states; `sleepers_first` for one that wakes them."""
    with memory_router(servers=4) as router:

        def make(*states: ServerState, sleepers_first: bool = False) -> ModelServers:
            servers = router.pools[: len(states)]
            for server, state in zip(servers, states, strict=True):
                server.state = state
            group = ModelServers("m", sleepers_first=sleepers_first)
            group.update(servers)
            group.regroup(1)
            return group

        yield make


def rows(servers) -> list[int]:
    return [server.row for server in servers]


def test_by_state(group):
    found = group(EJECTED, UP, TRIAL, COOLING)
    assert (rows(found.up), rows(found.on_trial)) == ([1], [2])
    assert (rows(found.cooling), rows(found.ejected)) == ([3], [0])


@pytest.mark.parametrize("state", [DOWN, ASLEEP, ServerState.DRAINING, ServerState.FREE])
def test_states_that_get_nothing(group, state):
    found = group(state)
    assert [*found.up, *found.on_trial, *found.cooling, *found.ejected] == []


def test_other_servers_are_grouped_again(group):
    found = group(UP, UP)
    found.update(found.servers[:1])
    assert found.states_version != 1


def test_sleepers_first(group):
    assert rows(group(UP, ASLEEP, TRIAL, sleepers_first=True).up) == [1]
    awake = group(UP, DOWN, TRIAL, sleepers_first=True)
    assert (rows(awake.up), rows(awake.on_trial)) == ([0], [2])


class TestCooling:
    def test_begins_and_ends(self, group):
        found, cooling = group(UP, UP), Cooling()
        cooling.tick(10.0)
        assert cooling.begin(found, found.servers[0], 2.0)
        assert not cooling.begin(found, found.servers[0], 1.0), "no news, and no shorter"
        found.regroup(2)
        assert (rows(found.up), rows(found.cooling)) == ([1], [0])
        for stamp in (11.5, 12.0):
            cooling.tick(stamp)
            found.regroup(3)
            assert rows(found.up) == [1]
        cooling.tick(12.5)
        found.regroup(4)
        assert (rows(found.up), rows(found.cooling)) == ([0, 1], [])
