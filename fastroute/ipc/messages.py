"""Messages between supervisor and worker over a socket pair, and their encoding.

A message is a 4-byte big-endian length, followed by that many bytes of msgpack. EOF means that the
other process has exited. This module does no I/O.
"""

import msgspec

from fastroute.config import Config
from fastroute.ipc.request_record import RequestRecord
from fastroute.rules.evidence import Event

LENGTH_BYTES = 4
MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""Limit far above any real message; a longer one means that the stream is corrupt."""


class RoutedServer(msgspec.Struct, frozen=True, kw_only=True):
    """A server as sent to workers: its row of the score table, and its settings."""

    row: int
    generation: int
    url: str
    max_concurrent_requests: int
    models: tuple[str, ...] | None = None
    """Names of its models; None if they are unknown: then it may have any model."""
    api_key: str | None = None
    """Key that replaces the client's in the Authorization header."""
    weight: float = 1.0
    """Factor for its share of the load, in addition to its capacity."""
    discovered_from: str | None = None
    """URL of the DNS name that has its address; the Host header then has this name."""


class ServerHealth(msgspec.Struct, frozen=True, kw_only=True):
    """Results of a server's health checks, for /health."""

    last_check: float | None = None
    """Unix time in seconds."""
    consecutive_failures: int = 0
    success_rate: float = 1.0
    avg_response_time: float = 0.0
    """Seconds."""
    last_response_time: float | None = None
    """Seconds."""
    total_checks: int = 0
    models_last_updated: float | None = None
    """Unix time in seconds."""


class ConfigState(msgspec.Struct, frozen=True, kw_only=True):
    """State of the configuration file: active version, reloads, failures."""

    source: str = ""
    """Path of the file, or the option that gave the servers."""
    loaded_at: float = 0.0
    """Unix time in seconds."""
    sha256: str = ""
    reloads: int = 0
    """Number of changed files that became active."""
    failures: int = 0
    """Number of changed files that were refused."""
    error: str | None = None
    """Reason why the current file is not active; None if it is."""


class FollowedName(msgspec.Struct, frozen=True, kw_only=True):
    """A discovered name, whose addresses are servers, and the state of its resolution."""

    url: str
    """URL as configured, with +dns."""
    addresses: tuple[str, ...] = ()
    """Addresses that are servers now, IPv6 without brackets."""
    resolved: bool = False
    """True if the last resolution found any address."""
    warning: str | None = None
    """Description of a problem, for people, or None."""


class Configure(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """To a worker: settings, servers and models that are active now; sent on every change."""

    config: Config
    servers: tuple[RoutedServer, ...]
    model_slots: tuple[str, ...] = ()
    """Models that are counted separately in the score table; the first has slot 1."""
    models_json: bytes | None = None
    """Body of the response to GET /v1/models; None to forward the request to a server."""
    config_state: ConfigState = ConfigState()
    names: tuple[FollowedName, ...] = ()
    """Discovered names, in the order of the configuration."""
    started_at: float = 0.0
    """Start of fastroute, in Unix seconds."""
    mark: str = ""
    """Text that all workers share and no other fastroute has, for Via."""


class Health(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """To a worker: results of health checks; sent when there are new ones."""

    servers: dict[str, ServerHealth]
    """Results by URL."""


class StateReason(msgspec.Struct, frozen=True, kw_only=True):
    """Reason of a server's state, for people. The state itself is in the score table."""

    row: int
    since_ns: int
    """Start of the state, the row's `state_since_ns`; it identifies the state."""
    text: str


class StateReasons(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """To a worker: the reasons of all servers; sent when a state has changed."""

    reasons: tuple[StateReason, ...] = ()


class Losses(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """To a worker, for /metrics: numbers of lost records; sent when they have changed."""

    lines: int = 0
    """Number of lines missing in the access log."""
    spans: int = 0
    """Number of spans that the collector did not get."""


class Unrouted(msgspec.Struct, frozen=True, tag=True):
    """To a worker, for /load-stats: rate of requests without a usable server; sent on changes."""

    per_second: float | None = None
    """Mean over the last seconds; None if not known yet."""


class Records(msgspec.Struct, frozen=True, tag=True):
    """From a worker: records of ended requests, oldest first."""

    records: list[RequestRecord]


class Observed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """From a worker: an event that matters for the health of a server."""

    row: int
    generation: int
    kind: Event
    detail: str = ""
    retry_after: float = 0.0
    """Seconds of the server's Retry-After header; 0 if it sent none."""
    model: str = ""
    """The model that the request named, as its servers are known by it; empty for none."""
    age: float = 0.0
    """Seconds since the attempt was started."""


class MetricsRequest(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """From a worker: a client asks for /metrics, which the supervisor renders."""

    id: int
    """Id of the request, unique in its worker; the reply repeats it."""
    accept: str = ""
    """Accept header of the client."""
    accept_encoding: str = ""
    """Accept-Encoding header of the client."""


class MetricsReply(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """To the worker that sent the request: the response for its client."""

    id: int
    status: int
    body: bytes
    content_type: str
    fields: tuple[tuple[bytes, bytes], ...] = ()
    """Other headers, names in lower case."""


class Drain(msgspec.Struct, frozen=True, tag=True):
    """To a worker: accept no connections, finish what is in flight, then exit with 0."""


class Ready(msgspec.Struct, frozen=True, tag=True):
    """From a worker: the first Configure is active, and clients are accepted."""


class Drained(msgspec.Struct, frozen=True, tag=True):
    """From a worker, the last message: the process exits once the channel is closed."""


Message = (
    Configure | Health | StateReasons | Losses | Drain | Ready | Drained | Observed | Records
    | MetricsRequest | MetricsReply | Unrouted
)  # fmt: skip

# Neither keeps state between two calls, so both can be shared.
_ENCODER = msgspec.msgpack.Encoder()
_DECODER: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def encode(message: Message) -> bytes:
    """Return the bytes to send."""
    body = _ENCODER.encode(message)
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


class MessageReader:
    """Splits a stream of bytes into messages."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """Take received bytes and return the messages that they complete, oldest first.

        Raises:
            ValueError: The bytes are not a valid message; the channel cannot be used any more.
        """
        self._buffer += data
        messages = []
        while (body := self._take_body()) is not None:
            messages.append(_DECODER.decode(body))
        return messages

    def _take_body(self) -> bytes | None:
        length = int.from_bytes(self._buffer[:LENGTH_BYTES], "big")
        if length > MAX_MESSAGE_BYTES:
            raise ValueError(f"a message of {length} bytes was announced")
        end = LENGTH_BYTES + length
        if len(self._buffer) < end:
            return None
        body = bytes(self._buffer[LENGTH_BYTES:end])
        del self._buffer[:end]
        return body
