"""Workers as a whole run in tests/control/test_supervisor.py."""

import pytest

from fastroute.control.workers.pool import respawn_delay


@pytest.mark.parametrize(
    ("short_lives", "seconds"),
    [(0, 0), (1, 0), (2, 0.1), (3, 0.2), (4, 0.4), (7, 3.2), (8, 5), (5000, 5)],
)
def test_respawn_delay(short_lives, seconds):
    assert respawn_delay(short_lives) == pytest.approx(seconds)
