import pytest

from fastroute.rules.server_state import ServerState


@pytest.mark.parametrize(
    ("state", "usable"),
    [
        (ServerState.FREE, False),
        (ServerState.UP, True),
        (ServerState.DOWN, False),
        (ServerState.DRAINING, False),
        (ServerState.TRIAL, True),
        (ServerState.COOLING, True),
    ],
    ids=lambda value: value.name if isinstance(value, ServerState) else None,
)
def test_usable(state, usable):
    assert state.is_usable is usable
