from collections import Counter
from itertools import cycle, pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastroute.rules.policy import (
    POLICIES,
    Candidate,
    least_inflight,
    load,
    make_policy,
    power_of_two,
    random,
    round_robin,
    score,
    usable_now,
    without,
)


def servers(*capacities: float) -> list[Candidate]:
    return [Candidate(row, capacity) for row, capacity in enumerate(capacities)]


def no_dice() -> float:
    raise AssertionError("dice were thrown where there is nothing to decide")


def throws(*numbers: float):
    """Dice that show these numbers, again and again."""
    return cycle(numbers).__next__


NONE = [0] * 8


@pytest.mark.parametrize(
    ("capacity", "foreign_milli", "in_flight", "expected"),
    [
        pytest.param(8, 0, 0, 0.0, id="empty"),
        pytest.param(8, 0, 4, 0.5, id="own"),
        pytest.param(8, 4000, 0, 0.5, id="foreign"),
        pytest.param(8, 2500, 4, 0.8125, id="both"),
        pytest.param(4, 0, 8, 2.0, id="overfull"),
        pytest.param(0.5, 0, 1, 2.0, id="weighted-capacity-below-one"),
    ],
)
def test_score(capacity, foreign_milli, in_flight, expected):
    assert score(Candidate(1, capacity), [999, foreign_milli], [999, in_flight]) == expected


@pytest.mark.parametrize(
    ("capacities", "foreign_milli", "in_flight", "expected"),
    [
        pytest.param([8], NONE, [0], 0, id="only-one"),
        pytest.param([8], NONE, [800], 0, id="only-one-overfull"),
        pytest.param([8, 8], NONE, [1, 0], 1, id="fewest"),
        pytest.param([8, 8, 8], NONE, [0, 1, 2], 0, id="fewest-first"),
        pytest.param([2, 8], NONE, [1, 3], 1, id="share-not-number"),
        pytest.param([8, 2], NONE, [3, 1], 0, id="share-not-number-first"),
        pytest.param([1, 100], NONE, [1, 99], 1, id="big-and-nearly-full"),
        pytest.param([8, 8], [1, 0], [0, 0], 1, id="a-thousandth-decides"),
        pytest.param([8, 8], [3000, 0], [0, 4], 0, id="own-and-foreign-are-added"),
        pytest.param([8, 8], [0, 5000], [4, 0], 0, id="foreign-is-more"),
    ],
)
def test_load(capacities, foreign_milli, in_flight, expected):
    assert load(servers(*capacities), foreign_milli, in_flight, no_dice).row == expected


@pytest.mark.parametrize(
    ("dice", "expected"),
    [
        pytest.param(0.0, 1, id="lowest-throw"),
        pytest.param(0.3333, 1, id="first-third"),
        pytest.param(0.3334, 2, id="second-third"),
        pytest.param(0.9999999999999999, 4, id="highest-throw"),
    ],
)
def test_ties_are_broken_by_dice(dice, expected):
    """Rows 1, 2 and 4 have half their capacity in use, though not the same numbers."""
    candidates = servers(8, 8, 2, 8, 4)
    assert load(candidates, NONE, [5, 4, 1, 8, 2], throws(dice)).row == expected


@pytest.mark.parametrize("name", POLICIES)
def test_the_row_finds_the_counts_not_the_position(name):
    """Candidates are some of the table's rows, in any order."""
    candidates = [Candidate(row=3, capacity=8), Candidate(row=1, capacity=8)]
    policy = make_policy(name, busy_threshold=0.5)
    foreign_milli = [0, 7000, 0, 0]
    chosen = [policy(candidates, foreign_milli, [0, 2, 0, 0], throws(0.1)).row for _ in range(4)]
    assert set(chosen) == ({3, 1} if name == "round_robin" else {3})


def test_ties_are_spread_evenly():
    """With no load at all every server gets its share, whatever its place in the list."""
    rng = Random(7).random
    rows = Counter(load(servers(8, 8, 8, 8), NONE, NONE, rng).row for _ in range(4000))
    assert all(abs(rows[row] - 1000) < 150 for row in range(4)), rows


def test_own_requests_are_seen_at_once():
    """A burst inside one scrape interval: the scraped load stands still, our own does not."""
    rng, candidates = Random(3).random, servers(8, 8, 8, 8)
    in_flight, foreign_milli = [0] * 4, [0, 0, 0, 8000]
    for _ in range(200):
        in_flight[load(candidates, foreign_milli, in_flight, rng).row] += 1
    assert in_flight == [52, 52, 52, 44], "all are as full: the fourth has 8 from elsewhere"


