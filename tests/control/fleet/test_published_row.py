import pytest

from fastroute.control.fleet.published_row import PublishedRow
from fastroute.ipc.score_table import ScoreTable
from fastroute.ipc.table_layout import SERVER_COLUMNS
from fastroute.rules.server_state import ServerState


@pytest.fixture(name="table")
def table_fixture():
    table = ScoreTable.create(rows=2, workers=2)
    yield table
    table.close()


def test_a_new_server_finds_nothing_of_the_one_before(table):
    for name in SERVER_COLUMNS:
        getattr(table.servers, name)[1] = 7
    table.recent.tokens[1] = 7
    row = PublishedRow(table, 1)
    assert (row.generation, table.servers.generation[1]) == (8, 8)
    assert (table.servers.running[1], table.servers.scraped_at_ns[1]) == (0, 0)
    assert (table.servers.kv_cache_ppm[1], table.recent.tokens[1]) == (-1, 0)


def test_the_moment_is_that_of_the_last_change_of_state(table):
    row = PublishedRow(table, 1)
    row.publish_state(ServerState.UP, 2.0)
    version = table.states_version[0]
    row.publish_state(ServerState.UP, 3.0)
    assert row.state_since_ns == 2 * 10**9
    assert table.states_version[0] == version, "no worker has to look"
    row.publish_state(ServerState.DRAINING, 4.0)
    assert row.state_since_ns == 4 * 10**9
    row.release()
    assert table.servers.state[1] == ServerState.FREE
    assert table.states_version[0] == version + 2


def test_counts_are_those_of_all_workers(table):
    row = PublishedRow(table, 1)
    for index in range(2):
        cells = table.worker_cells(index)
        cells.in_flight[1] += 1 + index
        cells.events[1] += 10
    assert (row.count_in_flight(), row.count_events()) == (3, 20)
