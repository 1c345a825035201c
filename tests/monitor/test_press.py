import pytest

from fastroute.monitor.keys import Key
from fastroute.monitor.press import press
from fastroute.monitor.view.picture import MonitorState as State
from fastroute.monitor.view.picture import Page, Sort

URLS = [str(number) for number in range(30)]


@pytest.mark.parametrize(
    ("state", "keys", "expected"),
    [
        pytest.param(State(), "SORT", State(sort=Sort.PROBLEMS), id="sort"),
        pytest.param(State(), "PAUSE", State(paused=True), id="pause"),
        pytest.param(State(), "PAUSE PAUSE", State(), id="resume"),
        pytest.param(State(), "DOWN", State(selected="1"), id="down"),
        pytest.param(State(), "DOWN DOWN UP", State(selected="1"), id="up"),
        pytest.param(State(), "UP", State(selected="0"), id="up-at-the-first"),
        pytest.param(State(), "END DOWN", State(selected="29"), id="down-at-the-last"),
        pytest.param(State(), "PAGE_DOWN", State(selected="10"), id="page-down"),
        pytest.param(State(selected="gone"), "DOWN", State(selected="1"), id="selected-is-gone"),
        pytest.param(State(), "ENTER", State(page=Page.SERVER), id="enter"),
        pytest.param(State(), "ENTER ESCAPE", State(), id="back"),
        pytest.param(State(), "LOG ENTER", State(page=Page.LOG), id="enter-elsewhere"),
        pytest.param(State(), "LOG LOG", State(), id="same-key-closes-page"),
        pytest.param(State(), "LOG HELP", State(page=Page.HELP), id="from-page-to-page"),
        pytest.param(
            State(),
            "LOG UP UP DOWN",
            State(page=Page.LOG, scroll=1),
            id="log-goes-up",
        ),
        pytest.param(State(), "HELP DOWN UP UP", State(page=Page.HELP), id="help-goes-down"),
        pytest.param(State(), "HELP DOWN HELP", State(), id="reset-scroll-on-close"),
        pytest.param(State(), "QUIT", State(), id="quit-is-ignored"),
    ],
)
def test_press(state, keys, expected):
    for name in keys.split():
        state = press(Key[name], state, URLS)
    assert state == expected


def test_no_servers():
    assert press(Key.DOWN, State(), []) == State()
