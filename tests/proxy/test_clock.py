from time import monotonic

from fastroute.proxy import clock


def test_now_is_the_monotonic_clock():
    before = monotonic()
    assert before <= clock.now() <= monotonic()
