"""The monitor's screen as lines of text that fit the terminal exactly."""

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
from fastroute.printable import printable
from fastroute.wording import bar, clock, count, percent, seconds

FOOTER = "q quit  s sort  p pause  ↑↓ select  enter details  esc back  l log  ? help"
BAR_WIDTH = 10
ONCE_WIDTH = 160
"""Width in cells if the output is no terminal: enough for all columns and the models."""

HELP_KEYS = (
    ("q, ctrl-c", "quit; `fastroute run` then stops gracefully: requests in flight finish"),
    ("s", "next sort order: config, problems, load, waiting, first byte, errors"),
    ("p, space", "pause or resume updates"),
    ("↑ ↓, page, home", "select a server, scroll"),
    ("enter", "details of the selected server"),
    ("esc", "back"),
    ("l", "log lines"),
    ("?", "this help"),
)
KEY_WIDTH = 16
OUT_OF_SERVICE_STYLES = {"down": "red", "ejected": "red", "asleep": "yellow"}
"""States of which there is a notice, the most severe first."""
NOTICES_SHARE = 6
"""Notices may take 1/NOTICES_SHARE of the lines."""


def frame(data: MonitorData, state: MonitorState, width: int, height: int) -> list[Text]:
    """Return `height` lines of at most `width` cells."""
    header = _header(data, state)
    room = max(0, height - len(header) - 1)
    body = PAGES[state.page](data, state, width, room)[:room]
    body += [Text()] * (room - len(body))
    lines = [*header, *body, Text(FOOTER, style="dim")][:height]
    for line in lines:
        line.no_wrap = True
        line.truncate(width, overflow="ellipsis")
    return lines


def once(data: MonitorData, width: int) -> list[Text]:
    """Return all servers as a table, for printing once."""
    state = MonitorState()
    lines = data.lines(state.sort)
    chosen = layout(lines, width)
    table = [heading(chosen)]
    for line in lines:
        table.append(server_line(line, chosen))
        if more := second_line(line, chosen):
            table.append(more)
    return [*_header(data, state)[1:], *_notices(data, lines), Text(), *table]


def _header(data: MonitorData, state: MonitorState) -> list[Text]:
    """Return two lines: the router shown, and its totals."""
    report = data.report
    first = Text("fastroute", style="bold")
    if report is None:
        first.append(f" at {data.source}", style="not bold")
        return [first, Text(data.error or "connecting ...", style="bold red")]
    summary = report.summary
    first.append(f" {printable(summary.version)}", style="not bold")
    if any(worker.draining for worker in summary.workers):
        first.append("  DRAINING", style="bold yellow")
    if state.paused:
        first.append("  PAUSED", style="bold yellow")
    if data.error:
        first.append("  DISCONNECTED", style="bold red")
    first.append(f" at {data.source}", style="not bold")
    first.append(f"  sort: {state.sort}  up {clock(summary.uptime_seconds)}", style="not bold")
    first.append(f"  {data.clock}", style="not bold dim")
    return [first, _totals(data, report)]


def _totals(data: MonitorData, report: Report) -> Text:
    summary = report.summary
    share = summary.overall_utilization_percent / 100
    usable = f"{summary.healthy_servers}/{summary.total_servers} usable"
    all_usable = summary.healthy_servers == summary.total_servers
    line = Text(usable, style="green" if all_usable else "bold red")
    drawn = f"  {bar(share, BAR_WIDTH)} {percent(share)}"
    line.append(drawn, style=f"not bold {level_style(share)}")
    recent = summary.recent
    # The most important first, because the end is truncated if the terminal is narrow.
    line.append(
        f" {summary.total_active_load:.4g}/{count(summary.total_capacity)}"
        f"  {count(summary.total_in_flight)} in flight"
        f"  {count(recent.requests_per_second)} req/s"
        f"  {count(recent.tokens_per_second)} tok/s"
        f"  {count(recent.errors_per_second)} err/s"
        f"  clients {count(sum(worker.client_connections for worker in summary.workers))}",
        style="default not bold",
    )
    return line


def _notices(data: MonitorData, lines: Sequence[Line]) -> list[Text]:
    """Return the notices, the most severe first."""
    notices = []
    if data.error and data.report is not None:
        notices.append(Text(f"disconnected, retrying: {data.error}", style="bold red"))
    unrouted = None if data.report is None else data.report.summary.unrouted_per_second
    if unrouted:
        refused = f"{count(unrouted)} requests/s rejected: no usable server"
        notices.append(Text(refused, style="bold red"))
    notices += [*_panic(data), *_out_of_service(lines)]
    notices += [
        Text(f"{line.name}: {printable(line.server.outlier)}", style="bold yellow")
        for line in lines
        if line.server.outlier is not None
    ]
    return notices if data.report is None else notices + _of_configuration(data.report)


def _of_configuration(report: Report) -> list[Text]:
    summary = report.summary
    texts = [
        f"{name.url}: {name.warning}" for name in summary.dns_names if name.warning is not None
    ]
    if summary.config.error is not None:
        texts.append(f"configuration not applied: {summary.config.error}")
    return [Text(printable(text), style="bold yellow") for text in texts]


