import pytest

from fastroute.monitor.keys import Key
from fastroute.monitor.press import press
from fastroute.monitor.view.picture import Look, Page, Sort

URLS = [str(number) for number in range(30)]


@pytest.mark.parametrize(
    ("look", "keys", "expected"),
    [
        pytest.param(Look(), "SORT", Look(sort=Sort.TROUBLE), id="sort"),
        pytest.param(Look(), "PAUSE", Look(paused=True), id="pause"),
        pytest.param(Look(), "PAUSE PAUSE", Look(), id="go-on"),
        pytest.param(Look(), "DOWN", Look(selected="1"), id="down"),
        pytest.param(Look(), "DOWN DOWN UP", Look(selected="1"), id="up"),
        pytest.param(Look(), "UP", Look(selected="0"), id="not-above-the-first"),
        pytest.param(Look(), "END DOWN", Look(selected="29"), id="not-below-the-last"),
        pytest.param(Look(), "PAGE_DOWN", Look(selected="10"), id="page-down"),
        pytest.param(Look(selected="gone"), "DOWN", Look(selected="1"), id="selected-is-gone"),
        pytest.param(Look(), "ENTER", Look(page=Page.SERVER), id="enter"),
        pytest.param(Look(), "ENTER ESCAPE", Look(), id="back"),
        pytest.param(Look(), "LOG ENTER", Look(page=Page.LOG), id="enter-elsewhere"),
        pytest.param(Look(), "LOG LOG", Look(), id="again-is-back"),
        pytest.param(Look(), "LOG HELP", Look(page=Page.HELP), id="from-page-to-page"),
        pytest.param(Look(), "LOG UP UP DOWN", Look(page=Page.LOG, scroll=1), id="log-goes-up"),
        pytest.param(Look(), "HELP DOWN UP UP", Look(page=Page.HELP), id="help-goes-down"),
        pytest.param(Look(), "HELP DOWN HELP", Look(), id="a-page-is-left-at-its-top"),
        pytest.param(Look(), "QUIT", Look(), id="quit-is-not-ours"),
    ],
)
def test_press(look, keys, expected):
    for name in keys.split():
        look = press(Key[name], look, URLS)
    assert look == expected


def test_no_servers():
    assert press(Key.DOWN, Look(), []) == Look()
