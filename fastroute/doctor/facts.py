"""Measurements of a server. Durations are in seconds; None means not measured or not known."""

import enum
from collections.abc import Mapping

import msgspec

from fastroute.config import Config, ServerConfig
from fastroute.rules.load import LoadReport


class Step(enum.Enum):
    """Steps of the first request, in order."""

    NAME = "name"
    CONNECT = "connect"
    TLS = "tls"
    ANSWER = "answer"
    DONE = "done"


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """The server's certificate, if it is trusted."""

    expires_at: float
    """Unix time."""
    issuer: str
    protocol: str
    """Such as TLSv1.3."""


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """The first request, GET /health.

    Attributes:
        step: Step at which it ended.
        error: Reason why it ended there; "" if it is done.
        addresses: Addresses to which the name resolves.
        lookup: Time to resolve the name.
        connect: Time to connect, including TLS.
        answer: Time from the request to the end of the response.
        status: Status of the response.
        clock_ahead: Seconds by which the server's Date header is ahead of the local clock.
        asked_at: Local time of the request, Unix time.
        certificate: Its certificate, with https.
        speaks_tls: True if an http:// server that did not respond accepts TLS.
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
    """The response to GET /v1/models.

    Attributes:
        status: Status of the response; None without one.
        error: Reason why the models are not known; "" if they are.
        names: Listed models, or None.
        context_lengths: Maximum tokens of prompt and output together, by model, if reported.
    """

    status: int | None = None
    error: str = ""
    names: tuple[str, ...] | None = None
    context_lengths: Mapping[str, int] = {}


class KvCache(msgspec.Struct, frozen=True):
    """The values of vllm:cache_config_info, summed over engines.

    Attributes:
        tokens: Number of tokens that fit into the cache.
        full_requests: Number of requests of maximum length that fit, as computed by vLLM; or None.
    """

    tokens: int
    full_requests: float | None = None


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    """The relevant parts of /metrics, read without a filter.

    Attributes:
        error: Reason why the load is not known; "" if it is.
        size: Size of the text in bytes.
        names: Names of the samples that fastroute reads, in its own order.
        load: The load.
        kv_cache: The size of the KV cache.
    """

    error: str = ""
    size: int = 0
    names: tuple[str, ...] = ()
    load: LoadReport | None = None
    kv_cache: KvCache | None = None


class Filtered(msgspec.Struct, frozen=True, kw_only=True):
    """The response to a scrape of only the metrics that fastroute reads.

    Attributes:
        error: Reason why it is not usable; "" if it is.
        size: Size of the text in bytes.
    """

    error: str = ""
    size: int = 0


class KeepAlive(msgspec.Struct, frozen=True, kw_only=True):
    """A connection left idle after a response.

    Attributes:
        error: Reason why nothing was measured, or "".
        closed_after: Time after which the server closed it; None if it was still open at the end.
        waited: Time waited.
    """

    error: str = ""
    closed_after: float | None = None
    waited: float = 0.0


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """A small streamed generation, and one of a single token for comparison.

    Attributes:
        model: Requested model.
        error: Reason why there was no stream, or "".
        status: Status of an error response; None without a response.
        one_token: Duration of a request for a single token.
        head_at: Arrival of the headers, since the request, as for the next attributes.
        events_at: Arrival of each event.
        ended_at: End of the stream.
        is_done: True if it ended with [DONE].
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
        """Time from the first event to the last."""
        return self.events_at[-1] - self.events_at[0] if self.events_at else 0.0

    @property
    def pace(self) -> float | None:
        """Seconds per token, also if events were buffered."""
        count = len(self.events_at)
        taken = max(self.spread, self.ended_at - self.one_token)
        return max(0.0, taken) / (count - 1) if count > 1 else None


class Abort(msgspec.Struct, frozen=True, kw_only=True):
    """A stream whose client disconnected.

    Attributes:
        error: Reason why nothing was measured, or "".
        before: Number of requests in progress on the server before ours.
        during: Highest number while ours was in progress.
        back_after: Time from the disconnect until the number was back; None if not in time.
        waited: Time waited.
        rest: Remaining time of the generation, estimated from the pace of the stream before.
    """

    error: str = ""
    before: int = 0
    during: int = 0
    back_after: float | None = None
    waited: float = 0.0
    rest: float | None = None


class Facts(msgspec.Struct, kw_only=True):
    """All measurements of one server. A skipped one is None."""

    server: ServerConfig
    config: Config
    reach: Reach | None = None
    version: str | None = None
    models: Models | None = None
    status_without_key: int | None = None
    """Status of /v1/models without the configured key."""
    metrics: Metrics | None = None
    filtered: Filtered | None = None
    keep_alive: KeepAlive | None = None
    stream: Stream | None = None
    abort: Abort | None = None

    @property
    def is_reached(self) -> bool:
        """True if the server responded at all."""
        return self.reach is not None and self.reach.step is Step.DONE

    @property
    def known_models(self) -> tuple[str, ...] | None:
        """Models that the router assumes it has; None if it may have any."""
        if self.server.models is not None:
            return self.server.models
        return None if self.models is None else self.models.names
