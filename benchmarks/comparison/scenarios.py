"""The scenarios to measure, one entry each."""

from typing import Literal, NamedTuple


class Scenario(NamedTuple):
    name: str
    title: str
    kind: Literal["closed", "paced", "streams"]
    connections: int
    request_bytes: int = 1024
    rate: float = 0.0
    """Requests per second of kind `paced`."""

    @property
    def unit(self) -> str:
        return "event" if self.kind == "streams" else "request"


# Seconds between two events of a stream: 50 tokens per second, as on a busy server.
TICK = 0.02

SCENARIOS = (
    Scenario(
        "json-saturated",
        "JSON, 1 KB in, 0.8 KB out, 64 connections, as fast as it goes",
        kind="closed",
        connections=64,
    ),
    Scenario(
        "json-2000",
        "JSON, 1 KB in, 0.8 KB out, 64 connections, 2,000 requests/s",
        kind="paced",
        connections=64,
        rate=2000.0,
    ),
    Scenario(
        "streams-256",
        "256 streams, an event of 200 bytes each 20 ms",
        kind="streams",
        connections=256,
    ),
    Scenario(
        "latency-1000",
        "JSON, 1 KB in, 0.8 KB out, 64 connections, 1,000 requests/s",
        kind="paced",
        connections=64,
        rate=1000.0,
    ),
    Scenario(
        "prompts-100k",
        "JSON, 100 KB in, 0.8 KB out, 32 connections, as fast as it goes",
        kind="closed",
        connections=32,
        request_bytes=100 * 1024,
    ),
)
