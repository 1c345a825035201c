import pytest

from fastroute.rules.refusals import MAX_PENALTY, Refusals

CAPACITIES = {0: 8.0, 1: 4.0}


def test_nothing_refused_costs_nothing():
    refusals = Refusals()
    assert not refusals.penalties
    assert refusals.added_to([5, 6], CAPACITIES) == [5, 6]


def test_a_refusal_makes_a_server_look_full():
    refusals = Refusals()
    refusals.note(1)
    assert refusals.penalties
    in_flight = [5, 5]
    assert refusals.added_to(in_flight, CAPACITIES) == [5, 9]
    assert in_flight == [5, 5]


def test_more_in_a_row_count_more_up_to_a_bound():
    refusals = Refusals()
    loads = []
    for _ in range(10):
        refusals.note(0)
        loads.append(refusals.added_to([0, 0], CAPACITIES)[0])
    assert loads[:3] == [8, 24, 56]
    assert loads[-1] == int(MAX_PENALTY * 8)


def test_it_decays_to_nothing():
    refusals = Refusals()
    for _ in range(20):
        refusals.note(0)
    loads = []
    while refusals.penalties:
        loads.append(refusals.added_to([0, 0], CAPACITIES)[0])
        refusals.decay()
    assert loads == sorted(loads, reverse=True)
    assert 6 <= len(loads) <= 10


@pytest.mark.parametrize(
    ("failing", "answering", "expected"),
    [
        pytest.param([0], 0, [0, 0], id="ends-its-own"),
        pytest.param([0, 1], 0, [0, 0], id="ends-all-as-the-requests-were-to-blame"),
        pytest.param([1], 0, [0, 4], id="of-a-well-server-proves-nothing"),
    ],
)
def test_a_good_response(failing, answering, expected):
    refusals = Refusals()
    for row in failing:
        refusals.note(row)
    refusals.answered(answering)
    refusals.answered(answering)
    assert refusals.added_to([0, 0], CAPACITIES) == expected


def test_forget():
    refusals = Refusals()
    refusals.note(0)
    refusals.note(1)
    refusals.forget(0)
    refusals.forget(0)
    assert refusals.added_to([0, 0], CAPACITIES) == [0, 4]


@pytest.mark.parametrize("row", [2, 7])
def test_a_server_that_is_gone(row):
    refusals = Refusals()
    refusals.note(row)
    assert refusals.added_to([0, 0], CAPACITIES) == [0, 0]
