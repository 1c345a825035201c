"""Judgements of a server's models, API key, metrics and capacity. Pure: no I/O."""

from fastroute.doctor.facts import Facts, KvCache, Metrics, Models
from fastroute.doctor.findings import Findings, error, ok, unknown, warning
from fastroute.printable import listed
from fastroute.rules import load
from fastroute.wording import count

REFUSED = (401, 403)
VLLM = "vllm:"

WANTED = (
    (load.RUNNING,),
    (load.WAITING,),
    load.KV_CACHE_USAGE,
    load.GENERATION_TOKENS,
    load.PROMPT_TOKENS,
    load.PREFIX_QUERIES,
    load.PREFIX_HITS,
    load.PREEMPTIONS,
)
"""Metrics that fastroute shows or uses for routing; for each, its names from newest to oldest."""

TOKENS_AT_ONCE = 512
"""Minimum tokens of KV cache per max_concurrent_requests; a short chat needs more."""


def judge_models(facts: Facts) -> Findings:
    """Compare the listed models with those configured for the server."""
    models = facts.models
    if models is None:
        return []
    pinned = facts.server.models
    if models.names is None:
        if pinned is not None:
            return ok(f"{listed(pinned)}, as configured ({models.error})")
        return error(
            f"models unknown: {models.error}",
            "list them in its entry (models = [ ... ]), or make /v1/models available",
        )
    missing = [name for name in pinned or () if name not in models.names]
    if missing:
        return error(
            f"does not list {listed(missing)}",
            "requests for these models fail there: correct models in its entry, or start vLLM with "
            f"--served-model-name; it lists {listed(models.names) or 'none'}",
        )
    if not models.names:
        return warning("lists no models", "it gets no request that names a model")
    return ok(listed(models.names))


def judge_key(facts: Facts) -> Findings:
    """Check if an API key is required, and if the configured one is accepted."""
    models = facts.models
    if models is None or models.status is None:
        return []
    refused = models.status in REFUSED
    if facts.server.api_key is None:
        if not refused:
            return ok("not required")
        return warning(
            f"required but not configured: /v1/models returns {models.status}",
            "set api_key or api_key_env in its entry; otherwise clients must send a key and "
            "its models must be listed there",
        )
    if refused:
        return error(
            f"the configured key is rejected: /v1/models returns {models.status}",
            "correct api_key or api_key_env: it must be the value of vLLM's --api-key",
        )
    if facts.status_without_key in REFUSED:
        return ok("the configured key is accepted")
    return ok("the configured key is accepted, and so are requests without a key")


def judge_metrics(facts: Facts) -> Findings:
    """Check if the load can be read, and which metrics are missing."""
    metrics = facts.metrics
    if metrics is None:
        return []
    if metrics.load is None:
        return error(
            f"load unknown: {metrics.error}",
            "requests from other clients are not counted: start vLLM without "
            '--disable-log-stats and let /metrics through, or use policy = "least_inflight"',
        )
    if metrics.load.asleep:
        return error("the engine is asleep", "send POST /wake_up to it; requests hang until then")
    found = [_newest(metrics, names) for names in WANTED]
    missing = [_full(names[0]) for names, name in zip(WANTED, found, strict=True) if not name]
    older = [_full(name) for names, name in zip(WANTED, found, strict=True) if name not in
             (None, names[0])]  # fmt: skip
    words = f"{len(WANTED) - len(missing)} of {len(WANTED)} found"
    words += f", under older names: {listed(older)}" if older else ""
    if missing:
        return warning(
            f"{words}; missing: {listed(missing)}",
            "routing works without these; the monitor shows - instead. Is it an older "
            "vLLM, or not vLLM?",
        )
    return ok(f"{words}; requests: {metrics.load.running} running, {metrics.load.waiting} waiting")


def _newest(metrics: Metrics, names: tuple[bytes, ...]) -> bytes | None:
    return next((name for name in names if _full(name) in metrics.names), None)


def _full(name: bytes) -> str:
    return VLLM + name.decode()


def judge_filtered(facts: Facts) -> Findings:
    """Check if a scrape can be limited to the metrics that fastroute reads."""
    filtered, metrics = facts.filtered, facts.metrics
    if filtered is None or metrics is None or metrics.load is None:
        return []
    whole = f"{metrics.size / 1000:.1f} kB"
    if filtered.error:
        return warning(
            f"cannot be filtered: {filtered.error}; each scrape reads all {whole}",
            "the load is read anyway, at some cost to vLLM's event loop: update vLLM, or raise "
            "scrape_interval. With several API servers (--api-server-count) vLLM cannot filter",
        )
    return ok(f"filtered: {filtered.size / 1000:.1f} kB instead of {whole}")


def judge_capacity(facts: Facts) -> Findings:
    """Compare max_concurrent_requests with the known limits of vLLM."""
    metrics, at_once = facts.metrics, facts.server.max_concurrent_requests
    if metrics is None or metrics.load is None:
        return []
    return _queueing(metrics, at_once) or _room(facts.models, metrics, at_once)


def _queueing(metrics: Metrics, at_once: int) -> Findings:
    """Return a warning if requests wait although fewer run than max_concurrent_requests."""
    assert metrics.load is not None, "there is a load"
    running, waiting = metrics.load.running, metrics.load.waiting
    if waiting and 0 < running < at_once:
        return warning(
            f"only {running} requests run while {waiting} wait; max_concurrent_requests is "
            f"{at_once}",
            f"its capacity is lower than configured: set max_concurrent_requests = {running}, or "
            "raise vLLM's --max-num-seqs or its KV cache",
        )
    return []


def _room(models: Models | None, metrics: Metrics, at_once: int) -> Findings:
    limit = "max_concurrent_requests should not exceed vLLM's --max-num-seqs, which is not reported"
    cache = metrics.kv_cache
    if cache is None:
        return unknown(
            f"max_concurrent_requests is {at_once}; the size of the KV cache is not reported", limit
        )
    each = cache.tokens // at_once
    words = (
        f"max_concurrent_requests is {at_once}; the KV cache holds {count(cache.tokens)} tokens, "
        f"{count(each)} per request{_full_length(models, cache)}"
    )
    preempted = metrics.load.preemptions if metrics.load is not None else None
    if preempted:
        words += f"; requests preempted since it started: {preempted}"
    if each < TOKENS_AT_ONCE:
        return warning(
            words,
            "its memory is too small for the requests it runs: set max_concurrent_requests "
            "lower, or give vLLM more memory (--gpu-memory-utilization)",
        )
    return ok(f"{words}. {limit}")


def _full_length(models: Models | None, cache: KvCache) -> str:
    length = max((models.context_lengths if models else {}).values(), default=0)
    full_requests = cache.full_requests
    if full_requests is None and length:
        full_requests = cache.tokens / length
    told = f" ({count(length)} tokens)" if length else ""
    return (
        "" if full_requests is None else f", enough for {count(full_requests)} of full length{told}"
    )
