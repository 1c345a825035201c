"""The monitor's screen: a picture as lines of a terminal, exactly as wide and high as it is."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from textwrap import wrap

from rich.text import Text

from fastroute.api.report import Report
from fastroute.monitor.view.picture import Line, MonitorData, MonitorState, Page
from fastroute.monitor.view.server_page import server_page
from fastroute.monitor.view.server_table import (
    COLUMNS,
    Layout,
    fitted,
    heading,
    layout,
    level_style,
    second_line,
    server_line,
)
from fastroute.wording import bar, clock, count, percent, printable, seconds

FOOTER = "q quit  s sort  p pause  ↑↓ select  enter detail  esc back  l log  ? help"
BAR_WIDTH = 10
ONCE_WIDTH = 160
"""Cells of a table that no terminal limits: all columns and the models."""

HELP_KEYS = (
    ("q, ctrl-c", "quit; of a running router: answers in flight finish"),
    ("s", "sort by: as configured, trouble, load, waiting, first byte, errors"),
    ("p, space", "pause and go on"),
    ("↑ ↓, page, home", "select a server, scroll"),
    ("enter", "all about the selected server"),
    ("esc", "back"),
    ("l", "log lines"),
    ("?", "this page"),
)
KEY_WIDTH = 16
NOTICES_SHARE = 6
"""Notices may take one of so many lines."""


def frame(picture: MonitorData, state: MonitorState, width: int, height: int) -> list[Text]:
    """Return `height` lines of at most `width` cells."""
    head = _head(picture, state)
    room = max(0, height - len(head) - 1)
    body = PAGES[state.page](picture, state, width, room)[:room]
    body += [Text()] * (room - len(body))
    lines = [*head, *body, Text(FOOTER, style="dim")][:height]
    for line in lines:
        line.no_wrap = True
        line.truncate(width, overflow="ellipsis")
    return lines


def once(picture: MonitorData, width: int) -> list[Text]:
    """Return all servers as a table that is printed and stays."""
    state = MonitorState()
    lines = picture.lines(state.sort)
    chosen = layout(lines, width)
    table = [heading(chosen)]
    for line in lines:
        table.append(server_line(line, chosen))
        if more := second_line(line, chosen):
            table.append(more)
    return [*_head(picture, state)[1:], *_notices(picture, lines), Text(), *table]


def _head(picture: MonitorData, state: MonitorState) -> list[Text]:
    """Return two lines: who is shown, and the totals."""
    report = picture.report
    first = Text("fastroute", style="bold")
    if report is None:
        first.append(f" at {picture.source}", style="not bold")
        return [first, Text(picture.trouble or "asking ...", style="bold red")]
    summary = report.summary
    first.append(f" {printable(summary.version)}", style="not bold")
    if any(worker.draining for worker in summary.workers):
        first.append("  DRAINING", style="bold yellow")
    if state.paused:
        first.append("  PAUSED", style="bold yellow")
    if picture.trouble:
        first.append("  NO CONTACT", style="bold red")
    first.append(f" at {picture.source}", style="not bold")
    first.append(f"  sort: {state.sort}  up {clock(summary.uptime_seconds)}", style="not bold")
    first.append(f"  {picture.clock}", style="not bold dim")
    return [first, _totals(picture, report)]


def _totals(picture: MonitorData, report: Report) -> Text:
    summary = report.summary
    share = summary.overall_utilization_percent / 100
    usable = f"{summary.healthy_servers}/{summary.total_servers} usable"
    all_usable = summary.healthy_servers == summary.total_servers
    line = Text(usable, style="green" if all_usable else "bold red")
    drawn = f"  {bar(share, BAR_WIDTH)} {percent(share)}"
    line.append(drawn, style=f"not bold {level_style(share)}")
    rates = picture.rates.values()
    # The most telling first: what has no room is cut off.
    line.append(
        f" {summary.total_active_load:.4g}/{count(summary.total_capacity)}"
        f"  {count(summary.total_in_flight)} in flight"
        f"  {count(_sum(rate.requests for rate in rates))} req/s"
        f"  {count(_sum(rate.tokens for rate in rates))} tok/s"
        f"  {count(_sum(rate.errors for rate in rates))} err/s"
        f"  clients {count(sum(worker.client_connections for worker in summary.workers))}",
        style="default not bold",
    )
    return line


def _sum(rates: Iterable[float | None]) -> float | None:
    known = [rate for rate in rates if rate is not None]
    return sum(known) if known else None


def _notices(picture: MonitorData, lines: Sequence[Line]) -> list[Text]:
    """Return the notices that need attention, the gravest first."""
    notices = []
    if picture.trouble and picture.report is not None:
        notices.append(Text(f"no contact, trying again: {picture.trouble}", style="bold red"))
    if picture.unrouted:
        refused = f"{count(picture.unrouted)} requests/s find no usable server"
        notices.append(Text(refused, style="bold red"))
    notices += _down(lines)
    found = [line for line in lines if line.outlier is not None]
    notices += [
        Text(f"{line.name}: {line.outlier.text}", style="bold yellow")
        for line in found
        if line.outlier is not None
    ]
    return notices if picture.report is None else notices + _of_configuration(picture.report)


def _of_configuration(report: Report) -> list[Text]:
    summary = report.summary
    texts = [
        f"{name.url}: {name.warning}" for name in summary.dns_names if name.warning is not None
    ]
    if summary.config.error is not None:
        texts.append(f"not in force: {summary.config.error}")
    return [Text(printable(text), style="bold yellow") for text in texts]


def _down(lines: Sequence[Line]) -> list[Text]:
    """Name the servers that are down, those of one reason in one line."""
    by_reason: dict[str, list[Line]] = {}
    for line in lines:
        if line.server.status == "down":
            by_reason.setdefault(printable(line.server.state_reason), []).append(line)
    texts = []
    for reason, (line, *others) in by_reason.items():
        if others:
            names = ", ".join(each.name for each in (line, *others))
            texts.append(f"{len(others) + 1} servers down: {reason}: {names}")
        else:
            age = seconds(line.server.state_age_seconds)
            texts.append(f"{line.name}: down for {age}: {reason}")
    return [Text(text, style="red") for text in texts]


def _shortened(notices: list[Text], most: int) -> list[Text]:
    """Return at most so many of them, the last saying how many more there are."""
    if len(notices) <= most:
        return notices
    last = Text(f"(and {len(notices) - most} more) ").append_text(notices[most - 1])
    return [*notices[: most - 1], last]


def _table_page(picture: MonitorData, state: MonitorState, width: int, room: int) -> list[Text]:
    lines = picture.lines(state.sort)
    notices = _shortened(_notices(picture, lines), max(1, room // NOTICES_SHARE))
    chosen = layout(lines, width)
    caption = [Text(picture.caption, style="bold cyan")] if picture.caption else []
    body = [*caption, *notices, heading(chosen)]
    room -= len(body)
    selected = selected_index(lines, state)
    if not lines or 2 * len(lines) <= room:
        for index, line in enumerate(lines):
            body.append(_selectable(server_line(line, chosen), chosen, is_it=index == selected))
            if more := second_line(line, chosen):
                body.append(more)
        return body
    # No room for two lines each: only the selected server has its second, below all.
    shown = max(1, room - 1)
    start = first_shown(selected, len(lines), shown)
    for index, line in list(enumerate(lines))[start : start + shown]:
        body.append(_selectable(server_line(line, chosen), chosen, is_it=index == selected))
    body += [Text()] * (shown - len(lines))
    place = f"{start + 1}-{min(len(lines), start + shown)} of {len(lines)}"
    return [*body, Text(f" {place}").append_text(second_line(lines[selected], chosen))]


def _selectable(line: Text, chosen: Layout, *, is_it: bool) -> Text:
    if is_it:
        # Not all of the line: its colours would be a patchwork of backgrounds.
        line.stylize("reverse", 0, chosen.name_width)
    return line


def selected_index(lines: Sequence[Line], state: MonitorState) -> int:
    """Return the place of the selected server, 0 if it is gone."""
    return next((i for i, line in enumerate(lines) if line.server.url == state.selected), 0)


def first_shown(selected: int, total: int, shown: int) -> int:
    """Return which of `total` lines comes first so that the selected one is in the middle."""
    return max(0, min(selected - shown // 2, total - shown))


def _server_page(picture: MonitorData, state: MonitorState, width: int, room: int) -> list[Text]:
    lines = picture.lines(state.sort)
    if not lines:
        return [Text("no servers")]
    page = server_page(lines[selected_index(lines, state)])
    return _scrolled(_folded(page, width), state.scroll, room)


def _log_page(picture: MonitorData, state: MonitorState, width: int, room: int) -> list[Text]:
    if picture.log is None:
        return [Text("the log is where that fastroute runs, not here")]
    if not picture.log:
        return [Text("nothing logged yet")]
    lines = _folded(map(Text, picture.log), width)
    end = max(min(room, len(lines)), len(lines) - state.scroll)
    return lines[max(0, end - room) : end]


def _help_page(picture: MonitorData, state: MonitorState, width: int, room: int) -> list[Text]:
    lines = [each for key, about in HELP_KEYS for each in _entry(key, about, width)]
    lines.append(Text())
    for column in COLUMNS:
        lines += _entry(column.title, column.about, width)
    if len(lines) > room:
        lines.insert(0, Text("(↑ ↓ scroll)", style="dim"))
    return _scrolled(lines, state.scroll, room)


def _entry(key: str, about: str, width: int) -> list[Text]:
    """Explain one thing, broken between words."""
    first, *others = wrap(about, max(1, width - KEY_WIDTH))
    lines = [fitted(key, KEY_WIDTH, "bold", left=True).append(first)]
    return lines + [Text(" " * KEY_WIDTH + other) for other in others]


def _folded(lines: Iterable[Text], width: int) -> list[Text]:
    """Break lines that are too long, so that nothing is cut off them."""
    return [piece for line in lines for piece in line.divide(range(width, len(line.plain), width))]


def _scrolled(lines: list[Text], scroll: int, room: int) -> list[Text]:
    return lines[min(scroll, max(0, len(lines) - room)) :]


PAGES: Mapping[Page, Callable[[MonitorData, MonitorState, int, int], list[Text]]] = {
    Page.TABLE: _table_page,
    Page.SERVER: _server_page,
    Page.LOG: _log_page,
    Page.HELP: _help_page,
}