@pytest.mark.parametrize("name", ["load", "least_inflight"])
def test_a_burst_is_shared_by_capacity(name):
    """Capacity is max_concurrent_requests times weight."""
    policy, rng = make_policy(name, 0.5), Random(4).random
    in_flight = [0] * 3
    for _ in range(160):
        in_flight[policy(servers(8 * 1.0, 8 * 0.5, 4 * 2.0), NONE, in_flight, rng).row] += 1
    assert in_flight == [64, 32, 64]


def test_least_inflight_does_not_look_at_foreign_load():
    assert least_inflight(servers(8, 8), [9000, 0], [1, 2], no_dice).row == 0


@pytest.mark.parametrize(
    ("dice", "expected"), [(0.0, 0), (0.249, 0), (0.25, 1), (0.749, 1), (0.751, 2), (0.9999, 2)]
)
def test_random_goes_by_capacity(dice, expected):
    assert random(servers(2, 4, 2), [9000, 0, 0], [9, 0, 0], throws(dice)).row == expected


def test_random_by_capacity_in_the_long_run():
    rng = Random(11).random
    rows = Counter(random(servers(1, 2, 5), NONE, NONE, rng).row for _ in range(8000))
    for row, share in enumerate((1000, 2000, 5000)):
        assert abs(rows[row] - share) < 200, rows


def test_random_survives_rounding():
    """The sum of the parts may fall short of the whole: the last one is taken then."""
    candidates = servers(0.1, 0.2, 0.3)
    assert random(candidates, NONE, NONE, throws(1.0)).row == 2


class TestPowerOfTwo:
    @pytest.mark.parametrize(
        ("first", "second", "expected"),
        [
            pytest.param(0.0, 0.0, 1, id="0-and-1"),
            pytest.param(0.0, 0.4, 2, id="0-and-2"),
            pytest.param(0.3, 0.0, 1, id="1-and-0"),
            pytest.param(0.3, 0.4, 2, id="1-and-2"),
            pytest.param(0.9, 0.9, 3, id="3-and-2"),
            pytest.param(0.6, 0.9, 3, id="2-and-3"),
        ],
    )
    def test_the_emptier_of_two_different_ones(self, first, second, expected):
        """Scores fall from row 0 to row 3; none is busy."""
        policy = power_of_two(0.5)
        in_flight = [3, 2, 1, 0]
        assert policy(servers(8, 8, 8, 8), NONE, in_flight, throws(first, second)).row == expected

    def test_busy_ones_are_left_out(self):
        policy = power_of_two(0.5)
        for seed in range(50):
            rng = Random(seed).random
            assert policy(servers(8, 8, 8), NONE, [4, 3, 8], rng).row == 1

    def test_all_are_busy(self):
        policy = power_of_two(0.5)
        chosen = {
            policy(servers(8, 8, 8), NONE, [8, 8, 9], Random(seed).random).row for seed in range(50)
        }
        assert chosen == {0, 1}, "the fullest never is the emptier of two"

    def test_foreign_load_makes_busy(self):
        assert power_of_two(0.5)(servers(8, 8), [4000, 0], [0, 3], no_dice).row == 1

    def test_a_burst_is_shared(self):
        """200 requests that stay: of four equal servers none gets more than 30 %."""
        policy, rng, in_flight = power_of_two(0.5), Random(6).random, [0] * 4
        for _ in range(200):
            in_flight[policy(servers(8, 8, 8, 8), NONE, in_flight, rng).row] += 1
        assert max(in_flight) <= 60

    @settings(deadline=None)
    @given(st.data())
    def test_stays_among_those_that_are_not_busy(self, data):
        candidates = servers(*data.draw(st.lists(st.floats(0.5, 64), min_size=1, max_size=8)))
        foreign = [data.draw(st.integers(0, 20_000)) for _ in candidates]
        in_flight = [data.draw(st.integers(0, 20)) for _ in candidates]
        threshold = data.draw(st.floats(0, 2))
        rng = Random(data.draw(st.integers(0, 1000))).random
        chosen = power_of_two(threshold)(candidates, foreign, in_flight, rng)
        scores = [score(candidate, foreign, in_flight) for candidate in candidates]
        if min(scores) < threshold:
            assert score(chosen, foreign, in_flight) < threshold


