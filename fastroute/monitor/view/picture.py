"""What the monitor shows, and what its user has chosen to see of it."""

from collections.abc import Callable, Mapping, Sequence
from enum import Enum, StrEnum

import msgspec

from fastroute.api.outlier import Outlier, outliers
from fastroute.api.rates import NO_RATES, Rates
from fastroute.api.report import Report, ServerReport
from fastroute.wording import short_names


class Page(Enum):
    """What fills the screen."""

    TABLE = "table"
    SERVER = "server"
    LOG = "log"
    HELP = "help"


class Sort(StrEnum):
    """By what the servers are sorted; those with most of it come first."""

    CONFIG = "config"
    TROUBLE = "trouble"
    LOAD = "load"
    WAITING = "waiting"
    FIRST_BYTE = "first byte"
    ERRORS = "errors"

    def next(self) -> "Sort":
        """Return the one that follows, the first after the last."""
        every = list(Sort)
        return every[(every.index(self) + 1) % len(every)]


class MonitorState(msgspec.Struct, frozen=True, kw_only=True):
    """What the user has chosen."""

    page: Page = Page.TABLE
    sort: Sort = Sort.CONFIG
    selected: str | None = None
    """URL of the selected server; None: the first."""
    paused: bool = False
    scroll: int = 0
    """Lines: down from the top, and on the page of log lines up from the end."""


class Line(msgspec.Struct, frozen=True):
    """A server with all that is known of it."""

    name: str
    server: ServerReport
    rates: Rates
    models: tuple[str, ...] | None
    outlier: Outlier | None


class MonitorData(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to show at one moment."""

    source: str
    """The URL that was asked."""
    report: Report | None = None
    """The last one; None before the first."""
    rates: Mapping[str, Rates] = {}
    """By URL."""
    models: Mapping[str, tuple[str, ...]] = {}
    """By URL."""
    trouble: str = ""
    """Why there was no answer last time; empty if there was one."""
    unrouted: float | None = None
    """Requests a second that no server could be found for."""
    log: Sequence[str] | None = None
    """Log lines, the newest last; None: they are somewhere else."""
    caption: str = ""
    """What the program that shows it has to say itself, in one line."""
    clock: str = ""
    """The time of day, as shown."""

    def lines(self, sort: Sort) -> list[Line]:
        """Return the servers in an order."""
        if self.report is None:
            return []
        servers = self.report.servers
        names = short_names([server.url for server in servers])
        found = {each.url: each for each in outliers(servers, self.rates, self.models)}
        lines = [
            Line(
                names[server.url],
                server,
                self.rates.get(server.url, NO_RATES),
                self.models.get(server.url),
                found.get(server.url),
            )
            for server in servers
        ]
        # Sorting is stable, so equals keep the order of the configuration.
        return sorted(lines, key=ORDERS[sort], reverse=True)


TROUBLE = {"down": 4, "cooling": 2, "trial": 1, "draining": 1}
OUTLIER_TROUBLE = 3


def _trouble(line: Line) -> float:
    outlier = OUTLIER_TROUBLE if line.outlier is not None else 0
    return max(TROUBLE.get(line.server.status, 0), outlier)


ORDERS: Mapping[Sort, Callable[[Line], tuple[float, ...]]] = {
    Sort.CONFIG: lambda line: (),
    Sort.TROUBLE: lambda line: (_trouble(line), line.server.utilization_percent),
    Sort.LOAD: lambda line: (line.server.utilization_percent,),
    Sort.WAITING: lambda line: (line.server.detailed_metrics.num_requests_waiting or 0,),
    Sort.FIRST_BYTE: lambda line: (line.server.recent.first_byte_p99_seconds or 0,),
    Sort.ERRORS: lambda line: (line.rates.errors or 0, line.server.errors),
}
