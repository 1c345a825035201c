"""How fast counters rise: as a report tells it, or from two of different times."""

import msgspec

from fastroute.api.report import Report, ServerReport


class Moment(msgspec.Struct, frozen=True):
    """A report and when it came."""

    at: float
    """Seconds, of any clock that only goes forward."""
    report: Report


class Rates(msgspec.Struct, frozen=True):
    """Of one server, each a second; None where it is not known (yet)."""

    requests: float | None = None
    tokens: float | None = None
    errors: float | None = None


NO_RATES = Rates()


def recent_rates(server: ServerReport) -> Rates:
    """Return the rates that a report itself tells."""
    recent = server.recent
    return Rates(
        requests=recent.requests_per_second,
        tokens=recent.tokens_per_second,
        errors=recent.errors_per_second,
    )


def rates(before: Moment, after: Moment) -> dict[str, Rates]:
    """Return how fast each server's counters rose, by URL."""
    seconds = after.at - before.at
    if seconds <= 0 or is_restart(before.report, after.report):
        return {}
    earlier = {server.url: server for server in before.report.servers}
    return {
        server.url: _rates(earlier[server.url], server, seconds)
        for server in after.report.servers
        if server.url in earlier and earlier[server.url].generation == server.generation
    }


def is_restart(before: Report, after: Report) -> bool:
    """Whether fastroute was started anew in between, and its counters with it."""
    return after.summary.uptime_seconds < before.summary.uptime_seconds


def _rates(before: ServerReport, after: ServerReport, seconds: float) -> Rates:
    return Rates(
        requests=_rate(before.requests.started, after.requests.started, seconds),
        tokens=_token_rate(before, after),
        errors=_rate(before.errors, after.errors, seconds),
    )


def _token_rate(before: ServerReport, after: ServerReport) -> float | None:
    """Return tokens a second between the two scrapes, which is not the time between the reports."""
    if before.last_updated is None or after.last_updated is None:
        return None
    return _rate(
        before.detailed_metrics.generation_tokens_total,
        after.detailed_metrics.generation_tokens_total,
        (after.last_updated - before.last_updated).total_seconds(),
    )


def _rate(before: int | None, after: int | None, seconds: float) -> float | None:
    if before is None or after is None or after < before or seconds <= 0:
        return None  # A counter that fell was begun anew.
    return (after - before) / seconds
