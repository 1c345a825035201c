"""What was measured of a server. Durations are seconds; None: it was not, or could not be."""

import enum
from collections.abc import Mapping

import msgspec

from fastroute.config import Config, ServerConfig
from fastroute.rules.load import LoadReport


class Step(enum.Enum):
    """How far the first request got; in this order."""

    NAME = "name"
    CONNECT = "connect"
    TLS = "tls"
    ANSWER = "answer"
    DONE = "done"


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """What the server showed, once it was trusted."""

    expires_at: float
    """Unix time."""
    issuer: str
    protocol: str
    """Such as TLSv1.3."""


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """The first request, GET /health.

    Attributes:
        step: Where it ended.
        error: Why it ended there; "" where it is done.
        addresses: What the name resolves to.
        lookup: Until the name was resolved.
        connect: From there until connected, TLS included.
        answer: From the request to the end of the answer.
        status: Of the answer.
        clock_ahead: By how much the server's clock (its Date, in whole seconds) is ahead of ours.
        asked_at: Unix time of ours.
        certificate: With https.
        speaks_tls: Whether an http:// server that did not answer takes TLS.
    """

    step: Step
    error: str = ""
    addresses: tuple[str, ...] = ()
    lookup: float | None = None
    connect: float | None = None
    answer: float | None = None
    status: int | None = None
    clock_ahead: float | None = None
    asked_at: float = 0.0
    certificate: Certificate | None = None
    speaks_tls: bool = False


class Models(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to GET /v1/models.

    Attributes:
        status: None where there was no answer.
        error: Why the models are not known; "" where they are.
        names: Those listed, or None.
        context_lengths: Tokens of prompt and answer together, for those of which it is told.
    """

    status: int | None = None
    error: str = ""
    names: tuple[str, ...] | None = None
    context_lengths: Mapping[str, int] = {}


class KvCache(msgspec.Struct, frozen=True):
    """What vllm:cache_config_info tells, summed over engines.

    Attributes:
        tokens: That fit in the cache.
        full_requests: Requests of the greatest length that fit at once, as vLLM reckons; or None.
    """

    tokens: int
    full_requests: float | None = None


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    """The whole text of /metrics, as far as it matters.

    Attributes:
        error: Why the load is not known; "" where it is.
        size: Bytes of the text.
        names: Of the samples that fastroute reads, in its own order.
        load: The load.
        kv_cache: The size of the KV cache.
    """

    error: str = ""
    size: int = 0
    names: tuple[str, ...] = ()
    load: LoadReport | None = None
    kv_cache: KvCache | None = None


class Filtered(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a scrape that asks for our names alone.

    Attributes:
        error: Why there is none that helps; "" if there is.
        size: Bytes of the text.
    """

    error: str = ""
    size: int = 0


class KeepAlive(msgspec.Struct, frozen=True, kw_only=True):
    """A connection left idle after an answer.

    Attributes:
        error: Why nothing was measured, or "".
        closed_after: When the server closed it; None where it had not when we stopped waiting.
        waited: How long we waited.
    """

    error: str = ""
    closed_after: float | None = None
    waited: float = 0.0


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """A small generation that was streamed, and one token for comparison.

    Attributes:
        model: That was asked for.
        error: Why there was no stream, or "".
        status: Of the answer that was an error; None where there was no answer.
        one_token: How long a request for a single token took.
        head_at: When the head came, from the request on, as are the next.
        events_at: When each event came.
        ended_at: When the stream ended.
        is_done: Whether it ended with [DONE].
    """

    model: str = ""
    error: str = ""
    status: int | None = None
    one_token: float = 0.0
    head_at: float = 0.0
    events_at: tuple[float, ...] = ()
    ended_at: float = 0.0
    is_done: bool = False

    @property
    def spread(self) -> float:
        """From the first event to the last."""
        return self.events_at[-1] - self.events_at[0] if self.events_at else 0.0

    @property
    def pace(self) -> float | None:
        """Seconds for a token, also where its event was held back."""
        count = len(self.events_at)
        taken = max(self.spread, self.ended_at - self.one_token)
        return max(0.0, taken) / (count - 1) if count > 1 else None


class Abort(msgspec.Struct, frozen=True, kw_only=True):
    """A stream whose client went away.

    Attributes:
        error: Why nothing was measured, or "".
        before: Requests that the server had in hand before ours.
        during: The most it had while ours was there.
        back_after: When it had no more than before, from the closing on; None for not in time.
        waited: How long we looked.
        rest: How long the generation would have gone on, at the pace of the stream before.
    """

    error: str = ""
    before: int = 0
    during: int = 0
    back_after: float | None = None
    waited: float = 0.0
    rest: float | None = None


class Facts(msgspec.Struct, kw_only=True):
    """All that is known of one server. A measurement that was left out is None."""

    server: ServerConfig
    config: Config
    reach: Reach | None = None
    version: str | None = None
    models: Models | None = None
    status_without_key: int | None = None
    """Of /v1/models asked without the configured key."""
    metrics: Metrics | None = None
    filtered: Filtered | None = None
    keep_alive: KeepAlive | None = None
    stream: Stream | None = None
    abort: Abort | None = None

    @property
    def is_reached(self) -> bool:
        """Whether it answered at all."""
        return self.reach is not None and self.reach.step is Step.DONE

    @property
    def known_models(self) -> tuple[str, ...] | None:
        """Those the router takes it to have; None where it may have any."""
        if self.server.models is not None:
            return self.server.models
        return None if self.models is None else self.models.names
