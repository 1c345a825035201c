from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastroute.rules.discovery import (
    UNKNOWN,
    Known,
    Problem,
    after_answer,
    after_failure,
    change_text,
    chosen,
)

HOLD = 30.0
TWO = ("10.0.0.1", "10.0.0.2")
ONE = ("10.0.0.1",)
NO_ANSWER = "Temporary failure in name resolution"


def after(*look_ups: tuple[float, object]) -> list[Known]:
    """What is known after each look-up: at a time, addresses or why there was no answer."""
    states = [UNKNOWN]
    for now, outcome in look_ups:
        if isinstance(outcome, str):
            states.append(after_failure(states[-1], outcome))
        else:
            states.append(after_answer(states[-1], outcome, now, HOLD))
    return states[1:]


class TestLookUps:
    @pytest.mark.parametrize(
        ("look_ups", "addresses"),
        [
            pytest.param([(0, TWO)], TWO, id="found"),
            pytest.param([(0, TWO), (5, ONE)], ONE, id="one-goes-at-once"),
            pytest.param([(0, ONE), (5, TWO)], TWO, id="one-comes"),
            pytest.param([(0, TWO), (5, NO_ANSWER)], TWO, id="no-answer"),
            pytest.param([(0, TWO), (5, NO_ANSWER), (9999, NO_ANSWER)], TWO, id="for-ever"),
            pytest.param([(0, TWO), (5, ()), (34.9, ())], TWO, id="none-for-less-than-hold"),
            pytest.param([(0, TWO), (5, ()), (35, ())], (), id="none-for-as-long-as-hold"),
            pytest.param([(0, TWO), (5, ()), (36, NO_ANSWER)], TWO, id="only-an-answer-counts"),
            pytest.param(
                [(0, TWO), (5, ()), (6, NO_ANSWER), (40, ()), (69, ())], TWO, id="begun-anew"
            ),
            pytest.param([(0, TWO), (5, ()), (20, ONE), (36, ())], ONE, id="back-meanwhile"),
            pytest.param([(0, TWO), (5, ()), (35, ()), (40, ONE)], ONE, id="back-afterwards"),
            pytest.param([(0, ())], (), id="none-yet"),
            pytest.param([(0, NO_ANSWER)], (), id="no-answer-yet"),
            pytest.param([(0, TWO), (5, ()), (35, ()), (40, NO_ANSWER)], (), id="gone-is-gone"),
        ],
    )
    def test_what_is_in_force(self, look_ups, addresses):
        assert after(*look_ups)[-1].addresses == addresses

    def test_without_hold_none_is_none(self):
        known = after_answer(Known(addresses=TWO), (), 5.0, 0.0)
        assert (known.addresses, known.problem) == ((), Problem.NO_ADDRESS)

    def test_one_that_was_never_made_is_no_problem(self):
        assert (UNKNOWN.tried, UNKNOWN.warning) == (False, None)
        assert all(each.tried for each in after((0, TWO), (1, ()), (2, NO_ANSWER)))


KEPT = "; the last 2 are kept"
REFUSED = f"it cannot be resolved: {NO_ANSWER}"


class TestNews:
    @pytest.mark.parametrize(
        ("look_ups", "said"),
        [
            pytest.param([(0, TWO), (5, ONE), (10, TWO)], [None, None, None], id="all-is-well"),
            pytest.param(
                [(0, TWO), (5, NO_ANSWER), (10, NO_ANSWER), (15, "another reason"), (20, TWO)],
                [None, REFUSED + KEPT, None, None, "it can be resolved now"],
                id="no-answer",
            ),
            pytest.param(
                [(0, TWO), (5, ()), (10, ()), (35, ()), (40, ()), (45, ONE), (50, ONE)],
                [
                    *(None, "it has no address" + KEPT, None, "it has no address", None),
                    *("it has addresses now", None),
                ],
                id="no-address",
            ),
            pytest.param(
                [(0, ONE), (5, NO_ANSWER), (10, ())],
                [
                    None,
                    f"{REFUSED}; the last one is kept",
                    "it has no address; the last one is kept",
                ],
                id="from-one-to-the-other",
            ),
            pytest.param(
                [(0, NO_ANSWER), (5, NO_ANSWER), (10, TWO)],
                [REFUSED, None, "it can be resolved now"],
                id="from-the-start",
            ),
        ],
    )
    def test_is_said_once(self, look_ups, said):
        states = [UNKNOWN, *after(*look_ups)]
        assert [change_text(before, then) for before, then in pairwise(states)] == said

    def test_the_warning_stands_as_long_as_the_problem(self):
        look_ups = after((0, TWO), (5, NO_ANSWER), (10, "another"), (15, ()), (20, TWO))
        assert [each.warning for each in look_ups] == [
            None,
            REFUSED + KEPT,
            "it cannot be resolved: another" + KEPT,
            "it has no address" + KEPT,
            None,
        ]


class TestChosen:
    @pytest.mark.parametrize(
        ("addresses", "expected"),
        [
            pytest.param((), (), id="none"),
            pytest.param(
                ("10.0.0.10", "10.0.0.9"), ("10.0.0.9", "10.0.0.10"), id="in-the-order-of-numbers"
            ),
            pytest.param(("10.0.0.1", "10.0.0.1"), ("10.0.0.1",), id="once"),
            pytest.param(("fd00::2", "FD00:0::1"), ("fd00::1", "fd00::2"), id="ipv6"),
            pytest.param(("fd00::1", "10.0.0.1"), ("10.0.0.1",), id="dual-stack"),
        ],
    )
    def test_addresses(self, addresses, expected):
        assert chosen(addresses) == expected

    @given(st.lists(st.ip_addresses().map(str)))
    def test_the_order_of_an_answer_does_not_matter(self, addresses):
        assert chosen(addresses) == chosen(reversed(addresses)) == chosen(chosen(addresses))
