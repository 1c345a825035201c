import asyncio

import pytest

from fastroute.config import Config
from fastroute.ipc.messages import Configure, RoutedServer
from fastroute.ipc.score_table import ScoreTable
from fastroute.ipc.table_layout import COUNTERS
from fastroute.proxy.context import WorkerContext
from fastroute.rules.health_event import Event


@pytest.fixture
async def table():
    table = ScoreTable.create(rows=4, workers=2)
    yield table
    table.close()


@pytest.fixture
async def state(table):
    return WorkerContext(asyncio.get_running_loop(), table, table.worker_cells(1))


def server(row: int, generation: int = 1) -> RoutedServer:
    url = f"http://server-{row}-{generation}:8000"
    return RoutedServer(row=row, generation=generation, url=url, max_concurrent_requests=8)


def configure(*servers: RoutedServer, **settings) -> Configure:
    return Configure(config=Config(servers=(), **settings), servers=servers)


class TestConfigure:
    async def test_settings(self, state):
        message = configure(server(0), request_timeout=7.0, retry_on=("reset",))
        state.configure(message)
        assert state.configured is message
        assert state.config.request_timeout == 7.0
        assert state.retry_on == {"reset"}
        assert [pool.row for pool in state.router.servers] == [0]

    async def test_the_same_server_goes_on_being_counted(self, state):
        state.configure(configure(server(0), server(1)))
        state.cells.started[1] = 5
        state.configure(configure(server(1), server(0)))
        assert state.cells.started[1] == 5

    async def test_a_new_server_in_a_row_is_counted_anew(self, state):
        """Its counts would begin with those of the server before it."""
        state.configure(configure(server(0), server(1)))
        cells = state.cells
        columns = [name for name in COUNTERS if name != "counted_generation"]
        for name in columns:
            getattr(cells, name)[0] = getattr(cells, name)[1] = 5
        cells.first_byte.buckets[3][1] = cells.duration.sum_us[1] = 5
        state.failing = {0, 1}
        state.configure(configure(server(0), server(1, generation=2)))
        cleared = {name: getattr(cells, name)[1] for name in columns}
        # A request of the server before may still end: that takes it off the count then.
        assert cleared.pop("in_flight") == 5
        assert not any(cleared.values())
        assert (cells.first_byte.buckets[3][1], cells.duration.sum_us[1]) == (0, 0)
        assert cells.counted_generation.tolist() == [1, 2, 0, 0]
        assert all(getattr(cells, name)[0] == 5 for name in columns)
        assert state.failing == {0}


async def test_only_its_own_cells(state, table):
    state.configure(configure(server(0)))
    state.cells.started[0] += 1
    assert table.worker_cells(0).started[0] == 0
    assert table.worker_cells(1).started[0] == 1


async def test_request_ids(state, table):
    """No two are alike, of one worker or of two."""
    other = WorkerContext(state.loop, table, table.worker_cells(0))
    ids = {maker.new_request_id() for maker in (state, other) for _ in range(1000)}
    assert len(ids) == 2000
    assert all(len(request_id) == 25 for request_id in ids)


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
async def test_observe(state, seen, told):
    reported = []
    state.report = reported.append
    state.configure(configure(server(0), server(2, generation=3)))
    pool = state.router.servers[1]
    for kind in seen:
        state.observe(pool, kind, "detail", 1.5)
    assert [message.kind for message in reported] == told
    for message in reported:
        assert (message.row, message.generation) == (2, 3)
        assert (message.detail, message.retry_after) == ("detail", 1.5)
