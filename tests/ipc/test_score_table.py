import os
import subprocess
import sys

import msgspec
import pytest

from fastroute.ipc.score_table import ScoreTable
from fastroute.ipc.table_layout import (
    COUNTERS,
    MODEL_COUNTERS,
    OPEN_COUNTS,
    PROCESS_CELLS,
    RECENT_COUNTS,
    SERVER_COLUMNS,
    WORKER_COLUMNS,
)
from fastroute.rules.server_state import ServerState


@pytest.fixture(name="make_table")
def make_table_fixture():
    tables = []

    def make(rows: int = 5, workers: int = 2) -> ScoreTable:
        tables.append(ScoreTable.create(rows, workers))
        return tables[-1]

    yield make
    for table in tables:
        table.close()


class TestLayout:
    def test_a_new_table_is_all_zero(self, make_table):
        table = make_table()
        assert table.snapshot().servers == ()
        assert table.in_flight_totals() == [0] * 5

    @pytest.mark.parametrize(("rows", "workers"), [(1, 1), (5, 3), (256, 2)])
    def test_no_two_names_share_a_cell(self, rows, workers, make_table):
        """Write another number to each cell through its name, then read them all again."""
        table = make_table(rows, workers)
        views = [getattr(table.servers, name) for name in SERVER_COLUMNS]
        views += [getattr(table.recent, name) for name in RECENT_COUNTS]
        views += table.recent.first_byte
        for index in range(workers):
            cells = table.worker_cells(index)
            views += [getattr(cells.process, name) for name in PROCESS_CELLS]
            views += [getattr(cells, name) for name in COUNTERS]
        expected = []
        for number, view in enumerate(views):
            for cell in range(len(view)):
                view[cell] = number * 1000 + cell
            expected.append([number * 1000 + cell for cell in range(len(view))])
        assert [view.tolist() for view in views] == expected

    def test_blocks_of_different_writers_share_no_cache_line(self, make_table):
        table = make_table(rows=5, workers=2)
        cells = [table.worker_cells(index).process.pid for index in range(2)]
        cells[0][0] = -1
        cells[1][0] = -2
        data = os.pread(table.fd, 1 << 20, 0)
        for value in (-1, -2):
            offset = data.index(value.to_bytes(8, sys.byteorder, signed=True))
            assert offset % 64 == 0

    def test_a_cell_holds_a_big_number(self, make_table):
        table = make_table()
        cells = table.worker_cells(0)
        cells.bytes_out[0] += 2**62
        assert cells.bytes_out[0] == 2**62

    @pytest.mark.parametrize("index", [-1, 2])
    def test_no_such_worker(self, index, make_table):
        table = make_table(workers=2)
        with pytest.raises(IndexError):
            table.worker_cells(index)
        with pytest.raises(IndexError):
            table.clear_in_flight(index)


class TestAttach:
    def test_sees_what_the_creator_writes_and_the_other_way(self, make_table):
        table = make_table(rows=9, workers=3)
        other = ScoreTable.attach(os.dup(table.fd))
        assert (other.rows, other.workers) == (9, 3)
        table.servers.capacity[8] = 12
        other.worker_cells(2).in_flight[8] += 1
        assert other.servers.capacity[8] == 12
        assert table.in_flight_totals()[8] == 1
        other.close()
        assert table.in_flight_totals()[8] == 1

    def test_from_another_process(self, make_table):
        table = make_table()
        program = (
            "import sys; from fastroute.ipc.score_table import ScoreTable\n"
            "ScoreTable.attach(int(sys.argv[1])).worker_cells(1).started[4] += 7"
        )
        command = [sys.executable, "-c", program, str(table.fd)]
        subprocess.run(command, pass_fds=(table.fd,), check=True)
        assert table.worker_cells(1).started.tolist() == [0, 0, 0, 0, 7]

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            pytest.param(lambda data: b"", "not a fastroute score table", id="empty"),
            pytest.param(lambda data: b"x" * len(data), "not a fastroute score table", id="other"),
            pytest.param(
                lambda data: data[:8] + b"\1" + data[9:], "another version", id="other-columns"
            ),
            pytest.param(lambda data: data[:-8], "truncated", id="cut"),
        ],
    )
    def test_refuses_what_is_no_table_of_ours(self, change, message, make_table, tmp_path):
        table = make_table()
        data = os.pread(table.fd, 1 << 20, 0)
        path = tmp_path / "table"
        path.write_bytes(change(data))
        fd = os.open(path, os.O_RDWR)
        with pytest.raises(ValueError, match=message):
            ScoreTable.attach(fd)
        os.close(fd)


