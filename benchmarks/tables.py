"""A run as Markdown: the targets, followed by all figures."""

from collections.abc import Callable, Iterable, Sequence

from benchmarks.comparison import figures
from benchmarks.comparison.figures import Rounds, Spread, median_of, spread_of
from benchmarks.comparison.peers import BASELINE
from benchmarks.comparison.scenarios import SCENARIOS, Scenario
from benchmarks.comparison.spec import LoadResult
from benchmarks.comparison.stage import DIRECT
from benchmarks.raw import Raw
from benchmarks.studies import many_streams, scraping, workers
from benchmarks.targets import TARGETS, Verdict

_COLUMNS = ("", "CPU", "spread", "ratio", "spread", "rate/s", "busy", "load", "servers", "others")
_LATENCY_COLUMNS = ("p50", "p99", "late p99")


def targets(raw: Raw) -> str:
    """Return the table of targets and measured values."""
    lines = [_row(("what", "target", "stretch goal", "measured", "met")), _row(["---"] * 5)]
    for target in TARGETS:
        verdict = target.verdict(raw)
        goals = (target.target, target.stretch or "-")
        lines.append(_row((target.what, *goals, verdict.measured, met(verdict))))
    return "\n".join(lines) + "\n"


def met(verdict: Verdict) -> str:
    if verdict.met is None:
        return "not told"
    if not verdict.met:
        return "**no**"
    return "yes, and the stretch goal" if verdict.stretch else "yes"


def setting(raw: Raw) -> str:
    """Return a paragraph about machine, date, software and method."""
    machine, timing = raw.machine, raw.timing
    versions = "; ".join(machine.versions.values())
    return (
        f"{machine.date}, {machine.cpu}, {machine.cores} cores, Linux {machine.kernel}, "
        f"Python {machine.python}, uvloop {machine.uvloop}, load average at the start "
        f"{machine.load_average:.1f}. {versions}. One worker (thread) each, proxies on core "
        f"{_cores(raw.cores.proxy)}, all else on {_cores(raw.cores.others)}; {timing.rounds} "
        f"interleaved rounds of {timing.seconds:g} s, medians (min-max). The whole run took "
        f"{raw.seconds / 60:.0f} minutes."
    )


def disturbed(raw: Raw) -> str:
    """Return a sentence about measurements disturbed by other work; empty if there were none."""
    everything = [one for rounds in raw.rounds.values() for many in rounds.values() for one in many]
    count = sum(figures.others(one) > figures.DISTURBING_CORES for one in everything)
    if not count:
        return ""
    return f"Other work on the machine disturbed {count} of {len(everything)} measurements."


def document(raw: Raw) -> str:
    """Return the whole report."""
    chosen = [one for one in SCENARIOS if one.name in raw.rounds]
    parts = ["# Benchmark\n", setting(raw) + "\n"]
    if disturbed(raw):
        parts.append(f"**{disturbed(raw)}**\n")
    parts += [f"{name} was skipped: {_first_line(why)}\n" for name, why in raw.left_out.items()]
    parts += ["## Targets\n", targets(raw), "## Figures\n"]
    parts += [scenario(one, raw.rounds[one.name]) for one in chosen]
    parts += [part for part in (study(raw) for study in _STUDIES) if part]
    return "\n".join(parts)


def scenario(scenario: Scenario, rounds: Rounds) -> str:
    """Return one scenario as a table, followed by errors."""
    timed = any(one.latencies for results in rounds.values() for one in results)
    columns = (*_COLUMNS, *(_LATENCY_COLUMNS if timed else ()))
    lines = [
        f"### {scenario.title}",
        "",
        f"CPU in us per {scenario.unit}; ratio to {BASELINE} of the same round; "
        "busy, load, servers, others: cores used by the proxy, the load, the stand-in servers and "
        "whatever else ran" + ("; latencies in us" if timed else ""),
        "",
        _head(columns),
        *(_row(_cells(who, rounds, timed)) for who in rounds),
        *_wrong(rounds),
    ]
    everything = [one for results in rounds.values() for one in results]
    count = sum(figures.others(one) > figures.DISTURBING_CORES for one in everything)
    if count:
        lines.append(f"\n{count} of {len(everything)} measurements were disturbed by other work.")
    return "\n".join(lines) + "\n"


def _streams(raw: Raw) -> str:
    if not raw.many_streams:
        return ""
    streams = max(
        count for one in raw.many_streams.values() for count, _ in one.resident_steps or [(0, {})]
    )
    columns = ("", "events/s", "delay p50", "p99", "max", "CPU", "memory per stream", "errors")
    lines = [
        f"### {streams:,} streams, an event of 200 bytes each second",
        "",
        "Delay from an event's sending to its arrival, in ms; CPU in us per event",
        "",
        _head(columns),
    ]
    for who, result in raw.many_streams.items():
        delays = [f"{result.latencies.get(name, 0) * 1e3:.2f}" for name in ("p50", "p99", "max")]
        own = "-" if who == DIRECT else f"{figures.cpu_per_unit(result, who):.1f}"
        lines.append(
            _row(
                (
                    who,
                    f"{figures.rate(result):,.0f}",
                    *delays,
                    own,
                    _growth(who, result),
                    str(sum(result.errors.values())),
                )
            )
        )
    lines += _wrong({who: [one] for who, one in raw.many_streams.items()})
    return "\n".join(lines) + "\n"


def _growth(who: str, result: LoadResult) -> str:
    if who == DIRECT:
        return "-"
    steps = many_streams.bytes_per_stream(result, who)
    return "; ".join(f"{size / 1e3:.1f} KB up to {count:,}" for count, size in steps)


