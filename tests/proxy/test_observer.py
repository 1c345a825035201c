import pytest

from fastroute.proxy import clock
from fastroute.proxy.model_servers import ModelServers
from fastroute.proxy.observer import Observer, Seen
from fastroute.rules.evidence import REFUSALS, Event
from fastroute.rules.server_state import ServerState
from tests.support.kept_messages import KeptMessages
from tests.support.memory_router import memory_router

UP, TRIAL = ServerState.UP, ServerState.TRIAL


@pytest.fixture(name="router")
def router_fixture():
    with memory_router(servers=3) as router:
        yield router


@pytest.fixture(name="server")
def server_fixture(router):
    return router.pools[2]


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
def test_observe(router, server, state, seen, told):
    link, server.state = KeptMessages(), state
    observer = Observer(link.report, router.state.router)
    for kind in seen:
        observer.observe(Seen(server, kind, "detail", 1.5, clock.now() - 3.0), ModelServers("m"))
    assert [message.kind for message in link.observed] == told
    for message in link.observed:
        assert (message.row, message.generation) == (2, 1)
        assert (message.detail, message.model, message.retry_after) == ("detail", "m", 1.5)
        assert 3.0 <= message.age < 13.0


@pytest.mark.parametrize("kind", [pytest.param(kind, id=kind.name) for kind in Event])
def test_a_server_that_refuses_looks_loaded(router, server, kind):
    router.state.observer.observe(Seen(server, kind, "", 0.0, 0.0), ModelServers("m"))
    assert bool(router.state.router.refusals.penalties) is (kind in REFUSALS)


@pytest.mark.parametrize(
    ("models", "told"),
    [
        pytest.param(None, [Event.BUSY], id="not-known"),
        pytest.param(("m",), [Event.BUSY], id="one"),
        pytest.param(("m", "n"), [], id="two"),
    ],
)
def test_overload_of_a_server_with_several_models_is_the_models(
    router, server, models, told, caplog
):
    """The supervisor, which knows no states of models, is not told."""
    server.models, group = models, ModelServers("m")
    group.update(router.pools)
    with caplog.at_level("INFO"):
        for _ in range(2):
            router.state.observer.observe(Seen(server, Event.BUSY, "status 503", 0.0, 0.0), group)
    assert {message.kind for message in router.link.observed} == set(told)
    logged = [record.message for record in caplog.records]
    line = (
        f"server {server.url} is overloaded for requests for m: status 503; for 1 s it is asked "
        "for them only where there is no other"
    )
    assert logged == ([] if told else [line])
