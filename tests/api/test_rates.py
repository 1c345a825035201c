import pytest

from fastroute.api.rates import Moment, Rates, rates
from tests.support.reports import report, server

URL = "http://gpu-1.cluster.local:8000"
EARLY, LATE = "2026-01-01T00:00:00Z", "2026-01-01T00:00:04Z"


def of(before: dict, after: dict, **summary) -> Rates | None:
    earlier = Moment(10.0, report(server(1, **before), uptime_seconds=100))
    later = Moment(12.0, report(server(1, **after), **({"uptime_seconds": 102} | summary)))
    return rates(earlier, later).get(URL)


def counted(started: int, errors: int, tokens: int | None, scraped: str | None, **more) -> dict:
    return {
        "requests": {"started": started},
        "errors": errors,
        "engine": {"generation_tokens_total": tokens},
        "last_updated": scraped,
        **more,
    }


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        pytest.param(
            counted(5, 1, 100, EARLY),
            counted(25, 2, 500, LATE),
            Rates(requests=10, errors=0.5, tokens=100),
            id="tokens-are-of-the-time-between-scrapes",
        ),
        pytest.param(
            counted(5, 1, 100, EARLY),
            counted(5, 1, 100, EARLY),
            Rates(requests=0, errors=0, tokens=None),
            id="not-scraped-in-between",
        ),
        pytest.param(
            counted(5, 1, 100, EARLY),
            counted(5, 1, 7, LATE),
            Rates(requests=0, errors=0, tokens=None),
            id="server-was-restarted",
        ),
        pytest.param(
            counted(5, 1, None, None),
            counted(7, 1, 7, LATE),
            Rates(requests=1, errors=0, tokens=None),
            id="first-scrape",
        ),
        pytest.param(
            counted(5, 1, 1, EARLY),
            counted(7, 1, 7, LATE, generation=2),
            None,
            id="another-server-in-its-place",
        ),
    ],
)
def test_rates(before, after, expected):
    assert of(before, after) == expected


def test_none_over_a_restart_of_fastroute():
    assert of(counted(5, 1, 1, EARLY), counted(9, 1, 1, LATE), uptime_seconds=1) is None
