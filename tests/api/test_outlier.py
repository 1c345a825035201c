import pytest

from fastroute.api.outlier import outliers
from tests.support.reports import down, rates, report, server


def waiting(number: int, count: int | None, **changes) -> dict:
    return server(number, engine={"num_requests_waiting": count}, **changes)


def first_byte(number: int, p99: float, first_bytes: int = 100) -> dict:
    lately = {"first_byte_p99_seconds": p99, "first_bytes": first_bytes}
    return server(number, recent=lately)


def found(*servers: dict) -> dict[str, str]:
    """Return the texts by the number of the server."""
    made = outliers(report(*servers).servers)
    return {each.url.split(".")[0].removeprefix("http://gpu-"): each.text for each in made}


@pytest.mark.parametrize(
    ("servers", "expected"),
    [
        pytest.param(
            [waiting(1, 3), waiting(2, 3), waiting(3, 12)],
            {"3": "4x the waiting of the others (12 against 3)"},
            id="waiting",
        ),
        pytest.param(
            [waiting(1, 0), waiting(2, 12)], {"2": "12 waiting, the other none"}, id="others-none"
        ),
        pytest.param([waiting(1, 5), waiting(2, 12)], {}, id="not-much-more"),
        pytest.param([waiting(1, 0), waiting(2, 3)], {}, id="little"),
        pytest.param([waiting(1, 12)], {}, id="alone"),
        pytest.param([waiting(1, None), waiting(2, 12)], {}, id="others-unknown"),
        pytest.param([down(1), waiting(2, 12)], {}, id="others-down"),
        pytest.param(
            [first_byte(1, 0.5), first_byte(2, 3.0)],
            {"2": "6x the first byte p99 of the other (3.0s against 500ms)"},
            id="first-byte",
        ),
        pytest.param(
            [first_byte(1, 0.5), first_byte(2, 3.0, first_bytes=3)],
            {},
            id="first-byte-of-few",
        ),
    ],
)
def test_aspects(servers, expected):
    assert found(*servers) == expected


def test_errors_come_first():
    servers = [
        waiting(1, 0, recent=rates(None, None, 0.0)),
        waiting(2, 12),
        waiting(3, 0, recent=rates(None, None, 2.0)),
    ]
    assert list(found(*servers).items()) == [
        ("3", "2 errors/s, the other none"),
        ("2", "12 waiting, the others none"),
    ]


def test_only_servers_of_the_same_models_are_compared():
    assert found(waiting(1, 0, models=["small"]), waiting(2, 12), waiting(3, 12)) == {}
