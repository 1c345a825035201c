"""Good responses are counted from the moment on at which a model is compared."""

import pytest

from fastroute.control.fleet.proofs import Proofs
from fastroute.control.fleet.published_row import PublishedRow
from fastroute.ipc.score_table import ScoreTable


@pytest.fixture(name="table")
def table_fixture():
    table = ScoreTable.create(rows=4, workers=2)
    yield table
    table.close()


def test_counts_of_all_workers(table):
    proofs = Proofs(PublishedRow(table, 1))
    first, second = table.worker_cells(0).proofs, table.worker_cells(1).proofs
    first[1, 1] = 100
    assert list(proofs.count({"m": 1})) == [], "from before"
    first[1, 1] += 2
    second[1, 1] += 3
    first[1, 2] += 7
    first[2, 1] += 7
    assert list(proofs.count({"m": 1})) == [("m", 5)]
    assert list(proofs.count({"m": 1})) == []


def test_a_model_that_was_not_compared_meanwhile_begins_again(table):
    proofs = Proofs(PublishedRow(table, 1))
    cells = table.worker_cells(0).proofs
    assert list(proofs.count({"m": 1, "": 0})) == []
    cells[1, 1] += 1
    cells[0, 1] += 1
    assert list(proofs.count({"": 0})) == [("", 1)]
    assert list(proofs.count({"m": 1, "": 0})) == []


def test_counters_that_a_worker_cleared(table):
    proofs = Proofs(PublishedRow(table, 1))
    cells = table.worker_cells(0).proofs
    cells[1, 1] = 9
    assert list(proofs.count({"m": 1})) == []
    cells[1, 1] = 2
    assert list(proofs.count({"m": 1})) == []
