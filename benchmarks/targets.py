"""The targets, each with its judgement of a run: the summary table of the README."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from benchmarks.comparison import figures
from benchmarks.comparison.figures import Spread, spread_of
from benchmarks.comparison.stage import DIRECT
from benchmarks.raw import Raw
from benchmarks.studies import many_streams, scraping, startup, workers

# Limits of "unchanged": a CPU figure within 10 %; a p99 within 20 % or, because of the short
# windows, within 100 us.
_SAME_CPU = 1.10
_SAME_P99 = 1.20
_SAME_P99_US = 100.0


class Verdict(NamedTuple):
    """The measured values in words, and if they meet the target and the stretch goal."""

    measured: str
    met: bool | None
    """None if unknown; `measured` gives the reason."""
    stretch: bool = False


class Target(NamedTuple):
    what: str
    target: str
    stretch: str
    judge: Callable[[Raw], Verdict]

    def verdict(self, raw: Raw) -> Verdict:
        return self.judge(raw)


class Limit(NamedTuple):
    """Limits relative to another proxy: factors of the target and of the stretch goal."""

    times: float | None
    stretch: float | None = None


def _cpu(scenario: str, limits: Mapping[str, Limit]) -> Callable[[Raw], Verdict]:
    """Return a judge of the CPU time per unit, by the median of all rounds' ratios."""

    def judge(raw: Raw) -> Verdict:
        rounds = raw.rounds.get(scenario, {})
        found = {
            base: spread_of(figures.ratios(rounds, raw.subject, base))
            for base in limits
            if base in rounds
        }
        wrong = sum(figures.errors(rounds.get(raw.subject, ())).values())
        texts = [f"{_ratio(spread)} x {base}" for base, spread in found.items()]
        if wrong:
            texts.append(f"{wrong} wrong answers")
        met = _within({base: limit.times for base, limit in limits.items()}, found)
        stretch = _within({base: limit.stretch for base, limit in limits.items()}, found)
        return _verdict(texts, None if met is None else met and not wrong, bool(stretch))

    return judge


def _within(limits: Mapping[str, float | None], found: Mapping[str, Spread | None]) -> bool | None:
    """Return True if all limits are met; None if none is exceeded but one is unknown."""
    spreads = {base: found.get(base) for base, limit in limits.items() if limit is not None}
    if any(spread and spread.median > (limits[base] or 0) for base, spread in spreads.items()):
        return False
    return None if not spreads or None in spreads.values() else True


def _verdict(texts: list[str], met: bool | None, stretch: bool) -> Verdict:
    return Verdict(", ".join(texts) or "not measured", met, bool(met) and stretch)


def _ratio(spread: Spread | None) -> str:
    if spread is None:
        return "(no figure)"
    return f"{spread.median:.2f} ({spread.low:.2f}-{spread.high:.2f})"


def _latency(raw: Raw) -> Verdict:
    rounds = raw.rounds.get("latency-1000", {})
    added = {
        who: {
            which: spread_of(figures.added_latency(rounds, who, which)) for which in ("p50", "p99")
        }
        for who in rounds
        if who != DIRECT
    }
    medians = {
        who: (both["p50"].median, both["p99"].median)
        for who, both in added.items()
        if both["p50"] and both["p99"]
    }
    texts = [f"{who} {p50:,.0f}, {p99:,.0f}" for who, (p50, p99) in medians.items()]
    own, nginx = medians.get(raw.subject), medians.get("nginx")
    if own is None or nginx is None:
        return _verdict(texts, None, False)
    if min(min(both) for both in medians.values()) < 0:
        return _verdict([*texts, "less than direct: other work disturbed"], None, False)
    # nginx's p50 and p99 plus these values; half of the two routers'.
    limits = [(nginx[0] + 30, nginx[1] + 200)]
    routers = [medians[name] for name in ("vllm-router", "smg") if name in medians]
    limits += [(p50 / 2, p99 / 2) for p50, p99 in routers]
    met = all(own[0] <= p50 and own[1] <= p99 for p50, p99 in limits)
    wrong = sum(figures.errors(rounds[raw.subject]).values())
    if met and len(routers) < 2:
        return _verdict(texts, None, False)
    stretch = own[0] <= nginx[0] and own[1] <= nginx[1]
    return _verdict(texts, met and not wrong, stretch)


