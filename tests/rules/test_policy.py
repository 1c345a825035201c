import random
from collections import Counter
from itertools import cycle, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastroute.config import Config
from fastroute.rules.policy import (
    POLICIES,
    Candidate,
    LeastInflight,
    Load,
    Loads,
    Policy,
    Random,
    RoundRobin,
    make_policy,
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


def loads(foreign_milli: list[int], in_flight: list[int]) -> Loads:
    return Loads(foreign_milli, in_flight)


def named(policy: str, busy_threshold: float = 0.5) -> Policy:
    return make_policy(Config(servers=(), policy=policy, busy_threshold=busy_threshold))


def power_of_two(busy_threshold: float) -> Policy:
    return named("power_of_two", busy_threshold)


NONE = [0] * 8
IDLE = loads(NONE, NONE)


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
    assert score(Candidate(1, capacity), loads([999, foreign_milli], [999, in_flight])) == expected


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
    assert (
        Load().choose(servers(*capacities), loads(foreign_milli, in_flight), no_dice).row
        == expected
    )


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
    assert Load().choose(candidates, loads(NONE, [5, 4, 1, 8, 2]), throws(dice)).row == expected


@pytest.mark.parametrize("name", POLICIES)
def test_the_row_finds_the_counts_not_the_position(name):
    """Candidates are some of the table's rows, in any order."""
    candidates = [Candidate(row=3, capacity=8), Candidate(row=1, capacity=8)]
    policy = named(name)
    foreign_milli = [0, 7000, 0, 0]
    chosen = [
        policy.choose(candidates, loads(foreign_milli, [0, 2, 0, 0]), throws(0.1)).row
        for _ in range(4)
    ]
    assert set(chosen) == ({3, 1} if name == "round_robin" else {3})


def test_ties_are_spread_evenly():
    """With no load at all every server gets its share, whatever its place in the list."""
    rng = random.Random(7).random
    rows = Counter(Load().choose(servers(8, 8, 8, 8), IDLE, rng).row for _ in range(4000))
    assert all(abs(rows[row] - 1000) < 150 for row in range(4)), rows


def test_own_requests_are_seen_at_once():
    """A burst inside one scrape interval: the scraped load stands still, our own does not."""
    rng, candidates = random.Random(3).random, servers(8, 8, 8, 8)
    in_flight, foreign_milli = [0] * 4, [0, 0, 0, 8000]
    for _ in range(200):
        in_flight[Load().choose(candidates, loads(foreign_milli, in_flight), rng).row] += 1
    assert in_flight == [52, 52, 52, 44], "all are as full: the fourth has 8 from elsewhere"


@pytest.mark.parametrize("name", ["load", "least_inflight"])
def test_a_burst_is_shared_by_capacity(name):
    """Capacity is max_concurrent_requests times weight."""
    policy, rng = named(name), random.Random(4).random
    in_flight, candidates = [0] * 3, servers(8 * 1.0, 8 * 0.5, 4 * 2.0)
    for _ in range(160):
        in_flight[policy.choose(candidates, loads(NONE, in_flight), rng).row] += 1
    assert in_flight == [64, 32, 64]


def test_least_inflight_does_not_look_at_foreign_load():
    assert LeastInflight().choose(servers(8, 8), loads([9000, 0], [1, 2]), no_dice).row == 0


@pytest.mark.parametrize(
    ("dice", "expected"), [(0.0, 0), (0.249, 0), (0.25, 1), (0.749, 1), (0.751, 2), (0.9999, 2)]
)
def test_random_goes_by_capacity(dice, expected):
    assert (
        Random().choose(servers(2, 4, 2), loads([9000, 0, 0], [9, 0, 0]), throws(dice)).row
        == expected
    )


def test_random_by_capacity_in_the_long_run():
    rng = random.Random(11).random
    rows = Counter(Random().choose(servers(1, 2, 5), IDLE, rng).row for _ in range(8000))
    for row, share in enumerate((1000, 2000, 5000)):
        assert abs(rows[row] - share) < 200, rows


def test_random_survives_rounding():
    """The sum of the parts may fall short of the whole: the last one is taken then."""
    candidates = servers(0.1, 0.2, 0.3)
    assert Random().choose(candidates, IDLE, throws(1.0)).row == 2


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
        assert (
            policy.choose(servers(8, 8, 8, 8), loads(NONE, in_flight), throws(first, second)).row
            == expected
        )

    def test_busy_ones_are_left_out(self):
        policy = power_of_two(0.5)
        for seed in range(50):
            rng = random.Random(seed).random
            assert policy.choose(servers(8, 8, 8), loads(NONE, [4, 3, 8]), rng).row == 1

    def test_all_are_busy(self):
        policy = power_of_two(0.5)
        chosen = {
            policy.choose(servers(8, 8, 8), loads(NONE, [8, 8, 9]), random.Random(seed).random).row
            for seed in range(50)
        }
        assert chosen == {0, 1}, "the fullest never is the emptier of two"

    def test_foreign_load_makes_busy(self):
        assert power_of_two(0.5).choose(servers(8, 8), loads([4000, 0], [0, 3]), no_dice).row == 1

    def test_a_burst_is_shared(self):
        """200 requests that stay: of four equal servers none gets more than 30 %."""
        policy, rng, in_flight = power_of_two(0.5), random.Random(6).random, [0] * 4
        for _ in range(200):
            in_flight[policy.choose(servers(8, 8, 8, 8), loads(NONE, in_flight), rng).row] += 1
        assert max(in_flight) <= 60

    @settings(deadline=None)
    @given(st.data())
    def test_stays_among_those_that_are_not_busy(self, data):
        candidates = servers(*data.draw(st.lists(st.floats(0.5, 64), min_size=1, max_size=8)))
        foreign = [data.draw(st.integers(0, 20_000)) for _ in candidates]
        now = loads(foreign, [data.draw(st.integers(0, 20)) for _ in candidates])
        threshold = data.draw(st.floats(0, 2))
        rng = random.Random(data.draw(st.integers(0, 1000))).random
        chosen = power_of_two(threshold).choose(candidates, now, rng)
        scores = [score(candidate, now) for candidate in candidates]
        if min(scores) < threshold:
            assert score(chosen, now) < threshold


class TestRoundRobin:
    @pytest.mark.parametrize(
        "capacities",
        [(1, 1), (1, 2, 3), (8, 8, 4), (5, 1, 1), (16, 8), (0.5, 1.5), (3,), (7, 5, 3, 1)],
        ids=str,
    )
    def test_ratios_are_exact_over_a_round(self, capacities):
        policy = RoundRobin()
        unit = min(capacities) if min(capacities) < 1 else 1
        round_ = round(sum(capacities) / unit)
        rows = [policy.choose(servers(*capacities), IDLE, no_dice).row for _ in range(3 * round_)]
        assert Counter(rows) == {
            row: 3 * round(capacity / unit) for row, capacity in enumerate(capacities)
        }

    @pytest.mark.parametrize("capacities", [(4, 2, 2), (8, 8, 8), (16, 8, 4)], ids=str)
    def test_nobody_waits_long_for_a_turn(self, capacities):
        policy = RoundRobin()
        rows = [policy.choose(servers(*capacities), IDLE, no_dice).row for _ in range(100)]
        for row, capacity in enumerate(capacities):
            turns = [turn for turn, chosen in enumerate(rows) if chosen == row]
            gaps = [after - before for before, after in pairwise(turns)]
            assert max(gaps) <= 2 * sum(capacities) / capacity

    def test_weights_change_on_the_way(self):
        """A reload makes the second server twice as large: from then on it gets two thirds."""
        policy = RoundRobin()
        for _ in range(7):
            policy.choose(servers(1, 1), IDLE, no_dice)
        rows = Counter(policy.choose(servers(1, 2), IDLE, no_dice).row for _ in range(300))
        assert abs(rows[1] - 200) <= 2

    def test_in_turn(self):
        policy = RoundRobin()
        rows = [policy.choose(servers(8, 8, 8), IDLE, no_dice).row for _ in range(6)]
        assert sorted(rows[:3]) == [0, 1, 2]
        assert rows[3:] == rows[:3]

    def test_by_capacity_and_spread(self):
        """As nginx does it: 5, 1, 1 gives a a b a c a a, not five times a first."""
        policy = RoundRobin()
        rows = [policy.choose(servers(5, 1, 1), IDLE, no_dice).row for _ in range(14)]
        assert rows == [0, 0, 1, 0, 2, 0, 0] * 2

    def test_some_are_missing_now_and_then(self):
        """A server that was away does not get all requests when it is back."""
        policy = RoundRobin()
        a, b = servers(1, 1)
        for _ in range(100):
            policy.choose([a], IDLE, no_dice)
        rows = [policy.choose([a, b], IDLE, no_dice).row for _ in range(10)]
        assert Counter(rows) == {0: 5, 1: 5}

    def test_each_worker_has_its_own(self):
        first, second = RoundRobin(), RoundRobin()
        candidates = servers(1, 1)
        chosen = [policy.choose(candidates, IDLE, no_dice) for policy in (first, second)]
        assert chosen[0] == chosen[1]


@pytest.mark.parametrize(
    ("up", "on_trial", "cooling", "ejected", "in_flight", "expected"),
    [
        pytest.param([0, 1], [], [2], [3], [0, 0, 0, 0], [0, 1], id="up"),
        pytest.param([0], [1], [2], [3], [0, 0, 0, 0], [0, 1], id="up-and-on-trial"),
        pytest.param([0], [1], [2], [3], [0, 1, 0, 0], [0], id="its-trial-is-under-way"),
        pytest.param([], [0, 1], [2], [3], [1, 0, 0, 0], [1], id="only-the-free-one-on-trial"),
        pytest.param(
            [], [0], [1, 2], [3], [1, 0, 0, 0], [1, 2], id="cooling-before-a-second-trial"
        ),
        pytest.param([], [0], [], [3], [0, 0, 0, 0], [0, 3], id="ejected-beside-a-trial"),
        pytest.param([], [0], [], [3], [1, 0, 0, 0], [3], id="ejected-before-a-second-trial"),
        pytest.param([], [0], [], [], [1, 0, 0, 0], [0], id="a-second-trial-before-none"),
        pytest.param([], [], [], [2, 3], [0, 0, 1, 1], [2, 3], id="ejected-before-none"),
        pytest.param([], [], [], [], [0, 0, 0, 0], [], id="none"),
    ],
)
def test_usable_now(up, on_trial, cooling, ejected, in_flight, expected):
    every = servers(1, 1, 1, 1)
    free = [row for row in on_trial if not in_flight[row]]
    lists = ([every[row] for row in rows] for rows in (up, free, on_trial, cooling, ejected))
    assert [each.row for each in usable_now(*lists)] == expected


def test_without():
    a, b, c = servers(1, 1, 1)
    all_three = (a, b, c)
    assert without(all_three, []) is all_three
    assert list(without(all_three, [b])) == [a, c]
    assert not without(all_three, [c, a, b])


@settings(deadline=None)  # the machine may be busy
@given(st.sampled_from(list(POLICIES)), st.data())
def test_every_policy_chooses_a_candidate(name, data):
    capacities = data.draw(st.lists(st.floats(0.01, 1000), min_size=1, max_size=8))
    candidates = servers(*capacities)
    foreign = [data.draw(st.integers(0, 100_000)) for _ in candidates]
    now = loads(foreign, [data.draw(st.integers(0, 128)) for _ in candidates])
    policy = named(name, data.draw(st.floats(0, 2)))
    rng = random.Random(data.draw(st.integers(0, 1000))).random
    for _ in range(3):
        chosen = policy.choose(candidates, now, rng)
        assert chosen in candidates
        if name == "load":
            scores = [score(candidate, now) for candidate in candidates]
            assert score(chosen, now) == min(scores)


FOUR = [Candidate(row, 2.0) for row in range(4)]
TWO = FOUR[:2]
BUSY = [0, 4000, 4000, 4000]
"""Foreign load in thousandths."""
NOBODY = [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("policy", "candidates", "foreign", "in_flight", "expected"),
    [
        pytest.param("load", FOUR[:1], NOBODY, [3], (1.5, "only usable server"), id="one"),
        pytest.param("random", FOUR[:1], NOBODY, [3], (1.5, "only usable server"), id="one-random"),
        pytest.param("load", FOUR, BUSY, [1, 0, 0, 0], (0.5, "lowest of 4"), id="lowest"),
        pytest.param("load", FOUR, NOBODY, [0, 0, 1, 0], (0.0, "tie of 3 at random"), id="tie"),
        pytest.param(
            "least_inflight",
            *(FOUR, [9000, 0, 0, 0], [1, 2, 2, 2]),
            (5.0, "lowest of 4"),
            id="lowest-of-ours",
        ),
        pytest.param(
            "least_inflight", TWO, [9000, 0], [1, 1], (5.0, "tie of 2 at random"), id="tie-of-ours"
        ),
        pytest.param(
            "power_of_two",
            FOUR,
            NOBODY,
            NOBODY,
            (0.0, "lower of 2 drawn from 4"),
            id="power-of-two",
        ),
        pytest.param("round_robin", TWO, NOBODY, [7, 0], (3.5, "in turn among 2"), id="in-turn"),
        pytest.param("random", TWO, NOBODY, [7, 0], (3.5, "random of 2"), id="random"),
    ],
)
def test_explains(policy, candidates, foreign, in_flight, expected):
    now = loads(foreign, in_flight)
    reason = named(policy).explain(FOUR[0], candidates, now)
    assert (score(FOUR[0], now), reason) == expected


def test_new_settings_reach_a_policy_that_goes_on():
    policy, now = named("power_of_two", 0.5), loads(NONE, [4, 6])
    assert policy.choose(servers(8, 8), now, throws(0.9)).row == 0, "none is below the threshold"
    policy.configure(Config(servers=(), policy="power_of_two", busy_threshold=0.75))
    assert policy.choose(servers(8, 8), now, no_dice).row == 0, "one is, so nothing is drawn"


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_every_policy_documents_itself(policy):
    assert POLICIES[policy.name] is policy
    for text in (policy.chooses, policy.rule, policy.among):
        assert text
        assert not text.endswith(".")
