"""The load of a server, parsed from its /metrics, and the part of it that is foreign.

The text is in Prometheus' format 0.0.4 or OpenMetrics, with vLLM's names, newer and older ones.
Only lines with the names that are read are parsed: one search over the bytes finds them in about
0.05 ms for the 64 KB of a busy server; a full parser takes 100 times as long.

An unreliable report is refused as a whole (`BadMetrics`): the number of running or waiting requests
is missing, malformed, negative or not finite; or the text is truncated. HTTP detects a truncated
body unless the body ends with its connection; then the last line must be complete. A truncated
report could show less load than there is and attract requests, so no report is better than an
incomplete one. All other metrics are optional: one with a malformed sample is unknown.
"""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeVar

import msgspec

MAX_REQUESTS = 10**9
"""Maximum number of running or waiting requests; more are an error and would not fit our cells."""

MAX_METRICS_BYTES = 4 << 20
"""Limit for the text. That of a server is 64 KB, of many engines some hundreds."""

MAX_SAMPLES = 20_000
"""Limit for the samples with the names that are read; an engine has 11."""

MAX_SAMPLE_BYTES = 4096
"""Limit for one of these samples, whose labels have the names of a model and an engine."""

MAX_MODELS = 1000
"""Number of samples whose names of models are read; they are only shown."""

MAX_COUNT = 2**53
"""Maximum value of a counter: vLLM's counters are floats, which cannot count beyond it."""

RUNNING = b"num_requests_running"
WAITING = b"num_requests_waiting"
SLEEP_STATE = b"engine_sleep_state"
# Newer names first. If a version exports both, they have the same value and must not be added.
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
"""Full names of all samples that are read, for a scrape that requests only these."""

ACCEPTED = (
    b"text/plain;version=0.0.4, text/plain;q=0.8, "
    b"application/openmetrics-text;version=1.0.0;q=0.5, */*;q=0.1"
)
"""Value of Accept for a scrape: the formats that are read, and that of vLLM first."""

# Starts with a literal, so that the search skips to candidates: 37 us for 64 KB, 525 us with `^`.
# The lookahead excludes longer names with the same start, such as num_requests_waiting_by_reason.
_LINE = re.compile(rb"\n[ \t]*vllm:(" + b"|".join(_SHORT_NAMES) + rb")(?![A-Za-z0-9_:])([^\n]*)")

# Possessive quantifiers, so that no text causes excessive backtracking.
_NAME = rb"[A-Za-z_][A-Za-z0-9_]*+"
_PAIR = _NAME + rb'[ \t]*+=[ \t]*+"(?:[^"\\]|\\.)*+"[ \t]*+'
_PAIRS = rb"[ \t]*+(?:" + _PAIR + rb"(?:,[ \t]*+" + _PAIR + rb")*+(?:,[ \t]*+)?)?"
_NUMBER = rb"[+-]?(?:[0-9]++\.?[0-9]*+|\.[0-9]++)(?:[eE][+-]?[0-9]++)?"
_SAMPLE = re.compile(
    rb"[ \t]*+(?:\{(" + _PAIRS + rb")\}[ \t]*+|(?<=[ \t]))"
    rb"(" + _NUMBER + rb"|[+-]?(?i:nan|inf))"
    # A timestamp may follow: of integers, or in OpenMetrics of floats and before an exemplar.
    rb"(?:[ \t]++" + _NUMBER + rb")?+(?:[ \t]++#[^\n]*+)?+[ \t\r]*+"
)
# The form of nearly all samples: labels, one space, a number.
_LABELS = re.compile(rb"\{(" + _PAIRS + rb")")
_PLAIN_NUMBER = re.compile(rb"[0-9]++(?:\.[0-9]++)?(?:e[+-][0-9]++)?")
_LABEL = re.compile(rb"(" + _NAME + rb')[ \t]*+=[ \t]*+"((?:[^"\\]|\\.)*+)"')
_ESCAPE = re.compile(rb"\\(.)")

# Labels that are the same in each scrape are remembered: at most 8 MB, whatever servers send.
_REMEMBERED = 4096
_MAX_REMEMBERED_BYTES = 512

Result = TypeVar("Result")