# The part of the 10,000 that one process can have if the hard limit is 20,000 open files.
_STREAMS = 9_900
_EVENT_DELAY = 0.020
_STREAM_BYTES, _STREAM_BYTES_STRETCH = 12_000, 8_000


def _many_streams(raw: Raw) -> Verdict:
    own, direct = raw.many_streams.get(raw.subject), raw.many_streams.get(DIRECT)
    if own is None or direct is None or not own.latencies or not direct.latencies:
        return _verdict([], None, False)
    steps = many_streams.bytes_per_stream(own, raw.subject)
    streams = max(count for count, _ in own.resident_steps)
    delay = own.latencies["p99"] - direct.latencies["p99"]
    wrong = sum(own.errors.values())
    texts = [
        f"{streams:,} streams: {wrong} errors",
        f"p99 {delay * 1e3:+.1f} ms",
        "; ".join(f"{size / 1e3:.1f} KB each up to {count:,}" for count, size in steps),
    ]
    heaviest = max(size for _, size in steps)
    kept = not wrong and delay < _EVENT_DELAY and heaviest < _STREAM_BYTES
    met = kept if streams >= _STREAMS or not kept else None
    return _verdict(texts, met, heaviest < _STREAM_BYTES_STRETCH)


def _workers(raw: Raw) -> Verdict:
    found = raw.workers
    if found is None:
        return _verdict([], None, False)
    one, two = (found.rounds[count] for count in workers.COUNTS)
    answered = [(a, b) for a, b in zip(one, two, strict=True) if a.units and b.units]
    cpu = spread_of(
        [
            figures.cpu_per_unit(b, raw.subject) / figures.cpu_per_unit(a, raw.subject)
            for a, b in answered
        ]
    )
    speed = spread_of([figures.rate(b) / figures.rate(a) for a, b in answered])
    apart = workers.difference(found.clients)
    wrong = sum(figures.errors([*one, *two]).values())
    if cpu is None or speed is None:
        return _verdict([f"{wrong} wrong answers"], False, False)
    has_cores = found.worker_cores >= 2
    throughput = f"{speed.median:.2f} x throughput" if has_cores else "throughput needs 4 cores"
    texts = [throughput, f"CPU {_ratio(cpu)} x", f"clients {apart:.0%} apart"]
    if wrong:
        texts.append(f"{wrong} wrong answers")
    met = not wrong and cpu.median <= _SAME_CPU and apart <= 0.20
    return _verdict(texts, met and (not has_cores or speed.median >= 1.7), False)


def _scraping(raw: Raw) -> Verdict:
    if not raw.scraping:
        return _verdict([], None, False)
    p99 = {
        kind: spread_of([one.latencies["p99"] * 1e6 for one in results if one.latencies])
        for kind, results in raw.scraping.items()
    }
    share = {
        kind: figures.median_of(results, scraping.supervisor_share)
        for kind, results in raw.scraping.items()
    }
    kinds = (scraping.FILTERED, scraping.UNFILTERED)
    texts = [f"supervisor {share[kind]:.1%} {kind}" for kind in kinds]
    texts += [f"p99 {spread.median:,.0f} us {kind}" for kind, spread in p99.items() if spread]
    wrong = sum(figures.errors(one for many in raw.scraping.values() for one in many).values())
    if None in p99.values() or wrong:
        return _verdict([*texts, f"{wrong} wrong answers"], False, False)
    base = p99[scraping.OFF].median
    unchanged = max(base * _SAME_P99, base + _SAME_P99_US)
    met = share[scraping.UNFILTERED] < 0.15 and all(p99[k].median <= unchanged for k in kinds)
    return _verdict(texts, met, share[scraping.FILTERED] < 0.05)


def _choosing(raw: Raw) -> Verdict:
    if not raw.choosing:
        return _verdict([], None, False)
    few, many = raw.choosing[8] * 1e6, raw.choosing[200] * 1e6
    texts = [f"{many:.2f} us among 200", f"{few:.2f} among 8"]
    return _verdict(texts, many < 15 and few < 2, many < 1.5 * few)