class TestRoundRobin:
    @pytest.mark.parametrize(
        "capacities",
        [(1, 1), (1, 2, 3), (8, 8, 4), (5, 1, 1), (16, 8), (0.5, 1.5), (3,), (7, 5, 3, 1)],
        ids=str,
    )
    def test_ratios_are_exact_over_a_round(self, capacities):
        policy = round_robin()
        unit = min(capacities) if min(capacities) < 1 else 1
        round_ = round(sum(capacities) / unit)
        rows = [policy(servers(*capacities), NONE, NONE, no_dice).row for _ in range(3 * round_)]
        assert Counter(rows) == {
            row: 3 * round(capacity / unit) for row, capacity in enumerate(capacities)
        }

    @pytest.mark.parametrize("capacities", [(4, 2, 2), (8, 8, 8), (16, 8, 4)], ids=str)
    def test_nobody_waits_long_for_a_turn(self, capacities):
        policy = round_robin()
        rows = [policy(servers(*capacities), NONE, NONE, no_dice).row for _ in range(100)]
        for row, capacity in enumerate(capacities):
            turns = [turn for turn, chosen in enumerate(rows) if chosen == row]
            gaps = [after - before for before, after in pairwise(turns)]
            assert max(gaps) <= 2 * sum(capacities) / capacity

    def test_weights_change_on_the_way(self):
        """A reload makes the second server twice as large: from then on it gets two thirds."""
        policy = round_robin()
        for _ in range(7):
            policy(servers(1, 1), NONE, NONE, no_dice)
        rows = Counter(policy(servers(1, 2), NONE, NONE, no_dice).row for _ in range(300))
        assert abs(rows[1] - 200) <= 2

    def test_in_turn(self):
        policy = round_robin()
        rows = [policy(servers(8, 8, 8), NONE, NONE, no_dice).row for _ in range(6)]
        assert sorted(rows[:3]) == [0, 1, 2]
        assert rows[3:] == rows[:3]

    def test_by_capacity_and_spread(self):
        """As nginx does it: 5, 1, 1 gives a a b a c a a, not five times a first."""
        policy = round_robin()
        rows = [policy(servers(5, 1, 1), NONE, NONE, no_dice).row for _ in range(14)]
        assert rows == [0, 0, 1, 0, 2, 0, 0] * 2

    def test_some_are_missing_now_and_then(self):
        """A server that was away does not get all requests when it is back."""
        policy = round_robin()
        a, b = servers(1, 1)
        for _ in range(100):
            policy([a], NONE, NONE, no_dice)
        rows = [policy([a, b], NONE, NONE, no_dice).row for _ in range(10)]
        assert Counter(rows) == {0: 5, 1: 5}

    def test_each_worker_has_its_own(self):
        first, second = make_policy("round_robin", 0.5), make_policy("round_robin", 0.5)
        candidates = servers(1, 1)
        assert first(candidates, NONE, NONE, no_dice) == second(candidates, NONE, NONE, no_dice)


@pytest.mark.parametrize(
    ("up", "on_trial", "cooling", "in_flight", "expected"),
    [
        pytest.param([0, 1], [], [2], [0, 0, 0], [0, 1], id="up"),
        pytest.param([0], [1], [2], [0, 0, 0], [0, 1], id="up-and-on-trial"),
        pytest.param([0], [1], [2], [0, 1, 0], [0], id="its-trial-is-under-way"),
        pytest.param([], [0, 1], [2], [1, 0, 0], [1], id="only-the-free-one-on-trial"),
        pytest.param([], [0], [1, 2], [1, 0, 0], [1, 2], id="cooling-before-a-second-trial"),
        pytest.param([], [0], [], [1, 0, 0], [0], id="a-second-trial-before-none"),
        pytest.param([], [], [], [0, 0, 0], [], id="none"),
    ],
)
def test_usable_now(up, on_trial, cooling, in_flight, expected):
    every = servers(1, 1, 1)
    lists = ([every[row] for row in rows] for rows in (up, on_trial, cooling))
    assert [each.row for each in usable_now(*lists, in_flight)] == expected


def test_without():
    a, b, c = servers(1, 1, 1)
    all_three = (a, b, c)
    assert without(all_three, []) is all_three
    assert list(without(all_three, [b])) == [a, c]
    assert not without(all_three, [c, a, b])


@settings(deadline=None)  # the machine may be busy
@given(st.sampled_from(POLICIES), st.data())
def test_every_policy_chooses_a_candidate(name, data):
    capacities = data.draw(st.lists(st.floats(0.01, 1000), min_size=1, max_size=8))
    candidates = servers(*capacities)
    foreign = [data.draw(st.integers(0, 100_000)) for _ in candidates]
    in_flight = [data.draw(st.integers(0, 128)) for _ in candidates]
    policy = make_policy(name, data.draw(st.floats(0, 2)))
    rng = Random(data.draw(st.integers(0, 1000))).random
    for _ in range(3):
        chosen = policy(candidates, foreign, in_flight, rng)
        assert chosen in candidates
        if name == "load":
            scores = [score(candidate, foreign, in_flight) for candidate in candidates]
            assert score(chosen, foreign, in_flight) == min(scores)
