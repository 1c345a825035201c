"""What supervisor and worker say to each other over a socket pair, and its form in bytes.

A message is a 4-byte big-endian length and that many bytes of msgpack. No I/O happens here.
EOF means that the other side is gone.
"""

import msgspec

from fastroute.config import Config
from fastroute.ipc.request_record import RequestRecord
from fastroute.rules.health_event import Event

LENGTH_BYTES = 4
MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""Far above any real message; a longer one means that the two sides lost step."""


class RoutedServer(msgspec.Struct, frozen=True, kw_only=True):
    """A server as workers are told of it: where it is counted, and what may be asked of it."""

    row: int
    generation: int
    url: str
    max_concurrent_requests: int
    models: tuple[str, ...] | None = None
    """None where they are not known (yet): then it may have any."""
    api_key: str | None = None
    """Replaces the client's Authorization."""
    weight: float = 1.0
    """Its share of the load beyond what its capacity says."""
    discovered_from: str | None = None
    """The URL of the name it was found by, which is then what it is called in the Host field."""


class ServerHealth(msgspec.Struct, frozen=True, kw_only=True):
    """What health checks found of a server, for /health."""

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
    """What became of the configuration file."""

    source: str = ""
    """The file, or the option the servers came from."""
    loaded_at: float = 0.0
    """Unix time in seconds."""
    sha256: str = ""
    reloads: int = 0
    """How often a changed file was put in force."""
    failures: int = 0
    """How often a changed file was refused."""
    error: str | None = None
    """Why the file as it is now is not in force, or None."""


class FollowedName(msgspec.Struct, frozen=True, kw_only=True):
    """A name whose addresses are servers, and what DNS says of it."""

    url: str
    """As configured, with +dns."""
    addresses: tuple[str, ...] = ()
    """Those in force, IPv6 without brackets."""
    resolved: bool = False
    """Whether the last look-up found any."""
    warning: str | None = None
    """What is wrong with it, for people, or None."""


class Configure(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """To a worker: settings, servers and models in force from now on; sent on every change."""

    config: Config
    servers: tuple[RoutedServer, ...]
    model_slots: tuple[str, ...] = ()
    """Models counted apart in the score table: the first has slot 1."""
    models_json: bytes | None = None
    """The answer to GET /v1/models, or None where a server is to be asked."""
    config_state: ConfigState = ConfigState()
    names: tuple[FollowedName, ...] = ()
    """Those that are followed, in the order of the configuration."""
    started_at: float = 0.0
    """When fastroute was started, in Unix seconds."""


class Health(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """To a worker: results of health checks; sent when there are new ones."""

    servers: dict[str, ServerHealth]
    """By URL."""


class StateReason(msgspec.Struct, frozen=True, kw_only=True):
    """Why a server is in its state, for people. The state itself is in the score table."""

    row: int
    since_ns: int
    """When the state began, as the row's `state_since_ns` has it: tells it from other states."""
    text: str


class StateReasons(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """To a worker: all reasons there are; sent when a state has changed."""

    reasons: tuple[StateReason, ...] = ()


class Losses(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """To a worker, for /metrics: what could not be told of requests; sent when it has changed."""

    lines: int = 0
    """Lines of the access log."""
    spans: int = 0


class Unrouted(msgspec.Struct, frozen=True, tag=True):
    """To a worker, for /load-stats: requests that no server could take; sent when it changes."""

    per_second: float | None = None
    """Over the last seconds; None: not known yet."""


class Records(msgspec.Struct, frozen=True, tag=True):
    """From a worker: requests that have ended, oldest first."""

    records: list[RequestRecord]


class Observed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """From a worker: something that matters for a server's health."""

    row: int
    generation: int
    kind: Event
    detail: str = ""
    retry_after: float = 0.0
    """Seconds the server asked to be left alone; 0 if it named none."""


class MetricsRequest(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """From a worker: a client asks for /metrics, which the supervisor renders."""

    id: int
    """Given back in the reply; a worker uses each once."""
    accept: str = ""
    """The client's header, as is the next."""
    accept_encoding: str = ""


class MetricsReply(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """To the worker that asked: what its client gets."""

    id: int
    status: int
    body: bytes
    content_type: str
    fields: tuple[tuple[bytes, bytes], ...] = ()
    """Other headers, names in lower case."""


class Drain(msgspec.Struct, frozen=True, tag=True):
    """To a worker: accept no more, finish what is in flight, then exit with 0."""


class Ready(msgspec.Struct, frozen=True, tag=True):
    """From a worker: the first Configure is in force and clients are accepted."""


class Drained(msgspec.Struct, frozen=True, tag=True):
    """From a worker, the last message: the process ends once the channel is closed."""


Message = (
    Configure | Health | StateReasons | Losses | Drain | Ready | Drained | Observed | Records
    | MetricsRequest | MetricsReply | Unrouted
)  # fmt: skip

# Neither holds anything between two calls, so both can be shared.
_ENCODER = msgspec.msgpack.Encoder()
_DECODER: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def encode(message: Message) -> bytes:
    """Return the bytes to send."""
    body = _ENCODER.encode(message)
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


class MessageReader:
    """Cuts a stream of bytes into messages."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """Take bytes as they came and return the messages they complete, oldest first.

        Raises:
            ValueError: The bytes are no message of ours; the channel is of no more use.
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
