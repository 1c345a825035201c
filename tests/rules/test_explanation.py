import pytest

from fastroute.rules.explanation import Choice, explain
from fastroute.rules.policy import Candidate

FOUR = [Candidate(row, 2.0) for row in range(4)]
TWO = FOUR[:2]
BUSY = [0, 4000, 4000, 4000]
"""Foreign load in thousandths."""
IDLE = [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("policy", "candidates", "foreign", "in_flight", "expected"),
    [
        pytest.param("load", FOUR[:1], IDLE, [3], (1.5, "only usable server"), id="one"),
        pytest.param("random", FOUR[:1], IDLE, [3], (1.5, "only usable server"), id="one-random"),
        pytest.param("load", FOUR, BUSY, [1, 0, 0, 0], (0.5, "lowest of 4"), id="lowest"),
        pytest.param("load", FOUR, IDLE, [0, 0, 1, 0], (0.0, "tie of 3 at random"), id="tie"),
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
            "power_of_two", FOUR, IDLE, IDLE, (0.0, "lower of 2 drawn from 4"), id="power-of-two"
        ),
        pytest.param("round_robin", TWO, IDLE, [7, 0], (3.5, "in turn among 2"), id="in-turn"),
        pytest.param("random", TWO, IDLE, [7, 0], (3.5, "random of 2"), id="random"),
    ],
)
def test_explains(policy, candidates, foreign, in_flight, expected):
    assert explain(policy, FOUR[0], candidates, foreign, in_flight) == Choice(*expected)