def test_grids_are_the_same_cells(make_table):
    table = make_table(rows=3, workers=2)
    cells = table.worker_cells(1)
    cells.grid[WORKER_COLUMNS.index("retries_busy"), 2] += 5
    cells.grid[WORKER_COLUMNS.index("duration_sum_us"), 0] += 7
    cells.model_grid[MODEL_COUNTERS.index("failed"), 4] += 9
    assert cells.retries_busy.tolist() == [0, 0, 5]
    assert cells.duration.sum_us.tolist() == [7, 0, 0]
    assert cells.models.failed[4] == 9
    assert sum(map(sum, (getattr(table.worker_cells(0), name) for name in COUNTERS))) == 0


class TestClose:
    def test_views_are_of_no_more_use(self):
        table = ScoreTable.create(2, 1)
        cells = table.worker_cells(0)
        fd = table.fd
        table.close()
        with pytest.raises(ValueError, match="released"):
            cells.in_flight[0] += 1
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)


class TestReading:
    @pytest.mark.parametrize("workers", [1, 2, 3])
    def test_in_flight_is_summed_over_workers(self, workers, make_table):
        table = make_table(rows=3, workers=workers)
        for index in range(workers):
            table.worker_cells(index).in_flight[1] += index + 1
        assert table.in_flight_totals() == [0, sum(range(workers + 1)), 0]

    def test_snapshot_has_the_rows_in_use(self, make_table):
        table = make_table(rows=4, workers=2)
        table.servers.generation[2] = 6
        table.servers.capacity[2] = 8
        table.servers.state[2] = ServerState.DRAINING
        table.recent.tokens[2] = 7
        table.recent.first_byte[12][2] = 9
        for index, cells in enumerate(map(table.worker_cells, range(2))):
            cells.in_flight[2] += 1
            cells.events[2] += 100
            cells.started[3] += 1
            cells.process.pid[0] = 1000 + index
        snapshot = table.snapshot()
        (server,) = snapshot.servers
        assert (server.row, server.state, server.generation) == (2, ServerState.DRAINING, 6)
        assert (server.capacity, server.in_flight, server.events) == (8, 2, 200)
        assert (server.recent.tokens, server.recent.first_byte) == (7, (*[0] * 12, 9))
        assert [(worker.index, worker.pid) for worker in snapshot.workers] == [(0, 1000), (1, 1001)]

    def test_a_snapshot_is_plain_values(self, make_table):
        table = make_table()
        table.servers.state[0] = ServerState.UP
        plain = msgspec.to_builtins(table.snapshot())
        assert set(plain["servers"][0]) == {
            *("row", "recent", "first_byte", "duration"),
            *(*SERVER_COLUMNS, *COUNTERS),
        }
        assert set(plain["workers"][0]) == {"index", "loop_lag", *PROCESS_CELLS}


def test_clearing_in_flight_leaves_the_rest(make_table):
    table = make_table(rows=3, workers=2)
    for index in range(2):
        cells = table.worker_cells(index)
        for name in COUNTERS:
            getattr(cells, name)[:] = memoryview(bytes([1, *bytes(7)] * 3)).cast("q")
        for name in PROCESS_CELLS:
            getattr(cells.process, name)[0] = 5
    table.clear_in_flight(0)
    for index, kept in ((0, 0), (1, 1)):
        cells = table.worker_cells(index)
        for name in OPEN_COUNTS:
            assert getattr(cells, name).tolist() == [kept] * 3, name
        assert cells.process.client_connections[0] == 5 * kept
        for name in set(COUNTERS) - set(OPEN_COUNTS):
            assert getattr(cells, name).tolist() == [1] * 3, name
        for name in set(PROCESS_CELLS) - {"client_connections"}:
            assert getattr(cells.process, name)[0] == 5, name
