"""Specification and result of a load process, as JSON on its command line and output."""

from typing import Literal

import msgspec


class LoadSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement. Times in seconds."""

    kind: Literal["closed", "paced", "streams", "many"]
    ports: tuple[int, ...]
    """Connections are spread over these ports of 127.0.0.1 in turn; a proxy has one."""
    connections: int
    request_bytes: int
    rate: float = 0.0
    """Requests per second of kind `paced`."""
    tick: float = 0.0
    """Time between two events of a stream; the stand-in servers use it too."""
    first_connections: int = 0
    """Number of streams of kind `many` at the first reading of resident memory."""
    warmup: float
    seconds: float
    watched: dict[str, int]
    """Name -> process id: trees of processes whose CPU is counted over the window."""
    alone: dict[str, int] = {}
    """The same without their children, which are counted in one of the trees too."""


class LoadResult(msgspec.Struct, kw_only=True):
    """Results within the window, and all errors, within the window or not."""

    units: int
    """Number of responses, or of events of streams."""
    seconds: float
    cpu_seconds: dict[str, float]
    """Per watched tree, and `load` for the load process itself."""
    others_cpu_seconds: float
    """CPU seconds of all other processes, which disturbed the measurement."""
    resident_bytes: dict[str, int]
    latencies: dict[str, float]
    """Seconds: p50, p99, max, and of kind `paced` `sent_late_p99`: how late requests left.

    Of kind `many` they are the time from an event's sending to its arrival. Empty if untimed."""
    checked: int
    """Number of completely checked responses, over the entire run."""
    errors: dict[str, int]
    resident_steps: list[tuple[int, dict[str, int]]] = []
    """For kind `many`: number of open streams, and resident bytes of each watched tree."""

    @classmethod
    def of_failure(cls, spec: LoadSpec, reason: str) -> "LoadResult":
        """Return the result of a failed measurement."""
        watched = (*spec.watched, *spec.alone, "load")
        return cls(
            units=0,
            seconds=spec.seconds,
            cpu_seconds=dict.fromkeys(watched, 0.0),
            others_cpu_seconds=0.0,
            resident_bytes={},
            latencies={},
            checked=0,
            errors={reason: 1},
        )