def _start(raw: Raw) -> Verdict:
    own = raw.starts.get(raw.subject)
    if not own:
        return _verdict([], None, False)
    spread = Spread([start.seconds_to_answer for start in own])
    text = f"{spread.median:.2f} s ({spread.low:.2f}-{spread.high:.2f})"
    return _verdict([text, *_beside(raw, _seconds)], spread.median < 0.7, spread.median < 0.4)


def _memory(raw: Raw) -> Verdict:
    own = raw.starts.get(raw.subject)
    if not own:
        return _verdict([], None, False)
    size = Spread([start.resident_bytes / 1e6 for start in own]).median
    return _verdict([f"{size:.0f} MB", *_beside(raw, _megabytes)], size < 90, size < 60)


def _beside(raw: Raw, text: Callable[[list[startup.Start]], str]) -> list[str]:
    """Return the values of the two routers, in brackets."""
    found = [(name, raw.starts.get(name)) for name in ("vllm-router", "smg")]
    texts = [f"{name} {text(starts)}" for name, starts in found if starts]
    return [f"({', '.join(texts)})"] if texts else []


def _seconds(starts: list[startup.Start]) -> str:
    return f"{Spread([start.seconds_to_answer for start in starts]).median:.2f} s"


def _megabytes(starts: list[startup.Start]) -> str:
    return f"{Spread([start.resident_bytes / 1e6 for start in starts]).median:.0f} MB"


TARGETS = (
    Target(
        "CPU per JSON request (1 KB in, 0.8 KB out), saturated",
        "<= 1.15 x nginx; <= 0.35 x vllm-router; <= 0.2 x smg",
        "< nginx and < HAProxy",
        _cpu(
            "json-saturated",
            {
                "nginx": Limit(1.15, 1.0),
                "haproxy": Limit(None, 1.0),
                "vllm-router": Limit(0.35),
                "smg": Limit(0.2),
            },
        ),
    ),
    Target(
        "CPU per JSON request at 2,000/s",
        "<= 1.15 x nginx; <= 0.3 x vllm-router",
        "< nginx",
        _cpu("json-2000", {"nginx": Limit(1.15, 1.0), "vllm-router": Limit(0.3)}),
    ),
    Target(
        "CPU per streamed event, 256 streams at 20 ms",
        "<= 1.0 x nginx; <= 1.05 x HAProxy; <= 0.7 x vllm-router",
        "< 0.9 x both",
        _cpu(
            "streams-256",
            {
                "nginx": Limit(1.0, 0.9),
                "haproxy": Limit(1.05, 0.9),
                "vllm-router": Limit(0.7),
            },
        ),
    ),
    Target(
        "latency added at 1,000/s, 4 servers: p50, p99 (us)",
        "<= nginx's + 30 us, + 200 us; half of vllm-router's and smg's",
        "<= nginx's",
        _latency,
    ),
    Target(
        "100 KB prompts: CPU per request",
        "<= 1.5 x nginx's",
        "<= 1.1 x",
        _cpu("prompts-100k", {"nginx": Limit(1.5, 1.1)}),
    ),
    Target(
        "10,000 streams, an event each second, one worker",
        "no error, p99 event delay < 20 ms beyond direct, < 12 KB resident per stream",
        "< 8 KB",
        _many_streams,
    ),
    Target(
        "2 workers against 1",
        ">= 1.7 x throughput where cores allow; CPU per request unchanged; clients within 20 %",
        "",
        _workers,
    ),
    Target(
        "scraping 100 servers each second, 64 KB each",
        "p99 unchanged; supervisor < 15 % of a core",
        "< 5 % with filtered scrapes",
        _scraping,
    ),
    Target(
        "choosing among 200 servers; among 8",
        "< 15 us; < 2 us",
        "independent of the number",
        _choosing,
    ),
    Target("start to first answered request", "< 0.7 s", "< 0.4 s", _start),
    Target("resident memory of supervisor + 1 worker, idle", "< 90 MB", "< 60 MB", _memory),
)
