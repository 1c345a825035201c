"""The page of one server: everything that /load-stats reports about it."""

from collections.abc import Iterator

import msgspec
from rich.text import Text

from fastroute.monitor.view.picture import Line
from fastroute.monitor.view.server_table import STATE_STYLES, fitted, level_style, models_text
from fastroute.printable import MAX_LINE, printable
from fastroute.wording import bar, count, percent, seconds

LABEL_WIDTH = 15
BAR_WIDTH = 20


def server_page(line: Line) -> list[Text]:
    """Return the lines of the page."""
    server = line.server
    titled = Text(line.name, style="bold")
    titled.append(f"   {printable(server.url)}", style="not bold")
    lines = [
        titled,
        Text(),
        _state(line),
        _labelled("models", models_text(server.models, MAX_LINE)),
    ]
    if server.discovered_from is not None:
        lines.append(_labelled("resolved from", printable(server.discovered_from)))
    if server.outlier is not None:
        lines.append(_labelled("outlier", printable(server.outlier), "bold yellow"))
    lines += [Text(), _load(line)]
    lines += [_labelled(label, text) for label, text in _facts(line)]
    return lines


def _state(line: Line) -> Text:
    server = line.server
    text = f"{printable(server.status)} for {seconds(server.state_age_seconds)}"
    if server.state_reason:
        text += f": {printable(server.state_reason)}"
    return _labelled("state", text, STATE_STYLES.get(server.status, ""))


def _load(line: Line) -> Text:
    server = line.server
    share = server.utilization_percent / 100
    drawn = f"{bar(share, BAR_WIDTH)} {percent(share)}"
    text = _labelled("load", drawn, level_style(share))
    text.append(
        f"   {server.current_load:g} of {server.max_capacity}: own {server.in_flight}, "
        f"other clients {server.foreign_load:g}"
    )
    return text


def _facts(line: Line) -> Iterator[tuple[str, str]]:
    server, recent, engine = line.server, line.server.recent, line.server.detailed_metrics
    yield "score", f"{server.score:.4f}   weight {server.weight:g}"
    running, waiting = engine.num_requests_running, engine.num_requests_waiting
    yield (
        "engine",
        (
            f"running {count(running)}, waiting {count(waiting)}, "
            f"preempted {count(engine.num_preemptions_total)}"
        ),
    )
    yield "KV cache", percent(engine.gpu_cache_usage_perc)
    yield "prefix cache", f"{percent(engine.prefix_hit_rate)} of tokens hit"
    yield (
        "scraped",
        (f"{seconds(server.scrape_age_seconds)} ago, {count(server.scrape_failures)} failures"),
    )
    yield "", ""
    yield (
        "now",
        (
            f"{count(recent.requests_per_second)} requests/s, "
            f"{count(recent.tokens_per_second)} tokens/s, "
            f"{count(recent.errors_per_second)} errors/s"
        ),
    )
    yield "requests", _counts(server.requests)
    yield "errors", count(server.errors)
    yield "retries", _counts(server.retries_by_reason)
    yield "client aborts", _counts(server.aborts_by_phase)
    p50, p99 = server.first_byte_p50_seconds, server.first_byte_p99_seconds
    yield "first byte", f"p50 {seconds(p50)}, p99 {seconds(p99)}"
    p50, p99 = server.duration_p50_seconds, server.duration_p99_seconds
    yield "duration", f"p50 {seconds(p50)}, p99 {seconds(p99)}"
    yield "connections", _counts(server.connections)
    yield (
        "bytes",
        (
            f"to the server {count(server.bytes_in)}, to clients {count(server.bytes_out)} "
            f"in {count(server.events)} chunks"
        ),
    )


def _counts(counts: msgspec.Struct) -> str:
    return ", ".join(
        f"{name.removeprefix('finished_')} {count(number)}"
        for name, number in msgspec.structs.asdict(counts).items()
    )


def _labelled(label: str, text: str, style: str = "") -> Text:
    line = fitted(label, LABEL_WIDTH, "dim", left=True)
    line.append(text, style=style)
    return line
