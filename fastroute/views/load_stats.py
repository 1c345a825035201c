"""The JSON of /load-stats: load and counters of each server.

Its keys are a stable interface (docs/load-stats.schema.json): keys may be added, but not renamed or
removed. An unknown value is null; its key is present.
"""

from collections.abc import Mapping, Sequence
from operator import add

import msgspec

from fastroute.api.outlier import outliers
from fastroute.api.quantile import quantile
from fastroute.api.report import (
    AbortCounts,
    ConfigReport,
    ConnectionCounts,
    DetailedMetrics,
    RecentReport,
    Report,
    RequestCounts,
    RetryCounts,
    ServerReport,
    Summary,
    WorkerReport,
)
from fastroute.ipc.score_table import ServerSnapshot, WorkerSnapshot
from fastroute.ipc.table_layout import DURATION_BOUNDS, FIRST_BYTE_BOUNDS, Histogram
from fastroute.views.status import HEALTH_STATUS
from fastroute.views.view import Reply, ServerView, View, names_report, utc
from fastroute.wording import short_names

NO_BUCKETS = (0,) * (len(FIRST_BYTE_BOUNDS) + 1)
UNKNOWN_METRICS = DetailedMetrics(*(None,) * len(DetailedMetrics.__struct_fields__))
"""Metrics of a server that was never scraped; 0 would claim that no request is running."""

# It keeps no state between two calls, so it can be shared.
_ENCODER = msgspec.json.Encoder()


def load_stats(view: View) -> Reply:
    """Return load and counters of each server, and their totals."""
    listed = view.listed()
    names = short_names([server.server.url for server in listed])
    servers = [_server(view, server, names) for server in listed]
    report = Report(_with_outliers(servers), _summary(view, listed))
    return Reply(200, _ENCODER.encode(report))


def _with_outliers(servers: Sequence[ServerReport]) -> tuple[ServerReport, ...]:
    """Mark the outliers."""
    texts = {each.url: each.text for each in outliers(servers)}
    return tuple(
        msgspec.structs.replace(server, outlier=text) if (text := texts.get(server.url)) else server
        for server in servers
    )


def _server(view: View, listed: ServerView, names: Mapping[str, str]) -> ServerReport:
    row, server, capacity = listed.row, listed.server, listed.server.max_concurrent_requests
    load, scrape_age = listed.load, listed.scrape_age
    return ServerReport(
        url=server.url,
        discovered_from=server.discovered_from,
        name=names[server.url],
        models=server.models,
        status=listed.state.name.lower(),
        health_status=HEALTH_STATUS[listed.state],
        state_reason=listed.reason,
        state_age_seconds=_rounded(view.seconds_since(row.state_since_ns)),
        generation=row.generation,
        current_load=round(load, 3),
        max_capacity=capacity,
        available_capacity=round(max(0.0, capacity - load), 3),
        utilization_percent=_percent(load, capacity),
        weight=server.weight,
        score=round(listed.score, 4),
        in_flight=row.in_flight,
        foreign_load=row.foreign_milli / 1000,
        last_updated=None if scrape_age is None else utc(view.now_unix - scrape_age),
        scrape_age_seconds=_rounded(scrape_age),
        scrape_failures=row.scrape_failures,
        detailed_metrics=_detailed_metrics(listed),
        recent=_recent([row]),
        outlier=None,
        requests=RequestCounts(
            started=row.started,
            finished_2xx=row.finished_2xx,
            finished_3xx=row.finished_3xx,
            finished_4xx=row.finished_4xx,
            finished_5xx=row.finished_5xx,
            failed=row.failed,
            aborted=row.aborted,
        ),
        errors=row.finished_5xx + row.failed,
        retries=row.retries,
        retries_by_reason=RetryCounts(
            row.retries_connect, row.retries_reset, row.retries_busy, row.retries_failed
        ),
        aborts=row.aborted,
        aborts_by_phase=AbortCounts(row.aborts_waiting, row.aborts_replying),
        connections=ConnectionCounts(row.connections_new, row.connections_reused),
        bytes_in=row.bytes_in,
        bytes_out=row.bytes_out,
        events=row.events,
        first_byte_p50_seconds=_quantile(0.5, FIRST_BYTE_BOUNDS, row.first_byte),
        first_byte_p99_seconds=_quantile(0.99, FIRST_BYTE_BOUNDS, row.first_byte),
        duration_p50_seconds=_quantile(0.5, DURATION_BOUNDS, row.duration),
        duration_p99_seconds=_quantile(0.99, DURATION_BOUNDS, row.duration),
    )


