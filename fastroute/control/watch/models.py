"""Which models each server has, and the one list of all of them for clients.

A model's JSON object is kept as the server wrote it: nothing is left out that fastroute does not
know, be it the largest context length, the parent of a LoRA adapter or a field of next year.
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
"""Seconds that a server has to answer; as for its health, since a loaded one is slow."""

RETRY_INTERVAL = 5.0
"""Seconds at most until the next attempt after one that failed."""

JITTER = 0.1
"""Part of the interval by which a round may come earlier."""

RENEWED_FIELDS = ("created", "permission")
"""vLLM makes these anew for each answer; a model that differs in them alone has not changed."""

Models = Mapping[str, msgspec.Raw]
"""A server's models by id, in its order, each the JSON object as it came."""


class BadModels(Exception):
    """The body is no list of models; the message says why, in a few words."""


class _ModelList(msgspec.Struct):
    data: list[msgspec.Raw]


class _Model(msgspec.Struct):
    id: str


_LIST_DECODER = msgspec.json.Decoder(_ModelList)
_MODEL_DECODER = msgspec.json.Decoder(_Model)
_ENCODER = msgspec.json.Encoder()


def parse_models(body: bytes) -> Models:
    """Read a server's answer to GET /v1/models. Of two models with one id the first counts.

    Raises:
        BadModels: It is no list of models.
    """
    models: dict[str, msgspec.Raw] = {}
    try:
        # Fields that are skipped are not looked at closely; what clients get must be sound.
        msgspec.json.decode(body)
        for raw in _LIST_DECODER.decode(body).data:
            # A copy, or each would keep the whole body alive.
            models.setdefault(_MODEL_DECODER.decode(raw).id, raw.copy())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadModels(f"no list of models: {error}") from None
    return models


def settled(known: Models | None, listed: Models) -> Models:
    """Return `known` itself if the models listed now are the same, else `listed`.

    So that "changed" can be asked with `is`, and clients see the same `created` each time.

    Args:
        known: What this function returned the last time, or None.
        listed: What the server has listed now.
    """
    if known is None or list(known) != list(listed):
        return listed
    unchanged = all(_substance(known[model]) == _substance(listed[model]) for model in listed)
    return known if unchanged else listed


def merge(lists: Iterable[Models]) -> bytes:
    """Return the JSON list of all models, one object for each id: that of the first who has it.

    Args:
        lists: The models of each server, in the order of the configuration.
    """
    merged: dict[str, msgspec.Raw] = {}
    for models in lists:
        for model, raw in models.items():
            merged.setdefault(model, raw)
    return _ENCODER.encode({"object": "list", "data": list(merged.values())})


class Listed(Protocol):
    """A server whose models are listed; what it says is asked anew in each round."""

    @property
    def models_refresh_interval(self) -> float:
        """Seconds between two rounds."""

    def models_listed(self, models: Models) -> None:
        """Take a list; the same object as the last time if nothing has changed."""

    def listing_failed(self, reason: str) -> None:
        """Take note that there is no list this time."""


async def fetch_models(client: ServerClient, within: float) -> Models:
    """Ask a server for its models.

    Raises:
        ClientError: There is no answer.
        BadModels: It is no list of models.
    """
    reply = await client.get(MODELS, within)
    if reply.status != 200:
        raise BadModels(f"{MODELS} answered {reply.status}")
    return parse_models(reply.body)


async def keep_listing(
    server: Listed,
    client: ServerClient,
    refresh: asyncio.Event,
    rng: Callable[[], float] = random.random,
) -> None:
    """List a server's models until cancelled, first at once. Closes the client at the end.

    Args:
        server: Told of each round.
        client: For this loop alone.
        refresh: Set it to have a round at once, as after a recovery.
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
