"""What a load process is told to do and what it answers, as JSON on its command line and output."""

from typing import Literal

import msgspec


class LoadSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement. Times in seconds."""

    kind: Literal["closed", "paced", "streams"]
    ports: tuple[int, ...]
    """Connections are spread over these ports of 127.0.0.1 in turn; a proxy has one."""
    connections: int
    request_bytes: int
    rate: float = 0.0
    """Requests per second of kind `paced`."""
    tick: float = 0.0
    """Time between two events of kind `streams`; the stand-in servers know it too."""
    warmup: float
    seconds: float
    watched: dict[str, int]
    """Name -> process id: trees of processes whose CPU is counted over the window."""


class LoadResult(msgspec.Struct, kw_only=True):
    """What happened inside the window, and every error, inside the window or not."""

    units: int
    """Answers, or events of kind `streams`."""
    seconds: float
    cpu_seconds: dict[str, float]
    """Per watched tree, and `load` for the load process itself."""
    others_cpu_seconds: float
    """Of everything else on the machine: what disturbed the measurement."""
    resident_bytes: dict[str, int]
    latencies: dict[str, float]
    """Seconds: p50, p99, max, and `sent_late_p99`: how late requests left. Empty if untimed."""
    checked: int
    """Answers that were checked whole, over the entire run."""
    errors: dict[str, int]
