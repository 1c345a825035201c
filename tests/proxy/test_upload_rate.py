import pytest

from fastroute.proxy.upload_rate import UploadRate

WINDOW_S, RATE = 10.0, 5.0


def slow_at(steps):
    """Return the first time at which the rate is too low, given times and sizes."""
    rate = UploadRate()
    for now, received in steps:
        if rate.is_too_low(received, now, WINDOW_S, RATE):
            return now
    return None


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        pytest.param([(100, 0), (105, 1), (109, 2)], None, id="first-window"),
        pytest.param([(100, 0), (105, 1), (110, 49)], 110, id="too-slow"),
        pytest.param([(100, 0), (105, 1), (110, 50)], None, id="just-in-time"),
        pytest.param([(100, 10**6), (110, 10**6 + 9)], 110, id="what-came-before-does-not-count"),
        pytest.param([(100, 0), (110, 60), (120, 70)], 120, id="second-window"),
        pytest.param([(100, 0), (110, 60), (120, 110), (130, 170)], None, id="steady"),
        pytest.param([(100, 900), (110, 1), (119, 2)], None, id="the-next-body"),
        pytest.param([(100, 900), (110, 1), (120, 2)], 120, id="the-next-body-too-slow"),
    ],
)
def test_windows(steps, expected):
    assert slow_at(steps) == expected


def test_it_stays_too_low():
    """The deadline that follows from it is checked later, and a byte must not postpone it."""
    rate = UploadRate()
    results = [rate.is_too_low(n, 100 + n, WINDOW_S, RATE) for n in (0, 9, 10, 11, 12)]
    assert results == [False, False, True, True, True]
    assert not rate.is_too_low(60, 113, WINDOW_S, RATE)


def test_restart():
    rate = UploadRate()
    assert not rate.is_too_low(0, 100, WINDOW_S, RATE)
    rate.restart()
    assert not rate.is_too_low(1, 200, WINDOW_S, RATE)
    assert rate.is_too_low(2, 210, WINDOW_S, RATE)


def test_no_rate():
    rate = UploadRate()
    assert not rate.is_too_low(0, 100, WINDOW_S, 0)
    assert not rate.is_too_low(0, 1000, WINDOW_S, 0)
