"""What a worker counts of requests, in a score table of its own."""

from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastroute.ipc.score_table import ScoreTable
from fastroute.ipc.table_layout import COUNTERS, DURATION_BOUNDS, MODEL_COUNTERS, WORKER_COLUMNS
from fastroute.proxy.ledger import Ledger, bucket_of, status_column
from fastroute.rules.outcome import ENDINGS, Next, Outcome

ROW, OTHER, SLOT = 1, 2, 3


@pytest.fixture(name="table")
def table_fixture():
    table = ScoreTable.create(rows=4, workers=2)
    yield table
    table.close()


@pytest.fixture(name="ledger")
def ledger_fixture(table):
    return Ledger(table.worker_cells(1))


@pytest.mark.parametrize(
    ("status", "counter"),
    [
        (101, "finished_2xx"),
        (200, "finished_2xx"),
        (299, "finished_2xx"),
        (307, "finished_3xx"),
        (404, "finished_4xx"),
        (500, "finished_5xx"),
        (599, "finished_5xx"),
        (999, "finished_5xx"),
    ],
)
def test_status_column(status, counter):
    assert WORKER_COLUMNS[status_column(status)] == counter


@given(value=st.floats(0, 1e6) | st.sampled_from(DURATION_BOUNDS))
def test_bucket_of(value):
    assert bucket_of(DURATION_BOUNDS, value) == bisect_left(DURATION_BOUNDS, value)


def counted(ledger, row: int = ROW) -> dict[str, int]:
    """The counters of a row that are not 0."""
    values = {name: getattr(ledger.cells, name)[row] for name in COUNTERS}
    return {name: value for name, value in values.items() if value}


def of_model(ledger) -> dict[str, int]:
    models = ledger.cells.models
    values = {name: getattr(models, name)[SLOT] for name in MODEL_COUNTERS}
    return {name: value for name, value in values.items() if value}


def test_an_answer(ledger, table):
    ledger.start(ROW)
    assert counted(ledger) == {"started": 1, "in_flight": 1}
    ledger.send(ROW, 100, False)
    ledger.first_byte(ROW, 0.02)
    ledger.events[ROW] += 1
    ledger.answer(ROW, SLOT, 200, 0.3, 40)
    assert counted(ledger) == {
        "started": 1,
        "finished_2xx": 1,
        "connections_new": 1,
        "bytes_in": 100,
        "bytes_out": 40,
        "events": 1,
    }
    assert of_model(ledger) == {"finished_2xx": 1}
    cells = ledger.cells
    assert [bucket[ROW] for bucket in cells.first_byte.buckets][:4] == [0, 0, 1, 0]
    assert [bucket[ROW] for bucket in cells.duration.buckets][:6] == [0, 0, 0, 0, 1, 0]
    assert (cells.first_byte.sum_us[ROW], cells.duration.sum_us[ROW]) == (20_000, 300_000)
    assert table.worker_cells(0).started[ROW] == 0, "the other worker's cells are not touched"


def test_a_reused_connection(ledger):
    ledger.send(ROW, 1, True)
    assert counted(ledger) == {"connections_reused": 1, "bytes_in": 1}


@pytest.mark.parametrize(
    "outcome",
    [each for each in Outcome if ENDINGS[each].model_counter],
    ids=lambda each: each.value,
)
def test_a_failure(ledger, outcome):
    """Every row of the table that names counters names such as exist."""
    ledger.start(ROW)
    ledger.fail(outcome, ROW, SLOT, 7)
    ending = ENDINGS[outcome]
    assert counted(ledger) == {"started": 1, "bytes_out": 7, ending.counter: 1}
    assert of_model(ledger) == {ending.model_counter: 1}


@pytest.mark.parametrize(
    "outcome",
    [each for each in Outcome if ENDINGS[each].follow is not Next.GIVE_UP],
    ids=lambda each: each.value,
)
def test_a_retry(ledger, outcome):
    ledger.start(ROW)
    ledger.retry(outcome, ROW, 503, OTHER)
    ending = ENDINGS[outcome]
    assert counted(ledger) == {"started": 1, ending.counter or "finished_5xx": 1}
    assert counted(ledger, OTHER) == {ending.retry_counter: 1}
    assert of_model(ledger) == {}, "the request goes on"


@pytest.mark.parametrize(
    ("outcome", "cell"),
    [
        pytest.param(Outcome.NO_USABLE_SERVER, "unrouted_503", id="unrouted"),
        pytest.param(Outcome.UNKNOWN_MODEL, "unknown_models", id="unknown-model"),
        pytest.param(Outcome.REFUSED, "requests_refused", id="refused"),
        pytest.param(Outcome.LOCAL, "requests_local", id="local"),
    ],
)
def test_without_a_server(ledger, outcome, cell):
    ledger.own(outcome)
    assert getattr(ledger.cells.process, cell)[0] == 1


def test_every_counter_of_the_layout_can_be_cleared(ledger):
    """A new server in a row starts at 0; what is in flight may still end."""
    for name in WORKER_COLUMNS:
        ledger.cells.grid[WORKER_COLUMNS.index(name), ROW] = 5
    assert ledger.clear(ROW, 2)
    assert counted(ledger) == {"in_flight": 5, "excused": 5, "counted_generation": 2}
    assert not ledger.clear(ROW, 2), "it is the same server"


def test_retry_budget(ledger):
    ledger.requests, ledger.retries = 1000, 200
    assert not ledger.allows_retry(), "a fifth of them is enough"
    ledger.retries = 199
    assert ledger.allows_retry()


def test_retry_budget_forgets(ledger):
    ledger.requests, ledger.retries = 1000, 400
    for seconds in (0.0, 5.0, 11.0):
        ledger.sample(100.0 + seconds)
    assert ledger.allows_retry()
