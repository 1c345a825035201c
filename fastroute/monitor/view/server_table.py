"""The servers as lines of a terminal, with as many columns as fit its width."""

from collections.abc import Callable, Iterable, Sequence

import msgspec
from rich.cells import cell_len
from rich.text import Text

from fastroute.monitor.view.picture import Line
from fastroute.printable import MAX_CHARACTERS, listed, printable
from fastroute.wording import UNKNOWN, bar, count, percent, seconds, shortened_name

WARN_SHARE = 0.7
ALARM_SHARE = 0.9
STALE_AFTER = 5.0
"""Seconds after which scraped metrics no longer describe the current load."""
BAR_WIDTH = 6
MIN_NAME_WIDTH = 16
"""Enough for 127.0.0.1:50000; leaves space for the ERR column in 80 cells."""
MAX_NAME_WIDTH = 40
MIN_MODEL_WIDTH = 12
GAP = " "
MARKED = "!"
PLAIN = " "

STATE_STYLES = {
    "up": "green",
    "trial": "yellow",
    "cooling": "yellow",
    "draining": "cyan",
    "down": "bold red",
    "ejected": "red",
    "asleep": "magenta",
}


def level_style(share: float | None) -> str:
    """Return the colour of a share (1 is full): yellow from 70 %, red from 90 %."""
    if share is None:
        return ""
    if share >= ALARM_SHARE:
        return "red"
    return "yellow" if share >= WARN_SHARE else "green"


class Column(msgspec.Struct, frozen=True):
    """A column of the table."""

    title: str
    width: int
    rank: int
    """Columns with a higher rank are hidden first if the terminal is narrow."""
    value: Callable[[Line], str]
    about: str
    style: Callable[[Line], str] = lambda _: ""
    left: bool = False

    def cell(self, line: Line) -> Text:
        return fitted(self.value(line), self.width, self.style(line), left=self.left)

    def heading(self) -> Text:
        return fitted(self.title, self.width, "bold", left=self.left)


def _load(line: Line) -> float:
    return line.server.utilization_percent / 100


def _is_stale(line: Line) -> bool:
    age = line.server.scrape_age_seconds
    return age is not None and age > STALE_AFTER


def _scraped(style: Callable[[Line], str] = lambda _: "") -> Callable[[Line], str]:
    """Return the style of a scraped value, dimmed if the last scrape is too old."""
    return lambda line: "dim" if _is_stale(line) else style(line)


COLUMNS = (
    Column(
        "STATE", 8, 0, lambda x: printable(x.server.status), "which requests it gets: up: all; "
        "trial: one at a time; cooling, ejected: only if no other server is usable; "
        "draining, down, asleep: none",
        lambda x: STATE_STYLES.get(x.server.status, ""), left=True,
    ),
    Column(
        "LOAD", BAR_WIDTH + 1, 2, lambda x: bar(_load(x), BAR_WIDTH),
        "current load as a share of capacity; the mark is at 50 %",
        lambda x: level_style(_load(x)), left=True,
    ),
    Column(
        "%", 4, 0, lambda x: percent(_load(x)), "the same in percent",
        lambda x: level_style(_load(x)),
    ),
    Column(
        "RUN", 4, 1, lambda x: count(x.server.detailed_metrics.num_requests_running),
        "requests running on the server; dimmed if its last scrape is old", _scraped(),
    ),
    Column(
        "WAIT", 4, 0, lambda x: count(x.server.detailed_metrics.num_requests_waiting),
        "requests waiting in the server's queue",
        _scraped(lambda x: "yellow" if x.server.detailed_metrics.num_requests_waiting else ""),
    ),
    Column("OWN", 4, 1, lambda x: count(x.server.in_flight), "requests in flight from this router"),
    Column("CAP", 4, 2, lambda x: count(x.server.max_capacity), "max_concurrent_requests"),
    Column("SCORE", 5, 5, lambda x: f"{x.server.score:.2f}", "load that is compared; 1: full"),
    Column(
        "KV", 4, 2, lambda x: percent(x.server.detailed_metrics.gpu_cache_usage_perc),
        "share of the KV cache in use",
        _scraped(lambda x: level_style(x.server.detailed_metrics.gpu_cache_usage_perc)),
    ),
    Column(
        "HIT", 4, 5, lambda x: percent(x.server.detailed_metrics.prefix_hit_rate),
        "prefix cache hit rate, of prompt tokens", _scraped(),
    ),
    Column(
        "REQ/S", 5, 4, lambda x: count(x.server.recent.requests_per_second),
        "requests per second sent to it",
    ),
    Column(
        "TOK/S", 5, 3, lambda x: count(x.server.recent.tokens_per_second),
        "tokens per second it generates",
    ),
    Column(
        "P50", 5, 5, lambda x: seconds(x.server.recent.first_byte_p50_seconds),
        "median time to the first byte, over the last 30 s",
    ),
    Column(
        "P99", 5, 3, lambda x: seconds(x.server.recent.first_byte_p99_seconds),
        "the same, 99th percentile",
    ),
    Column(
        "ERR", 4, 3, lambda x: count(x.server.errors),
        "5xx and broken responses since it was added; red while they occur",
        lambda x: "bold red" if x.server.recent.errors_per_second else "",
    ),
    Column(
        "ERR/S", 5, 5, lambda x: count(x.server.recent.errors_per_second),
        "errors per second",
        lambda x: "bold red" if x.server.recent.errors_per_second else "",
    ),
    Column(
        "AGE", 5, 4, lambda x: seconds(x.server.scrape_age_seconds), "time since its last scrape",
        lambda x: "yellow" if _is_stale(x) else "",
    ),
)  # fmt: skip


