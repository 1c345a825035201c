"""The table of evidence is complete, and agrees with the rules that follow it."""

import pytest

from fastroute.rules.evidence import CAUSES, COMPARED, EVIDENCE, Event, Weight
from fastroute.rules.health import TRANSITIONS

CONCLUDED = {
    Event.OUTLIER: "follows from the comparison",
    Event.PROBE_OK: "takes down only by a slow average, which is in the row of slow checks",
}
"""Events that take a server out without being seen themselves."""

ROWS = [pytest.param(row, id=row.seen[:40]) for row in EVIDENCE]


@pytest.mark.parametrize("event", [*COMPARED, *CAUSES], ids=lambda event: event.name)
def test_what_counts_against_a_server_has_a_row(event):
    assert any(row.event is event for row in EVIDENCE) or event in CONCLUDED


@pytest.mark.parametrize("row", ROWS)
def test_a_row_has_a_reason(row):
    assert row.seen
    assert row.reason
    assert "|" not in f"{row.seen}{row.weight.value}{row.reason}", "it would end a cell"


def test_rows_differ():
    seen = [row.seen for row in EVIDENCE]
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize("row", ROWS)
def test_the_comparison_takes_what_the_table_says(row):
    compared = {
        Weight.COMPARED: False, Weight.COMPARED_OR_ALONE: True, Weight.CONFIRMED: True,
    }  # fmt: skip
    if row.event in COMPARED:
        assert compared[row.weight] is COMPARED[row.event]
    else:
        assert row.weight not in compared


@pytest.mark.parametrize("row", ROWS)
def test_what_takes_a_server_out_has_a_cause(row):
    if row.weight in (Weight.EJECTS, Weight.CHECKED, Weight.SLEEPS):
        assert row.event in CAUSES


@pytest.mark.parametrize("row", ROWS)
def test_nothing_is_remembered_of_what_has_no_consequence(row):
    assert (row.event is None) is (row.weight is Weight.NONE)


@pytest.mark.parametrize("event", COMPARED, ids=lambda event: event.name)
def test_what_is_compared_changes_no_server_in_service_by_itself(event):
    for state, events in TRANSITIONS.items():
        assert event not in events or state.name == "TRIAL"


def test_every_weight_is_used():
    assert {row.weight for row in EVIDENCE} == set(Weight)
