import pytest

from fastroute.doctor.facts import Models
from tests.support.facts import facts, reach, stream


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        pytest.param(stream(11, 0.02), 0.02, id="evenly"),
        pytest.param(stream(11, 0.0, ended_at=1.05), 0.1, id="held-back"),
        pytest.param(stream(11, 0.0, one_token=3.0), 0.0, id="the-first-token-had-to-wait"),
        pytest.param(stream(1), None, id="one"),
        pytest.param(stream(0), None, id="none"),
    ],
)
def test_pace(shown, expected):
    assert shown.pace == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    ("entry", "models", "expected"),
    [
        pytest.param({"models": ["p"]}, Models(names=("m",)), ("p",), id="pinned"),
        pytest.param({}, Models(names=("m",)), ("m",), id="listed"),
        pytest.param({}, Models(error="no"), None, id="not-listed"),
        pytest.param({}, None, None, id="not-asked"),
    ],
)
def test_known_models(entry, models, expected):
    assert facts(entry=entry, models=models).known_models == expected


def test_is_reached():
    assert facts().is_reached
    assert not facts(reach=None).is_reached
    assert not facts(reach=reach(step=type(reach().step).TLS)).is_reached