def _detailed_metrics(listed: ServerView) -> DetailedMetrics:
    """Return the server's last scraped metrics under vLLM's names."""
    row = listed.row
    if not listed.is_scraped:
        return UNKNOWN_METRICS
    return DetailedMetrics(
        num_requests_running=row.running,
        num_requests_waiting=row.waiting,
        gpu_cache_usage_perc=listed.kv_cache_usage,
        generation_tokens_total=row.generation_tokens,
        prefix_cache_queries_total=row.prefix_queries,
        prefix_cache_hits_total=row.prefix_hits,
        num_preemptions_total=row.preemptions,
    )


def _recent(rows: Sequence[ServerSnapshot]) -> RecentReport:
    """Return the rates and quantiles of several servers together; None where all are unknown."""
    requests = errors = tokens = None
    buckets: Sequence[int] = NO_BUCKETS
    for recent in (row.recent for row in rows):
        if recent.milliseconds:
            requests = (requests or 0.0) + 1000 * recent.started / recent.milliseconds
            errors = (errors or 0.0) + 1000 * recent.errors / recent.milliseconds
        if recent.tokens_milliseconds:
            tokens = (tokens or 0.0) + 1000 * recent.tokens / recent.tokens_milliseconds
        buckets = list(map(add, buckets, recent.first_byte))
    return RecentReport(
        requests_per_second=_rate(requests),
        tokens_per_second=_rate(tokens),
        errors_per_second=_rate(errors),
        first_bytes=sum(buckets),
        first_byte_p50_seconds=_rounded(quantile(0.5, FIRST_BYTE_BOUNDS, buckets)),
        first_byte_p99_seconds=_rounded(quantile(0.99, FIRST_BYTE_BOUNDS, buckets)),
    )


def _rate(per_second: float | None) -> float | None:
    return None if per_second is None else round(per_second, 3)


def _summary(view: View, listed: Sequence[ServerView]) -> Summary:
    load = sum(server.load for server in listed)
    capacity = sum(server.server.max_concurrent_requests for server in listed)
    removed = view.removed()
    return Summary(
        total_servers=len(listed),
        healthy_servers=sum(server.is_usable for server in listed),
        panic_models=view.panic_models(),
        total_active_load=round(load, 3),
        total_capacity=capacity,
        overall_utilization_percent=_percent(load, capacity),
        recent=_recent([server.row for server in listed]),
        unrouted_per_second=_rate(view.unrouted_per_second),
        total_in_flight=sum(row.in_flight for row in view.table.servers),
        removed_servers=len(removed),
        removed_in_flight=sum(row.in_flight for row in removed),
        policy=view.policy,
        busy_threshold=view.busy_threshold,
        version=view.version,
        uptime_seconds=round(max(0.0, view.now_unix - view.started_at_unix), 3),
        config=_config(view),
        dns_names=names_report(view.names),
        workers=tuple(map(_worker, view.table.workers)),
    )


def _config(view: View) -> ConfigReport:
    state = view.config_state
    return ConfigReport(
        source=state.source,
        loaded_at=utc(state.loaded_at),
        sha256=state.sha256,
        reloads=state.reloads,
        failures=state.failures,
        error=state.error,
    )


def _worker(worker: WorkerSnapshot) -> WorkerReport:
    return WorkerReport(
        index=worker.index,
        pid=worker.pid,
        client_connections=worker.client_connections,
        requests_local=worker.requests_local,
        requests_refused=worker.requests_refused,
        unrouted_503=worker.unrouted_503,
        unknown_models=worker.unknown_models,
        draining=bool(worker.draining),
    )


def _quantile(q: float, bounds: tuple[float, ...], histogram: Histogram[int]) -> float | None:
    return _rounded(quantile(q, bounds, histogram.buckets))


def _rounded(seconds: float | None) -> float | None:
    """Round to microseconds; more digits would be noise."""
    return None if seconds is None else round(seconds, 6)


def _percent(part: float, whole: float) -> float:
    return round(100.0 * part / whole, 1) if whole else 0.0
