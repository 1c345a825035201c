"""Measurements of a server's version, models and metrics, with and without a filter."""

import contextlib
import re
from typing import Annotated

import msgspec

from fastroute.control.watch.models import MODELS, BadModels, parse_models
from fastroute.control.watch.scraper import ALL_METRICS, OUR_METRICS, get_metrics, load_in
from fastroute.doctor.facts import Facts, Filtered, Metrics, Models
from fastroute.doctor.measure.bench import ANSWER_TIMEOUT, Bench
from fastroute.doctor.measure.kv_cache import kv_cache
from fastroute.net.http_client import ClientError, Reply, ServerClient
from fastroute.printable import printable
from fastroute.rules.load import (
    MAX_COUNT,
    NAMES,
    BadMetrics,
    LoadReport,
    is_filtered,
)

_NAME = re.compile(rb"^(vllm:\w+)(?=[ {])", re.MULTILINE)


class _Version(msgspec.Struct):
    version: str


class _Card(msgspec.Struct):
    max_model_len: Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]


async def measure_version(bench: Bench, facts: Facts) -> None:
    """Fetch the version, which only vLLM reports."""
    try:
        reply = await bench.client.get("/version", ANSWER_TIMEOUT)
        facts.version = printable(msgspec.json.decode(reply.body, type=_Version).version)
    except (ClientError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        facts.version = None


async def measure_models(bench: Bench, facts: Facts) -> None:
    """Fetch the models; if a key is configured, once more without it."""
    facts.models = await _models(bench.client)
    if bench.server.api_key is None:
        return
    with contextlib.closing(bench.new_client(None)) as keyless:
        facts.status_without_key = (await _models(keyless)).status


async def measure_metrics(bench: Bench, facts: Facts) -> None:
    """Read all metrics, as fastroute does if filtering is not possible."""
    try:
        reply = await get_metrics(bench.client, ALL_METRICS, ANSWER_TIMEOUT)
    except ClientError as error:
        facts.metrics = Metrics(error=str(error))
        return
    if reply.status != 200:
        facts.metrics = Metrics(error=f"{ALL_METRICS} returns {reply.status}")
        return
    present = {name.decode() for name in _NAME.findall(reply.body)}
    load, why = _load(reply)
    facts.metrics = Metrics(
        error=why,
        size=len(reply.body),
        names=tuple(name for name in NAMES if name in present),
        load=load,
        kv_cache=kv_cache(reply.body),
    )


async def measure_filtered(bench: Bench, facts: Facts) -> None:
    """Fetch only the metrics that fastroute reads."""
    try:
        reply = await get_metrics(bench.client, OUR_METRICS, ANSWER_TIMEOUT)
    except ClientError as error:
        facts.filtered = Filtered(error=str(error))
        return
    if reply.status != 200:
        why = f"it returns {reply.status}"
    elif not is_filtered(reply.body):
        why = "the filter is ignored"
    else:
        _, why = _load(reply)
    facts.filtered = Filtered(error=why, size=len(reply.body))


def _load(reply: Reply) -> tuple[LoadReport | None, str]:
    """Return the load, or None and the reason."""
    try:
        return load_in(reply), ""
    except BadMetrics as error:
        return None, str(error)


async def _models(client: ServerClient) -> Models:
    try:
        reply = await client.get(MODELS, ANSWER_TIMEOUT)
    except ClientError as error:
        return Models(error=str(error))
    if reply.status != 200:
        return Models(status=reply.status, error=f"{MODELS} returned {reply.status}")
    try:
        listed = parse_models(reply.body)
    except BadModels as error:
        return Models(status=reply.status, error=str(error))
    lengths = {}
    for name, raw in listed.items():
        with contextlib.suppress(msgspec.ValidationError):
            lengths[name] = msgspec.json.decode(raw, type=_Card).max_model_len
    return Models(status=reply.status, names=tuple(listed), context_lengths=lengths)