class Layout(msgspec.Struct, frozen=True):
    """The columns that fit a width."""

    name_width: int
    columns: tuple[Column, ...]
    model_width: int
    """0 if the models have no column."""

    def hidden(self) -> list[Column]:
        """Return the columns that do not fit."""
        return [column for column in COLUMNS if column not in self.columns]


def layout(lines: Iterable[Line], width: int) -> Layout:
    """Choose the columns for a terminal of `width` cells."""
    longest = max(map(cell_len, ("SERVER", *(line.name for line in lines))))
    wanted = min(MAX_NAME_WIDTH, len(PLAIN) + longest)
    name_width = min(wanted, MIN_NAME_WIDTH)
    room = width - name_width
    chosen = set()
    for column in sorted(COLUMNS, key=lambda column: column.rank):
        if room < len(GAP) + column.width:
            break
        room -= len(GAP) + column.width
        chosen.add(column.title)
    columns = tuple(column for column in COLUMNS if column.title in chosen)
    widened = max(0, min(wanted - name_width, room))
    room -= widened + len(GAP)
    has_models = len(columns) == len(COLUMNS) and room >= MIN_MODEL_WIDTH
    return Layout(name_width + widened, columns, room if has_models else 0)


def heading(chosen: Layout) -> Text:
    """Return the line above the servers."""
    cells = [fitted(PLAIN + "SERVER", chosen.name_width, "bold", left=True)]
    cells += [column.heading() for column in chosen.columns]
    if chosen.model_width:
        cells.append(fitted("MODEL", chosen.model_width, "bold", left=True))
    return Text(GAP).join(cells)


def server_line(line: Line, chosen: Layout) -> Text:
    """Return a server's line; an outlier is marked with an exclamation mark."""
    mark, style = (PLAIN, "") if line.server.outlier is None else (MARKED, "bold yellow")
    name = shortened_name(line.name, chosen.name_width - len(mark))
    cells = [fitted(mark + name, chosen.name_width, style, left=True)]
    cells += [column.cell(line) for column in chosen.columns]
    if chosen.model_width:
        cells.append(fitted(models_text(line.server.models), chosen.model_width, left=True))
    return Text(GAP).join(cells)


def second_line(line: Line, chosen: Layout) -> Text:
    """Return what does not fit a server's first line: reason for its state, models, numbers."""
    parts = [reason] if (reason := printable(line.server.state_reason)) else []
    if line.server.outlier is not None:
        parts.append(printable(line.server.outlier))
    if not chosen.model_width:
        parts.append(models_text(line.server.models))
    parts += [f"{c.title.lower()} {c.value(line)}" for c in chosen.hidden() if c.title != "LOAD"]
    return Text("    " + ", ".join(parts) if parts else "", style="dim", no_wrap=True)


def models_text(models: Sequence[str] | None, most: int = MAX_CHARACTERS) -> str:
    """Return the models of a server as one text, of those that fit `most` characters."""
    if models is None:
        return "any model"
    return listed(models, most) or UNKNOWN


def fitted(text: str, width: int, style: str = "", *, left: bool = False) -> Text:
    """Return a text of exactly `width` cells, truncated or padded."""
    cell = Text(text, style=style, no_wrap=True)
    cell.truncate(width, overflow="ellipsis")
    missing = width - cell.cell_len
    if left:
        cell.pad_right(missing)
    else:
        cell.pad_left(missing)
    return cell
