import asyncio
import time

import pytest

from fastroute.ipc.score_table import ScoreTable
from fastroute.ipc.table_layout import LOOP_LAG_BOUNDS
from fastroute.proxy.loop_lag import LoopLag, note_step
from tests.support.standins import until


@pytest.fixture(name="cells")
def cells_fixture():
    table = ScoreTable.create(rows=8, workers=1)
    yield table.worker_cells(0).process
    table.close()


def counted(cells):
    return [bucket[0] for bucket in cells.loop_lag.buckets]


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [(0.0, 0), (0.001, 0), (0.004, 1), (0.3, 7), (20.0, len(LOOP_LAG_BOUNDS))],
)
async def test_counts(cells, seconds, bucket):
    LoopLag(asyncio.get_running_loop(), cells).count(seconds)
    assert counted(cells)[bucket] == sum(counted(cells)) == 1
    assert cells.loop_lag.sum_us[0] == int(seconds * 1e6)


async def test_a_blocked_loop_is_late(cells):
    lag = LoopLag(asyncio.get_running_loop(), cells)
    lag.start()
    time.sleep(0.4)
    await until(lambda: sum(counted(cells)) >= 2)
    lag.stop()
    assert sum(counted(cells)[7:]) >= 1
    number = sum(counted(cells))
    await asyncio.sleep(0.15)
    assert sum(counted(cells)) == number


def test_the_slowest_step_stays(cells):
    for seconds in (0.002, 0.5, 0.1):
        note_step(cells.slowest_read_us, seconds)
    assert cells.slowest_read_us[0] == 500_000
