"""Outliers: servers that differ from those with the same work, such as 4x the waiting requests."""

from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from fastroute.api.report import ServerReport
from fastroute.wording import count, seconds

FACTOR = 3.0
"""Factor above the others' median from which a server is an outlier; less is normal variation."""

MIN_FIRST_BYTES = 20
"""Minimum number of values for a meaningful quantile."""

IDLE_STATES = frozenset(("down", "draining", "ejected", "asleep"))
"""States without requests; servers in them are excluded from the comparison."""


class Outlier(msgspec.Struct, frozen=True):
    """A server that is an outlier."""

    url: str
    text: str
    """The aspect, in words without the server's name."""


class Aspect(msgspec.Struct, frozen=True):
    """A number that should be similar for servers with the same work; higher is worse."""

    name: str
    value: Callable[[ServerReport], float | None]
    least: float
    """Minimum value of an outlier."""
    written: Callable[[float], str]


def _first_byte(server: ServerReport) -> float | None:
    recent = server.recent
    return recent.first_byte_p99_seconds if recent.first_bytes >= MIN_FIRST_BYTES else None


ASPECTS = (
    Aspect("errors/s", lambda server: server.recent.errors_per_second, 0.2, count),
    Aspect("waiting", lambda server: server.detailed_metrics.num_requests_waiting, 4, count),
    Aspect("first byte p99", _first_byte, 0.2, seconds),
)


def outliers(servers: Iterable[ServerReport]) -> list[Outlier]:
    """Return the outliers among servers with the same models, the worst aspect first.

    Servers of unknown models are compared with each other.
    """
    alike: dict[frozenset[str], list[ServerReport]] = {}
    for server in servers:
        if server.status not in IDLE_STATES:
            alike.setdefault(frozenset(server.models or ()), []).append(server)
    found: dict[str, Outlier] = {}
    for aspect in ASPECTS:
        for group in alike.values():
            values = {server.url: aspect.value(server) for server in group}
            for outlier in _outstanding(aspect, values):
                found.setdefault(outlier.url, outlier)
    return list(found.values())


def _outstanding(aspect: Aspect, values: Mapping[str, float | None]) -> Iterator[Outlier]:
    known = {url: value for url, value in values.items() if value is not None}
    for url, value in known.items():
        if value < aspect.least or len(known) == 1:
            continue
        others = [other for it, other in known.items() if it != url]
        usual = _median(others)
        if value >= FACTOR * usual:
            yield Outlier(url, _words(aspect, value, usual, len(others)))


def _median(values: list[float]) -> float:
    """Return the value in the middle; `statistics` would cost each worker 2 MB to import."""
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(values) % 2 else (ordered[half - 1] + ordered[half]) / 2


def _words(aspect: Aspect, value: float, usual: float, others: int) -> str:
    them = "the other" if others == 1 else "the others"
    written = aspect.written(value)
    if usual == 0:
        return f"{written} {aspect.name}, {them} none"
    factor = count(value / usual)
    against = aspect.written(usual)
    return f"{factor}x the {aspect.name} of {them} ({written} against {against})"
