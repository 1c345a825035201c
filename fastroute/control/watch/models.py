"""The models of each server, and the merged list of all models for clients.

A model's JSON object is kept as the server sent it, so that fields unknown to fastroute are
preserved: the maximum context length, the parent of a LoRA adapter or a future field.

A list is not trusted: the number of models, their names and the sizes of their objects are limited,
because all of them go to each worker, and to each client that asks for them.
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

MIN_INTERVAL = 0.5
"""Minimum seconds between two rounds, whatever wakes the loop: a long list takes 0.1 s to read."""

JITTER = 0.1
"""Share of the interval by which a round may start earlier."""

RENEWED_FIELDS = ("created", "permission")
"""Fields that vLLM regenerates for each response; they do not count as a change of the model."""

MAX_MODELS = 10_000
"""Limit for the models of one server, and for the list for clients; the rest is ignored."""

MAX_NAME_CHARACTERS = 256
"""Limit for a model's name; a model with a longer one is ignored."""

MAX_CARD_BYTES = 16 << 10
"""Limit for a model's JSON object, of which vLLM needs 600; a longer one is replaced."""

MAX_LIST_BYTES = 8 << 20
"""Limit for the list for clients."""

Models = Mapping[str, msgspec.Raw]
"""A server's models by id, in its order, each with the unchanged JSON object."""


class ModelList(dict[str, msgspec.Raw]):
    """The models that a server lists.

    Attributes:
        ignored: Number of those that are missing here, because of a limit.
    """

    __slots__ = ("ignored",)

    def __init__(self, models: Models, ignored: int = 0) -> None:
        super().__init__(models)
        self.ignored = ignored


class BadModels(Exception):
    """The body is not a list of models; the message gives the reason in a few words."""


class _Model(msgspec.Struct, gc=False):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


class _Cards(msgspec.Struct):
    data: list[msgspec.Raw]


# The first refuses a list of anything else at its first element, before it takes memory.
_MODELS_DECODER = msgspec.json.Decoder(_Models)
_CARDS_DECODER = msgspec.json.Decoder(_Cards)
_ENCODER = msgspec.json.Encoder()


def parse_models(body: bytes) -> ModelList:
    """Parse a server's response to GET /v1/models. Of two models with the same id the first counts.

    Models beyond the limits are ignored.

    Raises:
        BadModels: The body is not a list of models.
    """
    models: dict[str, msgspec.Raw] = {}
    ignored = 0
    try:
        listed = _MODELS_DECODER.decode(body).data
        for model, raw in zip(listed, _CARDS_DECODER.decode(body).data, strict=True):
            if len(models) == MAX_MODELS or len(model.id) > MAX_NAME_CHARACTERS:
                ignored += 1
            elif model.id not in models:
                models[model.id] = _card(model.id, raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadModels(f"not a list of models: {error}") from None
    return ModelList(models, ignored)


def _card(model: str, raw: msgspec.Raw) -> msgspec.Raw:
    """Return the JSON object of a model, which is valid and not too long."""
    if memoryview(raw).nbytes > MAX_CARD_BYTES:
        return nameplate(model)
    # msgspec does not validate skipped fields; clients must get valid JSON.
    msgspec.json.decode(raw)
    # A copy, because a view would keep the whole body alive.
    return raw.copy()


def nameplate(model: str) -> msgspec.Raw:
    """Return a JSON object for a model of which only the name is known."""
    card = {"id": model, "object": "model", "created": 0, "owned_by": "fastroute"}
    return msgspec.Raw(_ENCODER.encode(card))


def settled(known: ModelList | None, listed: ModelList) -> ModelList:
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

    It ends at the limits.

    Args:
        lists: The models of each server, in the order of the configuration.
    """
    merged: dict[str, msgspec.Raw] = {}
    room = MAX_LIST_BYTES
    for models in lists:
        for model, raw in models.items():
            if model not in merged and len(merged) < MAX_MODELS:
                room -= memoryview(raw).nbytes
                if room < 0:
                    break
                merged[model] = raw
    return _ENCODER.encode({"object": "list", "data": list(merged.values())})


class Listed(Protocol):
    """A server whose models are listed; its properties are read again in each round."""

    @property
    def models_refresh_interval(self) -> float:
        """Seconds between two rounds."""

    def models_listed(self, models: ModelList) -> None:
        """Handle a list; it is the same object as the last time if nothing has changed."""

    def listing_failed(self, reason: str) -> None:
        """Handle a failed round."""

    def skipped(self, reason: str) -> None:
        """Handle a round that did not happen because of a limit of this process."""


async def fetch_models(client: ServerClient, within: float) -> ModelList:
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
    known: ModelList | None = None
    try:
        while True:
            interval = server.models_refresh_interval
            try:
                known = settled(known, await fetch_models(client, LISTING_TIMEOUT))
            except (ClientError, BadModels) as error:
                is_ours = isinstance(error, ClientError) and error.is_own_limit
                tell = server.skipped if is_ours else server.listing_failed
                tell(str(error))
                interval = min(interval, RETRY_INTERVAL)
            else:
                server.models_listed(known)
            interval *= 1 - JITTER * rng()
            at_least = min(MIN_INTERVAL, interval)
            await asyncio.sleep(at_least)
            await pause(interval - at_least, refresh)
    finally:
        client.close()


def _substance(model: msgspec.Raw) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.json.decode(model)
    return {name: value for name, value in fields.items() if name not in RENEWED_FIELDS}
