"""The data that the monitor shows, and its user's choices."""

from collections.abc import Callable, Mapping, Sequence
from enum import Enum, StrEnum

import msgspec

from fastroute.api.report import Report, ServerReport
from fastroute.printable import printable


class Page(Enum):
    """Pages of the monitor; one at a time fills the screen."""

    TABLE = "table"
    SERVER = "server"
    LOG = "log"
    HELP = "help"


class Sort(StrEnum):
    """Sort orders of the servers, the highest value first."""

    CONFIG = "config"
    PROBLEMS = "problems"
    LOAD = "load"
    WAITING = "waiting"
    FIRST_BYTE = "first byte"
    ERRORS = "errors"

    def next(self) -> "Sort":
        """Return the next order; the first follows the last."""
        every = list(Sort)
        return every[(every.index(self) + 1) % len(every)]


class MonitorState(msgspec.Struct, frozen=True, kw_only=True):
    """The user's choices."""

    page: Page = Page.TABLE
    sort: Sort = Sort.CONFIG
    selected: str | None = None
    """URL of the selected server; None for the first."""
    paused: bool = False
    scroll: int = 0
    """Number of lines: down from the top, or on the log page up from the end."""


class Line(msgspec.Struct, frozen=True):
    """A server as it is shown."""

    name: str
    server: ServerReport


class MonitorData(msgspec.Struct, frozen=True, kw_only=True):
    """Data to show at one moment."""

    source: str
    """URL of the polled router."""
    report: Report | None = None
    """The last report; None before the first."""
    error: str = ""
    """Reason why the last poll failed; empty if it succeeded."""
    log: Sequence[str] | None = None
    """Log lines, newest last; None if the router logs elsewhere."""
    caption: str = ""
    """A line from the program that shows the monitor, such as the demo."""
    clock: str = ""
    """Time of day, as shown."""

    def lines(self, sort: Sort) -> list[Line]:
        """Return the servers in the given order."""
        if self.report is None:
            return []
        lines = [Line(printable(server.name), server) for server in self.report.servers]
        # Sorting is stable, so equals keep the order of the configuration.
        return sorted(lines, key=ORDERS[sort], reverse=True)


SEVERITY = {"down": 6, "ejected": 5, "asleep": 4, "cooling": 2, "trial": 1, "draining": 1}
OUTLIER_SEVERITY = 3


def _severity(line: Line) -> float:
    outlier = OUTLIER_SEVERITY if line.server.outlier is not None else 0
    return max(SEVERITY.get(line.server.status, 0), outlier)


ORDERS: Mapping[Sort, Callable[[Line], tuple[float, ...]]] = {
    Sort.CONFIG: lambda line: (),
    Sort.PROBLEMS: lambda line: (_severity(line), line.server.utilization_percent),
    Sort.LOAD: lambda line: (line.server.utilization_percent,),
    Sort.WAITING: lambda line: (line.server.detailed_metrics.num_requests_waiting or 0,),
    Sort.FIRST_BYTE: lambda line: (line.server.recent.first_byte_p99_seconds or 0,),
    Sort.ERRORS: lambda line: (line.server.recent.errors_per_second or 0, line.server.errors),
}
