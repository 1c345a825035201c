import asyncio

import pytest

from fastroute.config import Config
from fastroute.ipc.messages import Configure, RoutedServer
from fastroute.ipc.score_table import ScoreTable
from fastroute.ipc.table_layout import COUNTERS, OPEN_COUNTS
from fastroute.proxy.context import WorkerContext
from fastroute.proxy.supervisor_link import SupervisorLink


@pytest.fixture
async def table():
    table = ScoreTable.create(rows=4, workers=2)
    yield table
    table.close()


@pytest.fixture
async def state(table):
    return WorkerContext(asyncio.get_running_loop(), table, table.worker_cells(1), SupervisorLink())


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
        assert state.settings.config.request_timeout == 7.0
        assert state.settings.retry_on == {"reset"}
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
        state.router.refusals.note(0)
        state.router.refusals.note(1)
        state.configure(configure(server(0), server(1, generation=2)))
        cleared = {name: getattr(cells, name)[1] for name in columns}
        # A request of the server before may still end: that takes it off the counts then.
        assert [cleared.pop(name) for name in OPEN_COUNTS] == [5, 5]
        assert not any(cleared.values())
        assert (cells.first_byte.buckets[3][1], cells.duration.sum_us[1]) == (0, 0)
        assert cells.counted_generation.tolist() == [1, 2, 0, 0]
        assert all(getattr(cells, name)[0] == 5 for name in columns)
        assert [*state.router.refusals.penalties] == [0]


async def test_only_its_own_cells(state, table):
    state.configure(configure(server(0)))
    state.cells.started[0] += 1
    assert table.worker_cells(0).started[0] == 0
    assert table.worker_cells(1).started[0] == 1
