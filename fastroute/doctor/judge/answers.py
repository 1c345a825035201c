"""What a server's models, key, metrics and capacity mean. Pure: no I/O."""

from fastroute.doctor.facts import Facts, KvCache, Metrics, Models
from fastroute.doctor.findings import Findings, error, ok, unknown, warning
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
"""Metrics that fastroute shows or routes by; of each, names from newest to oldest."""

TOKENS_AT_ONCE = 512
"""Tokens of KV cache that each of max_concurrent_requests should find; a short chat needs more."""


def judge_models(facts: Facts) -> Findings:
    """Judge the list of models, against those pinned to the server."""
    models = facts.models
    if models is None:
        return []
    pinned = facts.server.models
    if models.names is None:
        if pinned is not None:
            return ok(f"{_listed(pinned)}, as configured ({models.error})")
        return error(
            f"its models are not known: {models.error}",
            "name them: models = [ ... ] in its entry, or let it answer /v1/models",
        )
    missing = [name for name in pinned or () if name not in models.names]
    if missing:
        return error(
            f"it does not list {_listed(missing)}",
            f"requests for these fail there: correct models in its entry, or start vLLM with "
            f"--served-model-name; it lists {_listed(models.names) or 'none'}",
        )
    if not models.names:
        return warning("it lists no models", "it gets no request that names one")
    return ok(_listed(models.names))


def _listed(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(names)


def judge_key(facts: Facts) -> Findings:
    """Judge the API key: needed, refused, or neither."""
    models = facts.models
    if models is None or models.status is None:
        return []
    refused = models.status in REFUSED
    if facts.server.api_key is None:
        if not refused:
            return ok("none is needed")
        return warning(
            f"it needs a key and none is configured: /v1/models answers {models.status}",
            "set api_key or api_key_env in its entry; without, clients must send their own and "
            "its models must be named",
        )
    if refused:
        return error(
            f"it refuses the configured key: /v1/models answers {models.status}",
            "correct api_key or api_key_env; it must be what vLLM's --api-key says",
        )
    if facts.status_without_key in REFUSED:
        return ok("the configured key is accepted")
    return ok("a key is configured and accepted, and so are requests without")


def judge_metrics(facts: Facts) -> Findings:
    """Judge whether the load can be read, and what of it is not told."""
    metrics = facts.metrics
    if metrics is None:
        return []
    if metrics.load is None:
        return error(
            f"its load is not known: {metrics.error}",
            "requests that others send there are not seen: start vLLM without "
            '--disable-log-stats and let /metrics through, or use policy = "least_inflight"',
        )
    if metrics.load.asleep:
        return error("its engine is asleep", "POST /wake_up to it; requests hang until then")
    found = [_newest(metrics, names) for names in WANTED]
    missing = [_full(names[0]) for names, name in zip(WANTED, found, strict=True) if not name]
    older = [_full(name) for names, name in zip(WANTED, found, strict=True) if name not in
             (None, names[0])]  # fmt: skip
    words = f"{len(WANTED) - len(missing)} of {len(WANTED)} found"
    words += f", under older names: {_listed(older)}" if older else ""
    if missing:
        return warning(
            f"{words}; missing: {_listed(missing)}",
            "routing works without these; the monitor shows - in their place. Is it an older "
            "vLLM, or another server?",
        )
    return ok(f"{words}; it has {metrics.load.running} running, {metrics.load.waiting} waiting")


def _newest(metrics: Metrics, names: tuple[bytes, ...]) -> bytes | None:
    return next((name for name in names if _full(name) in metrics.names), None)


def _full(name: bytes) -> str:
    return VLLM + name.decode()


def judge_filtered(facts: Facts) -> Findings:
    """Judge whether it can be asked for our metrics alone."""
    filtered, metrics = facts.filtered, facts.metrics
    if filtered is None or metrics is None or metrics.load is None:
        return []
    whole = f"{metrics.size / 1000:.1f} kB"
    if filtered.error:
        return warning(
            f"does not work: {filtered.error}; each scrape reads all {whole}",
            "load is read all the same, at some cost to vLLM's event loop: update vLLM, or raise "
            "scrape_interval. With several API servers (--api-server-count) vLLM cannot do it",
        )
    return ok(f"works: {filtered.size / 1000:.1f} kB in place of {whole}")


def judge_capacity(facts: Facts) -> Findings:
    """Judge max_concurrent_requests against what can be known of vLLM's own limits."""
    metrics, at_once = facts.metrics, facts.server.max_concurrent_requests
    if metrics is None or metrics.load is None:
        return []
    return _queueing(metrics, at_once) or _room(facts.models, metrics, at_once)


def _queueing(metrics: Metrics, at_once: int) -> Findings:
    """Return what it shows by itself: it lets requests wait though it has less than configured."""
    assert metrics.load is not None, "there is a load"
    running, waiting = metrics.load.running, metrics.load.waiting
    if waiting and 0 < running < at_once:
        return warning(
            f"it runs only {running} requests while {waiting} wait; max_concurrent_requests is "
            f"{at_once}",
            f"it is full sooner than configured: set max_concurrent_requests = {running}, or "
            "raise vLLM's --max-num-seqs or its KV cache",
        )
    return []


def _room(models: Models | None, metrics: Metrics, at_once: int) -> Findings:
    limit = "vLLM does not tell --max-num-seqs: max_concurrent_requests should not be above it"
    cache = metrics.kv_cache
    if cache is None:
        return unknown(
            f"max_concurrent_requests is {at_once}; the KV cache's size is not told", limit
        )
    each = cache.tokens // at_once
    words = (
        f"max_concurrent_requests is {at_once}; the KV cache holds {count(cache.tokens)} tokens, "
        f"{count(each)} for each{_full_length(models, cache)}"
    )
    preempted = metrics.load.preemptions if metrics.load is not None else None
    if preempted:
        words += f"; requests put back for want of room since it started: {preempted}"
    if each < TOKENS_AT_ONCE:
        return warning(
            words,
            "it starts more than its memory lets it finish at once: set max_concurrent_requests "
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
        "" if full_requests is None else f", room for {count(full_requests)} of full length{told}"
    )