def _cross_check(raw: Raw) -> str:
    if not raw.wrk:
        return ""
    lines = [
        "### JSON, saturated, the load made by wrk",
        "",
        "Once, as a check of our own load by one that is not ours; CPU in us per request",
        "",
        _head(("", "CPU", "CPU by our load", "rate/s", "rate/s by our load", "wrong")),
    ]
    rounds = raw.rounds.get("json-saturated", {})
    for who, check in raw.wrk.items():
        ours = [one for one in rounds.get(who, ()) if one.units]
        cells = [
            f"{check.cpu_seconds * 1e6:.1f}",
            _median(ours, lambda one, who=who: figures.cpu_per_unit(one, who), "{:.1f}"),
            f"{check.requests_per_second:,.0f}",
            _median(ours, figures.rate, "{:,.0f}"),
        ]
        lines.append(_row((who, *cells, check.wrong or "-")))
    return "\n".join(lines) + "\n"


def _workers(raw: Raw) -> str:
    found = raw.workers
    if found is None:
        return ""
    lines = [
        f"### 1 and 2 workers on {found.worker_cores} core(s), JSON, saturated",
        "",
        _head(("workers", "requests/s", "CPU (us)", "errors")),
    ]
    for count in workers.COUNTS:
        results = found.rounds[count]
        rate = median_of(results, figures.rate)
        cost = median_of(results, lambda one: figures.cpu_per_unit(one, raw.subject))
        wrong = sum(figures.errors(results).values())
        lines.append(_row((str(count), f"{rate:,.0f}", f"{cost:.1f}", str(wrong))))
    lines.append(f"\n{sum(found.clients)} clients: {', '.join(map(str, found.clients))}.")
    return "\n".join(lines) + "\n"


def _scraping(raw: Raw) -> str:
    if not raw.scraping:
        return ""
    lines = [
        f"### Reading the load of {scraping.SERVERS} servers, JSON at {scraping.RATE:,.0f}/s",
        "",
        (
            "off: once, at the start; filtered: each second, our names; "
            "unfiltered: each second, 64 KB. Latencies in us"
        ),
        "",
        _head(("", "supervisor, of a core", "p50", "p99", "errors")),
    ]
    for kind, results in raw.scraping.items():
        share = median_of(results, scraping.supervisor_share)
        latencies = [
            f"{median_of(results, lambda one, name=name: one.latencies.get(name, 0)) * 1e6:,.0f}"
            for name in ("p50", "p99")
        ]
        wrong = sum(figures.errors(results).values())
        lines.append(_row((kind, f"{share:.1%}", *latencies, str(wrong))))
    return "\n".join(lines) + "\n"


def _starts(raw: Raw) -> str:
    if not any(raw.starts.values()):
        return ""
    lines = [
        "### Start and idle",
        "",
        "Resident counts the pages that processes share for each of them, proportional once",
        "",
        _head(("", "first answer (s)", "resident (MB)", "proportional (MB)")),
    ]
    for who, starts in raw.starts.items():
        if not starts:
            lines.append(_row((who, "did not start", "-", "-")))
            continue
        seconds = Spread([one.seconds_to_answer for one in starts]).median
        resident = Spread([one.resident_bytes / 1e6 for one in starts]).median
        shared = Spread([one.proportional_bytes / 1e6 for one in starts]).median
        lines.append(_row((who, f"{seconds:.2f}", f"{resident:.0f}", f"{shared:.0f}")))
    return "\n".join(lines) + "\n"


_STUDIES = (_cross_check, _streams, _workers, _scraping, _starts)


def _head(columns: Sequence[str]) -> str:
    return _row(columns) + "\n" + _row(["---", *["---:"] * (len(columns) - 1)])


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _wrong(rounds: Rounds) -> list[str]:
    return [
        f"\n**{who}: {count} wrong**: {reason}"
        for who, results in rounds.items()
        for reason, count in figures.errors(results).most_common(5)
    ]


def _cells(who: str, rounds: Rounds, timed: bool) -> list[str]:
    results = rounds[who]
    answered = [one for one in results if one.units]
    if not answered:
        columns = len(_COLUMNS) - 2 + (len(_LATENCY_COLUMNS) if timed else 0)
        return [who, "failed", *["-"] * columns]
    own = ["-"] * 4
    if who != DIRECT:
        own = [
            *_two([figures.cpu_per_unit(one, who) for one in answered], "{:.1f}"),
            *_two(figures.ratios(rounds, who), "{:.2f}"),
        ]
    cells = [
        who,
        *own,
        _median(answered, figures.rate, "{:,.0f}"),
        "-" if who == DIRECT else _median(answered, lambda one: figures.busy(one, who), "{:.2f}"),
        _median(answered, lambda one: figures.busy(one, "load"), "{:.2f}"),
        _median(answered, lambda one: figures.busy(one, "servers"), "{:.2f}"),
        _median(answered, figures.others, "{:.2f}"),
    ]
    if timed:
        cells += [
            _median(answered, lambda one, name=name: one.latencies.get(name, 0) * 1e6, "{:,.0f}")
            for name in ("p50", "p99", "sent_late_p99")
        ]
    return cells


def _two(values: list[float], form: str) -> tuple[str, str]:
    spread = spread_of(values)
    if spread is None:
        return "-", "-"
    return form.format(spread.median), f"{form.format(spread.low)}-{form.format(spread.high)}"


def _median(results: Sequence[LoadResult], value: Callable[[LoadResult], float], form: str) -> str:
    return form.format(median_of(results, value)) if results else "-"


def _cores(cores: set[int]) -> str:
    return ", ".join(map(str, sorted(cores)))


def _first_line(text: str) -> str:
    return text.partition("\n")[0]
