"""Quantiles estimated from a histogram."""

from collections.abc import Sequence


def quantile(q: float, bounds: Sequence[float], buckets: Sequence[int]) -> float | None:
    """Return the value that a share `q` of all counted values does not exceed.

    Between the bounds of a bucket the values are taken to lie evenly, as Prometheus'
    histogram_quantile does, so the result is as exact as the buckets are narrow.

    Args:
        q: Above 0, up to 1.
        bounds: Upper bounds, rising.
        buckets: How many values fell into each, and one count more for all above the last bound.

    Returns:
        The estimate; the last bound where it lies above all bounds, and None without any value.
    """
    total = sum(buckets)
    if not total:
        return None
    rank = q * total
    lower = 0.0
    below = 0
    for upper, count in zip(bounds, buckets[:-1], strict=True):
        if count and below + count >= rank:
            return lower + (upper - lower) * (rank - below) / count
        below += count
        lower = upper
    return lower
