import pytest

from fastroute.proxy.observer import Observer
from fastroute.rules.evidence import REFUSALS, Event
from fastroute.rules.refusals import Refusals
from fastroute.rules.server_state import ServerState
from tests.support.kept_messages import KeptMessages
from tests.support.memory_router import memory_router

UP, TRIAL = ServerState.UP, ServerState.TRIAL


@pytest.fixture(name="server")
def server_fixture():
    with memory_router(servers=3) as router:
        yield router.pools[2]


@pytest.mark.parametrize(
    ("state", "seen", "told"),
    [
        pytest.param(UP, [Event.REQUEST_OK], [], id="success-is-no-news"),
        pytest.param(UP, [Event.REQUEST_FAILED] * 2, [Event.REQUEST_FAILED] * 2, id="each-failure"),
        pytest.param(
            UP,
            [Event.REQUEST_FAILED, Event.REQUEST_OK],
            [Event.REQUEST_FAILED],
            id="success-after-a-failure-is-counted-only",
        ),
        pytest.param(TRIAL, [Event.REQUEST_OK] * 2, [Event.REQUEST_OK] * 2, id="trial"),
        pytest.param(UP, [Event.BUSY, Event.REQUEST_OK], [Event.BUSY], id="busy"),
        pytest.param(UP, [Event.SHUTTING_DOWN], [Event.SHUTTING_DOWN], id="shutting-down"),
        pytest.param(UP, [Event.REQUEST_ERROR], [Event.REQUEST_ERROR], id="error"),
    ],
)
def test_observe(server, state, seen, told):
    link, server.state = KeptMessages(), state
    observer = Observer(link.report, Refusals())
    for kind in seen:
        observer.observe(server, kind, "detail", "m", 1.5)
    assert [message.kind for message in link.observed] == told
    for message in link.observed:
        assert (message.row, message.generation) == (2, 1)
        assert (message.detail, message.model, message.retry_after) == ("detail", "m", 1.5)


@pytest.mark.parametrize("kind", [pytest.param(kind, id=kind.name) for kind in Event])
def test_a_server_that_refuses_looks_loaded(server, kind):
    refusals = Refusals()
    Observer(KeptMessages().report, refusals).observe(server, kind, "", "m", 0.0)
    assert bool(refusals.penalties) is (kind in REFUSALS)
