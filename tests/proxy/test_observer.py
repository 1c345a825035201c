import pytest

from fastroute.proxy.observer import Observer
from fastroute.rules.health_event import Event
from tests.support.kept_messages import KeptMessages
from tests.support.memory_router import memory_router


@pytest.fixture(name="server")
def server_fixture():
    with memory_router(servers=3) as router:
        yield router.pools[2]


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        pytest.param([Event.REQUEST_OK], [], id="success-is-no-news"),
        pytest.param([Event.REQUEST_FAILED] * 2, [Event.REQUEST_FAILED] * 2, id="each-failure"),
        pytest.param(
            [Event.REQUEST_FAILED, Event.REQUEST_OK, Event.REQUEST_OK],
            [Event.REQUEST_FAILED, Event.REQUEST_OK],
            id="first-success-after-a-failure",
        ),
        pytest.param([Event.BUSY, Event.REQUEST_OK], [Event.BUSY], id="busy-is-no-failure"),
        pytest.param([Event.SHUTTING_DOWN], [Event.SHUTTING_DOWN], id="shutting-down"),
    ],
)
def test_observe(server, seen, told):
    link = KeptMessages()
    observer = Observer(link.report)
    for kind in seen:
        observer.observe(server, kind, "detail", 1.5)
    assert [message.kind for message in link.observed] == told
    for message in link.observed:
        assert (message.row, message.generation) == (2, 1)
        assert (message.detail, message.retry_after) == ("detail", 1.5)
