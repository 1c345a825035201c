import pytest

from fastroute.rules.server_state import ServerState, is_panic


@pytest.mark.parametrize(
    ("state", "usable"),
    [
        (ServerState.FREE, False),
        (ServerState.UP, True),
        (ServerState.DOWN, False),
        (ServerState.DRAINING, False),
        (ServerState.TRIAL, True),
        (ServerState.COOLING, True),
        (ServerState.EJECTED, False),
        (ServerState.ASLEEP, False),
    ],
    ids=lambda value: value.name if isinstance(value, ServerState) else None,
)
def test_usable(state, usable):
    assert state.is_usable is usable


@pytest.mark.parametrize("other", ServerState, ids=lambda state: state.name)
def test_panic_is_when_requests_go_to_ejected_servers(other):
    serves = other in (ServerState.UP, ServerState.COOLING)
    assert is_panic({ServerState.EJECTED, other}) is not serves
    assert is_panic({other}) is (other is ServerState.EJECTED)


def test_no_servers_are_no_panic():
    assert not is_panic(set())
