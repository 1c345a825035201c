"""Judgements of a server's models, API key, metrics and capacity."""

import pytest

from fastroute.doctor.facts import Filtered, KvCache, Metrics, Models
from fastroute.doctor.judge.answers import (
    judge_capacity,
    judge_filtered,
    judge_key,
    judge_metrics,
    judge_models,
)
from tests.support.facts import NAMES, facts, metrics
from tests.support.judged import one

NONE_LISTED = Models(status=404, error="/v1/models returned 404")


@pytest.mark.parametrize(
    ("pinned", "models", "severity", "words"),
    [
        pytest.param(None, Models(status=200, names=("a", "b")), "ok", "a, b", id="listed"),
        pytest.param(None, Models(status=200, names=()), "warning", "lists no models", id="none"),
        pytest.param(
            None, NONE_LISTED, "error",
            "models unknown: /v1/models returned 404", id="not-known",
        ),
        pytest.param(["a"], Models(status=200, names=("a", "b")), "ok", "a, b", id="pinned"),
        pytest.param(
            ["a", "x", "y"], Models(status=200, names=("a",)), "error", "does not list x, y",
            id="pinned-and-not-there",
        ),
        pytest.param(
            ["a"], NONE_LISTED, "ok", "a, as configured (/v1/models returned 404)",
            id="pinned-and-not-listed",
        ),
    ],
)  # fmt: skip
def test_models(pinned, models, severity, words):
    entry = {} if pinned is None else {"models": pinned}
    found = one(judge_models(facts(entry=entry, models=models)))
    assert found[:2] == (severity, words) if severity == "error" else found[0] == severity
    assert words in found[1]
    assert bool(found[2]) is (severity != "ok")


@pytest.mark.parametrize(
    ("key", "status", "without", "severity", "words"),
    [
        pytest.param(None, 200, None, "ok", "not required", id="none"),
        pytest.param(None, 404, None, "ok", "not required", id="not-found-is-no-refusal"),
        pytest.param(None, 401, None, "warning", "required but not configured", id="needed"),
        pytest.param(None, 403, None, "warning", "returns 403", id="forbidden"),
        pytest.param("k", 401, 401, "error", "the configured key is rejected", id="refused"),
        pytest.param("k", 200, 401, "ok", "the configured key is accepted", id="accepted"),
        pytest.param("k", 200, 200, "ok", "so are requests without a key", id="not-asked-for"),
    ],
)
def test_key(key, status, without, severity, words):
    entry = {} if key is None else {"api_key": key}
    models = Models(status=status, names=("m",) if status == 200 else None)
    found = one(judge_key(facts(entry=entry, models=models, status_without_key=without)))
    assert found[0] == severity
    assert words in found[1]
    assert key is None or key not in found[1].split()


OLDER = tuple(
    name.replace("vllm:kv_cache", "vllm:gpu_cache").replace("vllm:prefix", "vllm:gpu_prefix")
    for name in NAMES
)


@pytest.mark.parametrize(
    ("found", "severity", "words"),
    [
        pytest.param(metrics(running=3, waiting=1), "ok", "8 of 8 found; requests: 3 running, 1",
                     id="all"),
        pytest.param(
            metrics(names=OLDER), "ok",
            "8 of 8 found, under older names: vllm:gpu_cache_usage_perc, "
            "vllm:gpu_prefix_cache_queries_total, vllm:gpu_prefix_cache_hits_total",
            id="older",
        ),
        pytest.param(metrics(names=NAMES + OLDER), "ok", "8 of 8 found; requests:", id="both"),
        pytest.param(
            metrics(names=NAMES[:3]), "warning",
            "2 of 8 found; missing: vllm:kv_cache_usage_perc, ", id="missing",
        ),
        pytest.param(
            Metrics(error="vllm:num_requests_running is missing"), "error",
            "load unknown: vllm:num_requests_running is missing", id="no-load",
        ),
        pytest.param(metrics(asleep=True), "error", "the engine is asleep", id="asleep"),
    ],
)  # fmt: skip
def test_metrics(found, severity, words):
    judged = one(judge_metrics(facts(metrics=found)))
    assert judged[0] == severity
    assert judged[1].startswith(words)
    assert bool(judged[2]) is (severity != "ok")


def test_filtered():
    assert one(judge_filtered(facts())) == ("ok", "filtered: 0.5 kB instead of 54.3 kB", "")
    ignored = Filtered(error="the filter is ignored", size=54_321)
    severity, words, remedy = one(judge_filtered(facts(filtered=ignored)))
    assert (severity, words) == (
        "warning",
        "cannot be filtered: the filter is ignored; each scrape reads all 54.3 kB",
    )
    assert "scrape_interval" in remedy


@pytest.mark.parametrize(
    ("at_once", "found", "severity", "words"),
    [
        pytest.param(
            16, metrics(), "ok",
            "max_concurrent_requests is 16; the KV cache holds 66k tokens, 4.1k per request, "
            "enough for 8 of full length (8.2k tokens). max_concurrent_requests should not exceed",
            id="fine",
        ),
        pytest.param(
            16, metrics(kv_cache=KvCache(32_768)), "ok", "enough for 4 of full length",
            id="computed",
        ),
        pytest.param(16, metrics(preemptions=7), "ok", "it started: 7", id="preempted"),
        pytest.param(
            256, metrics(), "warning", "66k tokens, 256 per request", id="too-many-for-its-memory"
        ),
        pytest.param(
            16, metrics(running=4, waiting=9), "warning",
            "only 4 requests run while 9 wait; max_concurrent_requests is 16", id="queues",
        ),
        pytest.param(16, metrics(running=16, waiting=9), "ok", "is 16", id="full-as-configured"),
        pytest.param(16, metrics(running=0, waiting=9), "ok", "is 16", id="about-to-begin"),
        pytest.param(
            16, metrics(kv_cache=None), "unknown", "the size of the KV cache is not reported",
            id="not-reported",
        ),
    ],
)  # fmt: skip
def test_capacity(at_once, found, severity, words):
    entry = {"max_concurrent_requests": at_once}
    judged = one(judge_capacity(facts(entry=entry, metrics=found)))
    assert judged[0] == severity
    assert words in judged[1]
    assert bool(judged[2]) is (severity != "ok")


@pytest.mark.parametrize(
    "judge", [judge_models, judge_key, judge_metrics, judge_filtered, judge_capacity]
)
def test_no_findings_without_facts(judge):
    unasked = facts(models=None, metrics=None, filtered=None)
    assert judge(unasked) == []


@pytest.mark.parametrize("judge", [judge_filtered, judge_capacity])
def test_missing_metrics_are_reported_once(judge):
    """Another check already reports them as an error."""
    assert judge(facts(metrics=Metrics(error="/metrics returns 404"))) == []
