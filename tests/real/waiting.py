"""Waiting for a condition with a deadline, instead of fixed sleeps."""

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], bool], timeout: float) -> float:
    """Poll every 10 ms until the condition is true; return the elapsed seconds.

    Raises:
        AssertionError: It was not true within `timeout` seconds.
    """
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < timeout, f"not within {timeout} s"
        time.sleep(0.01)
    return time.monotonic() - start
