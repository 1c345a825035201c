"""/load-stats and /server-models: the structs that are encoded, and that readers decode.

docs/load-stats.schema.json explains the fields of /load-stats. They are promised: add to them, and
rename none; readers ignore what they do not know.
"""

from datetime import datetime
from typing import TypeVar

import msgspec

Answer = TypeVar("Answer")


class DetailedMetrics(msgspec.Struct, frozen=True, gc=False):
    """Numbers of a server's own metrics; None where they are not known."""

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


class RecentReport(msgspec.Struct, frozen=True, gc=False):
    """Activity of the last seconds; None where it is not known."""

    requests_per_second: float | None
    tokens_per_second: float | None
    errors_per_second: float | None
    first_bytes: int
    first_byte_p50_seconds: float | None
    first_byte_p99_seconds: float | None


class RequestCounts(msgspec.Struct, frozen=True, gc=False):
    """Requests sent to a server, each attempt counted, and how they ended."""

    started: int
    finished_2xx: int
    finished_3xx: int
    finished_4xx: int
    finished_5xx: int
    failed: int
    aborted: int


class RetryCounts(msgspec.Struct, frozen=True, gc=False):
    """Attempts at a server after an earlier one failed, by how that failed."""

    connect: int
    reset: int
    busy: int
    failed: int


class AbortCounts(msgspec.Struct, frozen=True, gc=False):
    """Requests whose client went away, before or after the first byte of the reply."""

    waiting: int
    replying: int


class ConnectionCounts(msgspec.Struct, frozen=True, gc=False):
    """Connections to a server that were taken for requests."""

    new: int
    reused: int


class ServerReport(msgspec.Struct, frozen=True, kw_only=True):
    """One server."""

    url: str
    discovered_from: str | None
    name: str
    models: tuple[str, ...] | None
    status: str
    health_status: str
    state_reason: str
    state_age_seconds: float | None
    generation: int
    current_load: float
    max_capacity: int
    available_capacity: float
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
    requests: RequestCounts
    errors: int
    retries: int
    retries_by_reason: RetryCounts
    aborts: int
    aborts_by_phase: AbortCounts
    connections: ConnectionCounts
    bytes_in: int
    bytes_out: int
    events: int
    first_byte_p50_seconds: float | None
    first_byte_p99_seconds: float | None
    duration_p50_seconds: float | None
    duration_p99_seconds: float | None


class NameReport(msgspec.Struct, frozen=True, kw_only=True):
    """A DNS name whose addresses are servers."""

    url: str
    resolved: bool
    addresses: tuple[str, ...]
    warning: str | None


class ConfigReport(msgspec.Struct, frozen=True, kw_only=True):
    """The active configuration, and what became of the file."""

    source: str
    loaded_at: datetime
    sha256: str
    reloads: int
    failures: int
    error: str | None


class WorkerReport(msgspec.Struct, frozen=True, kw_only=True):
    """A worker process."""

    index: int
    pid: int
    client_connections: int
    requests_local: int
    requests_refused: int
    unrouted_503: int
    unknown_models: int
    draining: bool


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """All servers together, and fastroute itself."""

    total_servers: int
    healthy_servers: int
    total_active_load: float
    total_capacity: int
    overall_utilization_percent: float
    recent: RecentReport
    unrouted_per_second: float | None
    total_in_flight: int
    removed_servers: int
    removed_in_flight: int
    policy: str
    busy_threshold: float
    version: str
    uptime_seconds: float
    config: ConfigReport
    dns_names: tuple[NameReport, ...]
    workers: tuple[WorkerReport, ...]
    panic_models: tuple[str, ...] = ()
    """Default for a router of an older version."""


class Report(msgspec.Struct, frozen=True):
    """The whole report of /load-stats."""

    servers: tuple[ServerReport, ...]
    summary: Summary


class ServerModels(msgspec.Struct, frozen=True):
    url: str
    models: tuple[str, ...] | None


class ModelsReport(msgspec.Struct, frozen=True):
    """The part of /server-models that is read."""

    servers: tuple[ServerModels, ...]
    aliases: dict[str, str] = {}

    def by_url(self) -> dict[str, tuple[str, ...]]:
        """Return the models of servers with known models."""
        return {each.url: each.models for each in self.servers if each.models is not None}


def read_answer(body: bytes, kind: type[Answer]) -> Answer:
    """Decode a response body.

    Args:
        body: As received.
        kind: Report or ModelsReport.

    Raises:
        ValueError: The body is not such a report.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except RecursionError:
        raise ValueError("too deeply nested") from None