def _panic(data: MonitorData) -> list[Text]:
    """Name the models in panic mode."""
    models = () if data.report is None else data.report.summary.panic_models
    if not models:
        return []
    names = ", ".join("any model" if name == "*" else printable(name) for name in models)
    text = f"panic mode: requests for {names} go to ejected servers, no other is usable"
    return [Text(text, style="bold red")]


def _out_of_service(lines: Sequence[Line]) -> list[Text]:
    """Name the servers that are out of service, one line per state and reason."""
    alike: dict[tuple[str, str], list[Line]] = {}
    for state in OUT_OF_SERVICE_STYLES:
        for line in lines:
            if line.server.status == state:
                alike.setdefault((state, printable(line.server.state_reason)), []).append(line)
    texts = []
    for (state, reason), (line, *others) in alike.items():
        if others:
            names = ", ".join(each.name for each in (line, *others))
            text = f"{len(others) + 1} servers {state}: {reason}: {names}"
        else:
            age = seconds(line.server.state_age_seconds)
            text = f"{line.name}: {state} for {age}: {reason}"
        texts.append(Text(text, style=OUT_OF_SERVICE_STYLES[state]))
    return texts


def _shortened(notices: list[Text], most: int) -> list[Text]:
    """Return at most `most` notices; the last gives the number of the rest."""
    if len(notices) <= most:
        return notices
    last = Text(f"(and {len(notices) - most} more) ").append_text(notices[most - 1])
    return [*notices[: most - 1], last]


def _table_page(data: MonitorData, state: MonitorState, width: int, room: int) -> list[Text]:
    lines = data.lines(state.sort)
    notices = _shortened(_notices(data, lines), max(1, room // NOTICES_SHARE))
    chosen = layout(lines, width)
    caption = [Text(data.caption, style="bold cyan")] if data.caption else []
    body = [*caption, *notices, heading(chosen)]
    room -= len(body)
    selected = selected_index(lines, state)
    if not lines or 2 * len(lines) <= room:
        for index, line in enumerate(lines):
            body.append(_selectable(server_line(line, chosen), chosen, is_it=index == selected))
            if more := second_line(line, chosen):
                body.append(more)
        return body
    # Not enough space for two lines each: only the selected server's second line is shown, last.
    shown = max(1, room - 1)
    start = first_shown(selected, len(lines), shown)
    for index, line in list(enumerate(lines))[start : start + shown]:
        body.append(_selectable(server_line(line, chosen), chosen, is_it=index == selected))
    body += [Text()] * (shown - len(lines))
    place = f"{start + 1}-{min(len(lines), start + shown)} of {len(lines)}"
    return [*body, Text(f" {place}").append_text(second_line(lines[selected], chosen))]


def _selectable(line: Text, chosen: Layout, *, is_it: bool) -> Text:
    if is_it:
        # Only the name: the colours of the cells would become backgrounds.
        line.stylize("reverse", 0, chosen.name_width)
    return line


def selected_index(lines: Sequence[Line], state: MonitorState) -> int:
    """Return the index of the selected server, 0 if it is gone."""
    return next((i for i, line in enumerate(lines) if line.server.url == state.selected), 0)


def first_shown(selected: int, total: int, shown: int) -> int:
    """Return the index of the first line shown, so that the selected one is in the middle."""
    return max(0, min(selected - shown // 2, total - shown))


def _server_page(data: MonitorData, state: MonitorState, width: int, room: int) -> list[Text]:
    lines = data.lines(state.sort)
    if not lines:
        return [Text("no servers")]
    page = server_page(lines[selected_index(lines, state)])
    return _scrolled(_folded(page, width), state.scroll, room)


def _log_page(data: MonitorData, state: MonitorState, width: int, room: int) -> list[Text]:
    if data.log is None:
        return [Text("the log is written where that router runs, not here")]
    if not data.log:
        return [Text("nothing logged yet")]
    lines = _folded(map(Text, data.log), width)
    end = max(min(room, len(lines)), len(lines) - state.scroll)
    return lines[max(0, end - room) : end]


def _help_page(data: MonitorData, state: MonitorState, width: int, room: int) -> list[Text]:
    lines = [each for key, about in HELP_KEYS for each in _entry(key, about, width)]
    lines.append(Text())
    for column in COLUMNS:
        lines += _entry(column.title, column.about, width)
    if len(lines) > room:
        lines.insert(0, Text("(↑ ↓ scroll)", style="dim"))
    return _scrolled(lines, state.scroll, room)


def _entry(key: str, about: str, width: int) -> list[Text]:
    """Explain one key or column, wrapped between words."""
    first, *others = wrap(about, max(1, width - KEY_WIDTH))
    lines = [fitted(key, KEY_WIDTH, "bold", left=True).append(first)]
    return lines + [Text(" " * KEY_WIDTH + other) for other in others]


def _folded(lines: Iterable[Text], width: int) -> list[Text]:
    """Wrap lines that are too long, so that nothing is truncated."""
    return [piece for line in lines for piece in line.divide(range(width, len(line.plain), width))]


def _scrolled(lines: list[Text], scroll: int, room: int) -> list[Text]:
    return lines[min(scroll, max(0, len(lines) - room)) :]


PAGES: Mapping[Page, Callable[[MonitorData, MonitorState, int, int], list[Text]]] = {
    Page.TABLE: _table_page,
    Page.SERVER: _server_page,
    Page.LOG: _log_page,
    Page.HELP: _help_page,
}
