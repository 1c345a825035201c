"""The layout follows from the fields of the structs."""

from dataclasses import dataclass, field
from typing import Generic, NamedTuple

import pytest

from fastroute.ipc.table_layout import (
    COUNTED,
    MODEL,
    PROCESS,
    RECENT,
    SERVER,
    Block,
    Cell,
    ModelCounters,
    Parts,
    ProcessCells,
    RecentColumns,
    ServerColumns,
    ServerCounters,
    total_cells,
    worker_start,
)


class Pair(NamedTuple):
    low: int
    high: int


@dataclass(kw_only=True)
class Example(Generic[Cell]):
    first: Cell
    pair: Pair = field(metadata={"parts": Parts(("low", "high"), lambda cells: Pair(*cells))})
    last: Cell


def test_a_field_is_a_column_or_several():
    block = Block(Example)
    assert block.cells == ("first", "last")
    assert block.columns == ("first", "last", "pair_low", "pair_high")
    assert block.group([1, 2, 3, 4]) == {"first": 1, "last": 2, "pair": Pair(3, 4)}


@pytest.mark.parametrize(
    ("block", "struct"),
    [
        pytest.param(SERVER, ServerColumns, id="server"),
        pytest.param(RECENT, RecentColumns, id="recent"),
        pytest.param(PROCESS, ProcessCells, id="process"),
        pytest.param(MODEL, ModelCounters, id="model"),
        pytest.param(COUNTED, ServerCounters, id="counted"),
    ],
)
def test_every_struct_can_be_made_of_its_columns(block, struct):
    struct(**block.group(list(range(len(block.columns)))))


@pytest.mark.parametrize(("rows", "workers"), [(1, 1), (5, 3), (256, 2)])
def test_workers_begin_on_cache_lines(rows, workers):
    starts = [worker_start(rows, index) for index in range(workers)]
    assert all(start % 8 == 0 for start in (*starts, total_cells(rows, workers)))