Samples = dict[bytes, list[tuple[bytes, float]]]
"""Labels (unparsed) and value of each sample, by name without `vllm:`."""


_REQUIRED = (RUNNING, WAITING)
_WHOLE_ENDS = (b"\n", b"\n# EOF")


class BadMetrics(Exception):
    """The text has no reliable information about a server's load."""


class LoadReport(msgspec.Struct, frozen=True, kw_only=True):
    """Load of a server as it reports it; None for values that it does not report.

    Attributes:
        running: Requests that run, over all engines and models.
        waiting: Requests in the queue, over all engines and models.
        kv_cache_usage: KV cache in use, from 0 to 1, of the fullest engine.
        generation_tokens: Tokens generated since the server started.
        prompt_tokens: Prompt tokens processed since the server started.
        prefix_queries: Prompt tokens queried in the prefix cache.
        prefix_hits: Prompt tokens found in the prefix cache.
        preemptions: Requests that were preempted because memory was short.
        asleep: True if an engine sleeps; it accepts requests and does not respond.
        models: Model names in the labels, sorted; of the first `MAX_MODELS` samples.
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


def parse_metrics(text: bytes, *, ends_with_connection: bool = False) -> LoadReport:
    """Parse the load of a server from its /metrics, filtered or not.

    Args:
        text: The text; its last line may lack the line feed.
        ends_with_connection: True if only the end of the connection ended the text, so that it may
            be truncated anywhere.

    Raises:
        BadMetrics: The text is truncated, or a required metric is missing or malformed; the
            message says which.
    """
    if len(text) > MAX_METRICS_BYTES:
        raise BadMetrics(f"the metrics are longer than {MAX_METRICS_BYTES} bytes")
    if not text:
        raise BadMetrics("the metrics are empty")
    if ends_with_connection and not text.endswith(_WHOLE_ENDS):
        raise BadMetrics("the metrics are truncated")
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
            value == 0 and _labels_read(labels).sleep_state == b"awake"
            for labels, value in samples.get(SLEEP_STATE, ())
        ),
        models=_models(labels for labels, _ in samples[RUNNING][:MAX_MODELS]),
    )


def is_filtered(text: bytes) -> bool:
    """Return True if a text has only the metrics that were requested with `NAMES`."""
    return text.count(b"\n# TYPE ") <= len(NAMES)


def foreign_load(
    running: int, waiting: int, waiting_weight: float, own_in_flight_when_scraped: int
) -> float:
    """Return the part of a scraped load that does not come from fastroute, in requests.

    Args:
        running: Requests that ran at the scrape.
        waiting: Requests in the queue at the scrape.
        waiting_weight: Load of a waiting request, in running requests.
        own_in_flight_when_scraped: Requests of all workers in flight at the scrape.
    """
    return max(0.0, running + waiting_weight * waiting - own_in_flight_when_scraped)


FROZEN_AFTER = 10
"""Reports alike after which the load of others halves with each; a long prefill is shorter."""


class ForeignLoad:
    """The load that others than fastroute cause at one server, and its worth as time passes.

    vLLM's gauges may stand still for ever (seen after mass aborts in some versions). Requests that
    run move a counter of tokens sooner or later, so a load whose gauges and counters do not move is
    none. Without counters this cannot be told.
    """

    __slots__ = ("_alike", "_last", "_requests")

    def __init__(self) -> None:
        self._requests = 0.0
        self._last: LoadReport | None = None
        self._alike = 0

    def note_report(
        self, report: LoadReport, waiting_weight: float, own_in_flight_when_scraped: int
    ) -> float:
        """Take a report and return the load, in requests; the arguments are `foreign_load`'s."""
        has_counters = (report.generation_tokens, report.prompt_tokens) != (None, None)
        self._alike = self._alike + 1 if has_counters and report == self._last else 0
        self._last = report
        load = foreign_load(
            report.running, report.waiting, waiting_weight, own_in_flight_when_scraped
        )
        self._requests = load * 0.5 ** max(0, self._alike - FROZEN_AFTER)
        return self._requests

    def worth(self, age: float, interval: float) -> float:
        """Return the load as it counts now: all of it for 3 intervals, then it halves each.

        Args:
            age: Seconds since the last report.
            interval: Seconds between reports.
        """
        stale_intervals = age / interval - 3
        return self._requests if stale_intervals <= 0 else self._requests * 0.5**stale_intervals


