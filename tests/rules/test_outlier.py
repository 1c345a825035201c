import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastroute.rules.outlier import (
    MOMENT,
    WINDOW,
    Sample,
    Window,
    is_outlier,
    may_eject,
    pooled,
)
from fastroute.rules.server_state import ServerState

DEAD = Sample(answered=0, failed=40, moments=8, unreachable=True)
BROKEN = Sample(answered=0, failed=40, moments=8)
GOOD = Sample(answered=40)
NOTHING = Sample()


class TestWindow:
    def test_failures_of_one_moment_are_one_piece_of_evidence(self):
        window = Window()
        for _ in range(1000):
            window.add_failed(1, now=100.0, unreachable=True)
        assert window.sample(100.0) == Sample(0, 1000, 1, True)

    def test_different_moments_count_apart(self):
        window = Window()
        for number in range(5):
            window.add_failed(2, now=100.0 + number * MOMENT, unreachable=False)
            window.add_answered(3, now=100.0 + number * MOMENT)
        assert window.sample(102.0) == Sample(15, 10, 5, False)

    def test_it_slides(self):
        window = Window()
        window.add_failed(1, now=100.0, unreachable=True)
        window.add_answered(1, now=100.0 + WINDOW / 2)
        assert window.sample(100.0 + WINDOW) == Sample(1, 1, 1, True)
        assert window.sample(100.0 + WINDOW + 2 * MOMENT) == Sample(1, 0, 0, False)
        assert window.sample(1000.0) == NOTHING

    @given(st.lists(st.tuples(st.floats(0, 100), st.booleans()), max_size=200))
    def test_it_holds_what_came_within_the_window_and_no_more(self, requests):
        window, now = Window(), 0.0
        seen: list[tuple[float, bool]] = []
        for wait, failed in requests:
            now += wait
            seen.append((now, failed))
            if failed:
                window.add_failed(1, now, unreachable=False)
            else:
                window.add_answered(1, now)
        sample = window.sample(now)
        surely = [failed for at, failed in seen if now - at <= WINDOW - MOMENT]
        perhaps = [failed for at, failed in seen if now - at <= WINDOW + MOMENT]
        assert sum(surely) <= sample.failed <= sum(perhaps)
        assert len(surely) <= sample.failed + sample.answered <= len(perhaps)
        assert sample.moments <= sample.failed


def test_pooled():
    assert pooled([DEAD, GOOD]) == Sample(40, 40, 8, True)
    assert pooled([]) == NOTHING


@pytest.mark.parametrize(
    ("server", "peers", "delivering", "expected"),
    [
        pytest.param(DEAD, GOOD, False, True, id="dead-among-good-ones"),
        pytest.param(BROKEN, GOOD, False, True, id="errors-where-others-answer"),
        pytest.param(BROKEN, BROKEN, False, False, id="every-server-fails-these-requests"),
        pytest.param(DEAD, DEAD, False, False, id="all-lost-at-once"),
        pytest.param(DEAD, GOOD, True, False, id="delivering-to-others"),
        pytest.param(DEAD, NOTHING, False, True, id="dead-with-nothing-to-compare"),
        pytest.param(BROKEN, NOTHING, False, False, id="errors-with-nothing-to-compare"),
        pytest.param(Sample(0, 999, 4, True), GOOD, False, False, id="too-few-moments"),
        pytest.param(Sample(60, 40, 9, True), GOOD, False, False, id="answers-most"),
        pytest.param(Sample(20, 80, 9), Sample(30, 70, 9), False, False, id="a-bit-worse"),
        pytest.param(Sample(10, 90, 9), Sample(60, 40, 9), False, True, id="clearly-worse"),
        # One client's broken requests, and few honest ones: seen to eject one of two good servers.
        pytest.param(Sample(14, 22, 20, True), Sample(1, 0), False, False, id="one-of-the-peers"),
        pytest.param(Sample(0, 9, 9, True), Sample(8, 7, 7), False, False, id="as-bad-as-these"),
        pytest.param(Sample(0, 5, 5, True), Sample(5, 0), False, True, id="five-of-five"),
        pytest.param(Sample(0, 6, 6), Sample(1, 2, 2), False, False, id="few-requests"),
        pytest.param(Sample(0, 40, 9), Sample(40, 80, 9), False, True, id="none-of-many-answered"),
    ],
)
def test_is_outlier(server, peers, delivering, expected):
    assert is_outlier(server, peers, threshold=5, delivering=delivering) is expected


UP, DOWN, DRAINING = ServerState.UP, ServerState.DOWN, ServerState.DRAINING
TRIAL, COOLING, EJECTED = ServerState.TRIAL, ServerState.COOLING, ServerState.EJECTED


@pytest.mark.parametrize(
    ("states", "percent", "expected"),
    [
        pytest.param([UP], 100, False, id="never-the-last-one"),
        pytest.param([UP, UP], 50, True, id="one-of-two"),
        pytest.param([UP, UP], 49, False, id="less-than-one-of-two"),
        pytest.param([UP, UP, UP], 50, True, id="one-of-three"),
        pytest.param([UP, UP, EJECTED], 50, False, id="two-of-three-are-too-many"),
        pytest.param([UP, UP, UP, EJECTED], 50, True, id="a-second-of-four"),
        pytest.param([UP, UP, EJECTED, EJECTED], 50, False, id="half-is-reached"),
        pytest.param([UP, UP, EJECTED, TRIAL], 50, False, id="one-on-trial-counts"),
        pytest.param([UP, DOWN, DOWN, DOWN], 50, False, id="the-others-are-down-otherwise"),
        pytest.param([UP, COOLING, DOWN, DOWN], 50, True, id="another-backs-off"),
        pytest.param([UP, UP, DRAINING, DRAINING], 50, True, id="drained-ones-do-not-count"),
        pytest.param([UP, UP, DRAINING, EJECTED], 50, False, id="half-of-those-not-drained"),
        pytest.param([UP, UP, EJECTED, EJECTED], 100, True, id="all-but-one"),
        pytest.param([UP, UP, UP, UP], 0, False, id="switched-off"),
        pytest.param([EJECTED, UP, UP, UP], 100, False, id="ejected-already"),
        pytest.param([TRIAL, UP, EJECTED, DOWN], 50, True, id="again-from-trial"),
        pytest.param([TRIAL, DOWN], 50, False, id="the-last-one-is-on-trial"),
        pytest.param([TRIAL, UP], 0, False, id="from-trial-switched-off"),
    ],
)
def test_may_eject(states, percent, expected):
    assert may_eject(states[0], states, percent) is expected
