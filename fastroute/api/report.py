"""/load-stats and /server-models as their readers take them apart."""

from datetime import datetime
from typing import TypeVar

import msgspec

Answer = TypeVar("Answer")


class DetailedMetrics(msgspec.Struct, frozen=True):
    """What a server's own metrics said; None where it is not known."""

    num_requests_running: int | None
    num_requests_waiting: int | None
    gpu_cache_usage_perc: float | None
    generation_tokens_total: int | None
    prefix_cache_queries_total: int | None
    prefix_cache_hits_total: int | None
    num_preemptions_total: int | None

    @property
    def prefix_hit_rate(self) -> float | None:
        """From 0 to 1, over the life of the server."""
        queries, hits = self.prefix_cache_queries_total, self.prefix_cache_hits_total
        return hits / queries if queries and hits is not None else None


class NameReport(msgspec.Struct, frozen=True):
    """A name whose addresses are servers."""

    url: str
    warning: str | None


class RecentReport(msgspec.Struct, frozen=True):
    """What happened in the last seconds; None where it is not known."""

    requests_per_second: float | None
    tokens_per_second: float | None
    errors_per_second: float | None
    first_bytes: int
    first_byte_p50_seconds: float | None
    first_byte_p99_seconds: float | None


class ServerReport(msgspec.Struct, frozen=True):
    """One server; the fields are explained in docs/load-stats.schema.json."""

    url: str
    name: str
    models: tuple[str, ...] | None
    status: str
    state_reason: str
    state_age_seconds: float | None
    generation: int
    current_load: float
    max_capacity: int
    utilization_percent: float
    weight: float
    score: float
    in_flight: int
    foreign_load: float
    last_updated: datetime | None
    scrape_age_seconds: float | None
    scrape_failures: int
    detailed_metrics: DetailedMetrics
    recent: RecentReport
    outlier: str | None
    requests: dict[str, int]
    errors: int
    retries_by_reason: dict[str, int]
    aborts_by_phase: dict[str, int]
    connections: dict[str, int]
    bytes_in: int
    bytes_out: int
    events: int
    first_byte_p50_seconds: float | None
    first_byte_p99_seconds: float | None
    duration_p50_seconds: float | None
    duration_p99_seconds: float | None
    discovered_from: str | None = None
    """None also from a version that knew no DNS."""


class ConfigReport(msgspec.Struct, frozen=True):
    source: str
    error: str | None


class WorkerReport(msgspec.Struct, frozen=True):
    index: int
    client_connections: int
    unrouted_503: int
    draining: bool


class Summary(msgspec.Struct, frozen=True):
    total_servers: int
    healthy_servers: int
    total_active_load: float
    total_capacity: int
    overall_utilization_percent: float
    total_in_flight: int
    removed_servers: int
    version: str
    uptime_seconds: float
    config: ConfigReport
    workers: tuple[WorkerReport, ...]
    dns_names: tuple[NameReport, ...] = ()
    policy: str = "load"
    busy_threshold: float = 0.5


class Report(msgspec.Struct, frozen=True):
    """A whole /load-stats."""

    servers: tuple[ServerReport, ...]
    summary: Summary


class ServerModels(msgspec.Struct, frozen=True):
    url: str
    models: tuple[str, ...] | None


class ModelsReport(msgspec.Struct, frozen=True):
    """What is taken from /server-models."""

    servers: tuple[ServerModels, ...]
    aliases: dict[str, str] = {}

    def by_url(self) -> dict[str, tuple[str, ...]]:
        """Return the models of the servers of which they are known."""
        return {each.url: each.models for each in self.servers if each.models is not None}


def read_answer(body: bytes, kind: type[Answer]) -> Answer:
    """Take an answer apart.

    Args:
        body: As received.
        kind: Report or ModelsReport.

    Raises:
        ValueError: This is no such answer.
    """
    return msgspec.json.decode(body, type=kind)