def _read_samples(text: bytes) -> Samples:
    samples: Samples = {}
    unreadable: set[bytes] = set()  # optional metrics with a malformed sample
    # The pattern expects a line feed before each line, so add one before the first.
    for number, match in enumerate(_LINE.finditer(b"\n" + text)):
        name, rest = match.groups()
        if number == MAX_SAMPLES:
            raise BadMetrics(f"the metrics have more than {MAX_SAMPLES} samples of the load")
        if name in unreadable:
            continue
        try:
            samples.setdefault(name, []).append(_read_sample(name, rest))
        except BadMetrics:
            if name in _REQUIRED:
                raise
            unreadable.add(name)
    for name in unreadable:
        samples[name] = [(b"", math.nan)]  # no count is NaN, so the metric is unknown
    return samples


def _read_sample(name: bytes, rest: bytes) -> tuple[bytes, float]:
    """Return labels and value of a sample.

    Args:
        name: Name of the metric.
        rest: The line after the name.
    """
    if len(rest) > MAX_SAMPLE_BYTES:
        raise BadMetrics(f"a line of {_full(name)} is longer than {MAX_SAMPLE_BYTES} bytes")
    before, brace, value = rest.rpartition(b"} ")
    labels = _pairs(before) if brace and _PLAIN_NUMBER.fullmatch(value) else None
    if labels is None:
        sample = _SAMPLE.fullmatch(rest)
        if sample is None:
            raise BadMetrics(f"the line of {_full(name)} is malformed")
        labels, value = sample.groups(b"")
    return labels, float(value)


def _pairs(text: bytes) -> bytes | None:
    """Return the labels after the opening brace, or None if they are malformed.

    Args:
        text: Opening brace and labels, without the closing brace.
    """
    return text[1:] if _are_labels(text) else None


def _remembered(read: Callable[[bytes], Result]) -> Callable[[bytes], Result]:
    """Remember what was found in short texts: 0.1 us instead of 3."""
    remembering = lru_cache(_REMEMBERED)(read)
    return lambda text: (remembering if len(text) <= _MAX_REMEMBERED_BYTES else read)(text)


@_remembered
def _are_labels(text: bytes) -> bool:
    return _LABELS.fullmatch(text) is not None


def _requests(samples: Samples, name: bytes) -> int:
    """Return the sum of the samples of a required gauge."""
    found = samples.get(name)
    if not found:
        raise BadMetrics(f"{_full(name)} is missing")
    for _, value in found:
        # NaN fails this, too: every comparison with it is false.
        if not 0 <= value <= MAX_REQUESTS:
            raise BadMetrics(f"{_full(name)} is {value:g}")
    return min(MAX_REQUESTS, round(sum(value for _, value in found)))


def _optional(samples: Samples, names: Sequence[bytes]) -> list[float] | None:
    """Return the values of the first name that is present; None if a value is not a valid count."""
    for name in names:
        if name in samples:
            values = [value for _, value in samples[name]]
            return values if all(0 <= value <= MAX_COUNT for value in values) else None
    return None


def _total(samples: Samples, names: Sequence[bytes]) -> int | None:
    values = _optional(samples, names)
    return None if values is None else min(MAX_COUNT, round(sum(values)))


def _models(labels: Iterable[bytes]) -> tuple[str, ...]:
    found = {_labels_read(each).model_name for each in labels} - {b""}
    return tuple(sorted(map(_unescaped, found)))


class _Labels(NamedTuple):
    """The labels that are read; empty if they are missing."""

    model_name: bytes
    sleep_state: bytes


@_remembered
def _labels_read(labels: bytes) -> _Labels:
    values = dict(_LABEL.findall(labels))
    return _Labels(values.get(b"model_name", b""), values.get(b"sleep_state", b""))


def _unescaped(value: bytes) -> str:
    # A dot does not match a line feed, but a line has none.
    plain = _ESCAPE.sub(lambda match: b"\n" if match[1] == b"n" else match[1], value)
    return plain.decode(errors="replace")


def _full(name: bytes) -> str:
    return f"vllm:{name.decode()}"
