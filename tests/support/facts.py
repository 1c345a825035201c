"""Facts of a healthy server, with given changes."""

from typing import Any

from fastroute.config import parse_config
from fastroute.doctor.facts import (
    Abort,
    Certificate,
    Facts,
    Filtered,
    KeepAlive,
    KvCache,
    Metrics,
    Models,
    Reach,
    Step,
    Stream,
)
from fastroute.rules.load import LoadReport
from tests.support.config_file import toml_text

NOW = 1_800_000_000.0
DAY = 86_400
NAMES = (
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:engine_sleep_state",
    "vllm:kv_cache_usage_perc",
    "vllm:generation_tokens_total",
    "vllm:prompt_tokens_total",
    "vllm:prefix_cache_queries_total",
    "vllm:prefix_cache_hits_total",
    "vllm:num_preemptions_total",
)


def reach(**fields: Any) -> Reach:
    values: dict[str, Any] = {
        "step": Step.DONE,
        "addresses": ("10.0.0.1",),
        "lookup": 0.001,
        "connect": 0.002,
        "answer": 0.003,
        "status": 200,
        "clock_ahead": 0.0,
        "asked_at": NOW,
    }
    return Reach(**(values | fields))


def certificate(days: float, issuer: str = "Our CA") -> Certificate:
    return Certificate(expires_at=NOW + days * DAY, issuer=issuer, protocol="TLSv1.3")


def metrics(**fields: Any) -> Metrics:
    """Return metrics; `running`, `waiting`, `asleep` and `preemptions` belong to their load."""
    load: dict[str, Any] = {"running": 0, "waiting": 0, "preemptions": 0}
    load |= {name: fields.pop(name) for name in (*load, "asleep") if name in fields}
    values: dict[str, Any] = {
        "size": 54_321,
        "names": NAMES,
        "load": LoadReport(**load),
        "kv_cache": KvCache(65_536, 8.0),
    }
    return Metrics(**(values | fields))


def stream(count: int = 32, interval: float = 0.01, **fields: Any) -> Stream:
    """Return a stream of evenly spaced events, the first after 50 ms."""
    events = tuple(0.05 + interval * number for number in range(count))
    values: dict[str, Any] = {
        "model": "m",
        "one_token": 0.05,
        "head_at": 0.01,
        "events_at": events,
        "ended_at": events[-1] if events else 0.05,
        "is_done": True,
    }
    return Stream(**(values | fields))


def facts(
    url: str = "http://gpu-1:8000",
    entry: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
    **measured: Any,
) -> Facts:
    """Return the facts of a healthy server, with all measurements.

    Args:
        url: URL of the server.
        entry: Further fields of its entry in the configuration.
        settings: Settings of section [config].
        measured: Fields of Facts to change.
    """
    config = parse_config(toml_text({"url": url, **(entry or {})}, **(settings or {})), "t")
    values: dict[str, Any] = {
        "reach": reach(),
        "version": "0.32.0",
        "models": Models(status=200, names=("m",), context_lengths={"m": 8192}),
        "metrics": metrics(),
        "filtered": Filtered(size=540),
        "keep_alive": KeepAlive(closed_after=5.0, waited=5.0),
        "stream": stream(),
        "abort": Abort(before=0, during=1, back_after=0.03, waited=0.03, rest=4.0),
    }
    return Facts(server=config.servers[0], config=config, **(values | measured))
