"""A server's load: read from the text of its /metrics, and what of it is not ours.

The text is Prometheus' format 0.0.4 with vLLM's names, newer and older. Only the lines with the
names needed are read: one search over the bytes finds them, about 0.05 ms for the 64 KB of a busy
server, where a full parser takes 100 times as long.

A report is refused as a whole (`BadMetrics`) when it cannot be trusted: the number of running or
waiting requests is missing, negative or not finite; a line with one of our names makes no sense;
the text is cut off. HTTP itself tells when a body ends too early, except one that ends with its
connection, so the text's last line must end in a line feed, as the format demands. A server
without load looks exactly like the best choice: no report is better than half a one.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

import msgspec

MAX_REQUESTS = 10**9
"""More running or waiting requests are an error of the server's; they would not fit our cells."""

MAX_COUNT = 2**53
"""Beyond it a float cannot count, and vLLM's counters are floats."""

RUNNING = b"num_requests_running"
WAITING = b"num_requests_waiting"
SLEEP_STATE = b"engine_sleep_state"
# Newer name first. Versions that export both mean the same by them, so they are never added.
KV_CACHE_USAGE = (b"kv_cache_usage_perc", b"gpu_cache_usage_perc")
GENERATION_TOKENS = (b"generation_tokens_total",)
PROMPT_TOKENS = (b"prompt_tokens_total",)
PREFIX_QUERIES = (b"prefix_cache_queries_total", b"gpu_prefix_cache_queries_total")
PREFIX_HITS = (b"prefix_cache_hits_total", b"gpu_prefix_cache_hits_total")
PREEMPTIONS = (b"num_preemptions_total",)

_SHORT_NAMES = (
    *(RUNNING, WAITING, SLEEP_STATE),
    *(*KV_CACHE_USAGE, *GENERATION_TOKENS, *PROMPT_TOKENS),
    *(*PREFIX_QUERIES, *PREFIX_HITS, *PREEMPTIONS),
)
NAMES = tuple("vllm:" + name.decode() for name in _SHORT_NAMES)
"""The full names of all samples that are read, for a scrape that asks for them alone."""

# Starts with a literal so that the search skips to candidates: 37 us for 64 KB, and 525 us with
# `^`. A longer name that begins like one of ours, as num_requests_waiting_by_reason, is not it.
_LINE = re.compile(rb"\n[ \t]*vllm:(" + b"|".join(_SHORT_NAMES) + rb")(?![A-Za-z0-9_:])([^\n]*)")

# Possessive, so that no text makes it try again and again.
_NAME = rb"[A-Za-z_][A-Za-z0-9_]*+"
_PAIR = _NAME + rb'[ \t]*+=[ \t]*+"(?:[^"\\]|\\.)*+"[ \t]*+'
_PAIRS = rb"[ \t]*+(?:" + _PAIR + rb"(?:,[ \t]*+" + _PAIR + rb")*+(?:,[ \t]*+)?)?"
_NUMBER = rb"[+-]?(?:[0-9]++\.?[0-9]*+|\.[0-9]++)(?:[eE][+-]?[0-9]++)?"
_SAMPLE = re.compile(
    rb"[ \t]*+(?:\{(" + _PAIRS + rb")\}[ \t]*+|(?<=[ \t]))"
    rb"(" + _NUMBER + rb"|[+-]?(?i:nan|inf))"
    rb"(?:[ \t]+-?[0-9]+)?[ \t\r]*"  # A time stamp may follow.
)
# As nearly all samples are written: labels, one space, a number.
_LABELS = re.compile(rb"\{(" + _PAIRS + rb")")
_PLAIN_NUMBER = re.compile(rb"[0-9]++(?:\.[0-9]++)?(?:e[+-][0-9]++)?")
_LABEL = re.compile(rb"(" + _NAME + rb')[ \t]*+=[ \t]*+"((?:[^"\\]|\\.)*+)"')
_ESCAPE = re.compile(rb"\\(.)")

Samples = dict[bytes, list[tuple[bytes, float]]]
"""By name without `vllm:`, the labels as they stand and the value of each sample."""


class BadMetrics(Exception):
    """The text says nothing, or nothing that can be trusted, about a server's load."""


class LoadReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a server says of its load. None: it does not say.

    Attributes:
        running: Requests being worked on, over all engines and models.
        waiting: Requests in its queue, over all engines and models.
        kv_cache_usage: 0 to 1, of the fullest engine.
        generation_tokens: Tokens made since the server started.
        prompt_tokens: Prompt tokens read since the server started.
        prefix_queries: Prompt tokens looked up in the prefix cache.
        prefix_hits: Of these, found.
        preemptions: Sequences put back into the queue for want of memory.
        asleep: Some engine sleeps; it takes requests and answers none.
        models: The model names in the labels, sorted.
    """

    running: int
    waiting: int
    kv_cache_usage: float | None = None
    generation_tokens: int | None = None
    prompt_tokens: int | None = None
    prefix_queries: int | None = None
    prefix_hits: int | None = None
    preemptions: int | None = None
    asleep: bool = False
    models: tuple[str, ...] = ()


def parse_metrics(text: bytes) -> LoadReport:
    """Read a server's load out of the text of its /metrics, filtered or not.

    Raises:
        BadMetrics: The text is cut off, broken, or lacks what matters; the message says which.
    """
    if not text.endswith(b"\n"):
        raise BadMetrics("the metrics are cut off" if text else "the metrics are empty")
    samples = _read_samples(text)
    usage = _optional(samples, KV_CACHE_USAGE)
    return LoadReport(
        running=_requests(samples, RUNNING),
        waiting=_requests(samples, WAITING),
        kv_cache_usage=min(1.0, max(usage)) if usage else None,
        generation_tokens=_total(samples, GENERATION_TOKENS),
        prompt_tokens=_total(samples, PROMPT_TOKENS),
        prefix_queries=_total(samples, PREFIX_QUERIES),
        prefix_hits=_total(samples, PREFIX_HITS),
        preemptions=_total(samples, PREEMPTIONS),
        asleep=any(
            value == 0 and _label_values(labels).get(b"sleep_state") == b"awake"
            for labels, value in samples.get(SLEEP_STATE, ())
        ),
        models=_models(labels for labels, _ in samples[RUNNING]),
    )


def is_filtered(text: bytes) -> bool:
    """Whether a text holds no more than was asked for by `NAMES`."""
    return text.count(b"\n# TYPE ") <= len(NAMES)


def foreign_load(
    running: int, waiting: int, waiting_weight: float, own_in_flight_when_scraped: int
) -> float:
    """Return the part of a scraped load that others than fastroute cause, in requests.

    Args:
        running: Requests the server worked on when scraped.
        waiting: Requests in its queue then.
        waiting_weight: How much of a running request a waiting one counts.
        own_in_flight_when_scraped: Requests that all workers had with the server then.
    """
    return max(0.0, running + waiting_weight * waiting - own_in_flight_when_scraped)


def decayed(foreign: float, age: float, interval: float) -> float:
    """Return what a foreign load is still worth: all of it for 3 intervals, then it halves each.

    Args:
        foreign: The load as scraped.
        age: Seconds since the scrape.
        interval: Seconds between scrapes.
    """
    stale_intervals = age / interval - 3
    return foreign if stale_intervals <= 0 else foreign * 0.5**stale_intervals


def _read_samples(text: bytes) -> Samples:
    samples: Samples = {}
    # The line feed in front makes the first line like any other.
    for match in _LINE.finditer(b"\n" + text):
        name, rest = match.groups()
        before, brace, value = rest.rpartition(b"} ")
        labels = _pairs(before) if brace and _PLAIN_NUMBER.fullmatch(value) else None
        if labels is None:
            sample = _SAMPLE.fullmatch(rest)
            if sample is None:
                raise BadMetrics(f"the line of {_full(name)} makes no sense")
            labels, value = sample.groups(b"")
        samples.setdefault(name, []).append((labels, float(value)))
    return samples


@lru_cache(4096)  # A server's labels are the same each time: 0.1 us in place of 3.
def _pairs(text: bytes) -> bytes | None:
    """Return what is between the braces if that is sound; the closing one is not in the text."""
    found = _LABELS.fullmatch(text)
    return None if found is None else found[1]


def _requests(samples: Samples, name: bytes) -> int:
    """Add the samples of a gauge that must be there."""
    found = samples.get(name)
    if not found:
        raise BadMetrics(f"{_full(name)} is missing")
    for _, value in found:
        # NaN compares false with everything, so it fails this too.
        if not 0 <= value <= MAX_REQUESTS:
            raise BadMetrics(f"{_full(name)} is {value:g}")
    return min(MAX_REQUESTS, round(sum(value for _, value in found)))


def _optional(samples: Samples, names: Sequence[bytes]) -> list[float] | None:
    """Return the values of the first name that is there, or None if any of them is no count."""
    for name in names:
        if name in samples:
            values = [value for _, value in samples[name]]
            return values if all(0 <= value <= MAX_COUNT for value in values) else None
    return None


def _total(samples: Samples, names: Sequence[bytes]) -> int | None:
    values = _optional(samples, names)
    return None if values is None else min(MAX_COUNT, round(sum(values)))


def _models(labels: Iterable[bytes]) -> tuple[str, ...]:
    found = {_label_values(each).get(b"model_name") for each in labels} - {None}
    return tuple(sorted(_unescaped(name) for name in found if name))


@lru_cache(4096)
def _label_values(labels: bytes) -> Mapping[bytes, bytes]:
    return dict(_LABEL.findall(labels))


def _unescaped(value: bytes) -> str:
    # A dot does not match a line feed, and a line holds none.
    plain = _ESCAPE.sub(lambda match: b"\n" if match[1] == b"n" else match[1], value)
    return plain.decode(errors="replace")


def _full(name: bytes) -> str:
    return f"vllm:{name.decode()}"
