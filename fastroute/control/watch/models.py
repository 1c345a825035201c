"""The models of each server, and the merged list of all models for clients.

A model's JSON object is kept as the server sent it, so that fields unknown to fastroute are
preserved: the maximum context length, the parent of a LoRA adapter or a future field.
"""

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import msgspec

from fastroute.control.loops import pause
from fastroute.net.http_client import ClientError, ServerClient

MODELS = "/v1/models"

LISTING_TIMEOUT = 10.0
"""Seconds for the response; as long as for health checks, because a loaded server is slow."""

RETRY_INTERVAL = 5.0
"""Maximum seconds until the next attempt after a failed one."""

JITTER = 0.1
"""Share of the interval by which a round may start earlier."""

RENEWED_FIELDS = ("created", "permission")
"""Fields that vLLM regenerates for each response; they do not count as a change of the model."""

Models = Mapping[str, msgspec.Raw]
"""A server's models by id, in its order, each with the unchanged JSON object."""


class BadModels(Exception):
    """The body is not a list of models; the message gives the reason in a few words."""


class _ModelList(msgspec.Struct):
    data: list[msgspec.Raw]


class _Model(msgspec.Struct):
    id: str


_LIST_DECODER = msgspec.json.Decoder(_ModelList)
_MODEL_DECODER = msgspec.json.Decoder(_Model)
_ENCODER = msgspec.json.Encoder()


def parse_models(body: bytes) -> Models:
    """Parse a server's response to GET /v1/models. Of two models with the same id the first counts.

    Raises:
        BadModels: The body is not a list of models.
    """
    models: dict[str, msgspec.Raw] = {}
    try:
        # msgspec does not validate skipped fields; clients must get valid JSON.
        msgspec.json.decode(body)
        for raw in _LIST_DECODER.decode(body).data:
            # A copy, because a view would keep the whole body alive.
            models.setdefault(_MODEL_DECODER.decode(raw).id, raw.copy())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadModels(f"not a list of models: {error}") from None
    return models


def settled(known: Models | None, listed: Models) -> Models:
    """Return `known` itself if the models listed now are the same, else `listed`.

    Callers can then detect changes with `is`, and clients see the same `created` each time.

    Args:
        known: The previous result of this function, or None.
        listed: The models that the server lists now.
    """
    if known is None or list(known) != list(listed):
        return listed
    unchanged = all(_substance(known[model]) == _substance(listed[model]) for model in listed)
    return known if unchanged else listed


def merge(lists: Iterable[Models]) -> bytes:
    """Return the JSON list of all models, one object per id: that of the first server that has it.

    Args:
        lists: The models of each server, in the order of the configuration.
    """
    merged: dict[str, msgspec.Raw] = {}
    for models in lists:
        for model, raw in models.items():
            merged.setdefault(model, raw)
    return _ENCODER.encode({"object": "list", "data": list(merged.values())})


class Listed(Protocol):
    """A server whose models are listed; its properties are read again in each round."""

    @property
    def models_refresh_interval(self) -> float:
        """Seconds between two rounds."""

    def models_listed(self, models: Models) -> None:
        """Handle a list; it is the same object as the last time if nothing has changed."""

    def listing_failed(self, reason: str) -> None:
        """Handle a failed round."""


async def fetch_models(client: ServerClient, within: float) -> Models:
    """Fetch a server's models.

    Raises:
        ClientError: There is no response.
        BadModels: The body is not a list of models.
    """
    reply = await client.get(MODELS, within)
    if reply.status != 200:
        raise BadModels(f"{MODELS} returned {reply.status}")
    return parse_models(reply.body)


async def keep_listing(
    server: Listed,
    client: ServerClient,
    refresh: asyncio.Event,
    rng: Callable[[], float] = random.random,
) -> None:
    """List a server's models until cancelled, the first time immediately; then close the client.

    Args:
        server: Receives the result of each round.
        client: Used only by this loop.
        refresh: Set it to start a round immediately, for example after a recovery.
        rng: Returns a number from 0 up to 1.
    """
    known: Models | None = None
    try:
        while True:
            interval = server.models_refresh_interval
            try:
                known = settled(known, await fetch_models(client, LISTING_TIMEOUT))
            except (ClientError, BadModels) as error:
                server.listing_failed(str(error))
                interval = min(interval, RETRY_INTERVAL)
            else:
                server.models_listed(known)
            await pause(interval * (1 - JITTER * rng()), refresh)
    finally:
        client.close()


def _substance(model: msgspec.Raw) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.json.decode(model)
    return {name: value for name, value in fields.items() if name not in RENEWED_FIELDS}
