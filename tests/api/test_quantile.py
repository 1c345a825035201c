import bisect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastroute.api.quantile import quantile

BOUNDS = (1.0, 2.0, 4.0)


@pytest.mark.parametrize(
    ("q", "buckets", "expected"),
    [
        pytest.param(0.5, (0, 0, 0, 0), None, id="empty"),
        pytest.param(0.5, (10, 0, 0, 0), 0.5, id="first-bucket-begins-at-zero"),
        pytest.param(0.5, (0, 10, 0, 0), 1.5, id="middle-of-a-bucket"),
        pytest.param(0.99, (0, 0, 100, 0), 3.98, id="within-a-wide-bucket"),
        pytest.param(0.5, (5, 5, 0, 0), 1.0, id="on-a-bound"),
        pytest.param(0.5, (5, 0, 5, 0), 1.0, id="on-a-bound-before-an-empty-bucket"),
        pytest.param(0.6, (5, 0, 5, 0), 2.4, id="behind-an-empty-bucket"),
        pytest.param(1.0, (1, 0, 0, 0), 1.0, id="all"),
        pytest.param(0.99, (98, 0, 0, 2), 4.0, id="above-all-bounds-is-the-last"),
        pytest.param(0.5, (0, 0, 0, 7), 4.0, id="all-above-all-bounds"),
    ],
)
def test_quantile(q, buckets, expected):
    found = quantile(q, BOUNDS, buckets)
    assert found == (expected if expected is None else pytest.approx(expected))


@given(
    st.lists(st.floats(min_value=0.001, max_value=4.0), min_size=1),
    st.sampled_from((0.01, 0.5, 0.99, 1.0)),
)
def test_the_estimate_lies_in_the_bucket_of_the_true_value(values, q):
    buckets = [0] * (len(BOUNDS) + 1)
    for value in values:
        buckets[bisect.bisect_left(BOUNDS, value)] += 1
    rank = q * len(values)
    true = next(v for i, v in enumerate(sorted(values), 1) if i >= rank)
    bucket = bisect.bisect_left(BOUNDS, true)
    estimate = quantile(q, BOUNDS, buckets)
    assert estimate is not None
    assert (0.0, *BOUNDS)[bucket] <= estimate <= BOUNDS[bucket] + 1e-9
