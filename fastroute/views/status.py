"""The JSON of /health, /livez, /readyz and /load-stats, rendered from a table snapshot."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from fastroute import __version__
from fastroute.messages import RoutedServer
from fastroute.score_table import ServerSnapshot, ServerState, TableSnapshot

USABLE = frozenset((ServerState.UP, ServerState.TRIAL))
# Shares of usable servers from which the whole counts as healthy, and as degraded.
HEALTHY_SHARE = 0.8
DEGRADED_SHARE = 0.5

Reply = tuple[int, bytes]
"""HTTP status and JSON body."""


def live() -> Reply:
    """Say that the process answers; no server is asked, so this is true while all are down."""
    return 200, orjson.dumps({"status": "alive", "version": __version__})


def ready(table: TableSnapshot, *, draining: bool) -> Reply:
    """Say whether requests should be sent here."""
    if draining:
        return 503, orjson.dumps({"status": "draining"})
    if not any(server.state in USABLE for server in table.servers):
        return 503, orjson.dumps({"status": "no usable server"})
    return 200, orjson.dumps({"status": "ready"})


def health(table: TableSnapshot, servers: Sequence[RoutedServer]) -> Reply:
    """Say how many servers are usable; 503 when none is."""
    rows = {row.row: row for row in table.servers}
    entries = [{"url": server.url, "healthy": _is_usable(rows, server.row)} for server in servers]
    usable = sum(bool(entry["healthy"]) for entry in entries)
    score = usable / len(entries) if entries else 0.0
    if not entries:
        status = "no_servers"
    elif score >= HEALTHY_SHARE:
        status = "healthy"
    else:
        status = "degraded" if score >= DEGRADED_SHARE else "unhealthy"
    report = {"status": status, "health_score": score, "servers": entries}
    return 200 if usable else 503, orjson.dumps(report)


def load_stats(table: TableSnapshot, servers: Sequence[RoutedServer]) -> Reply:
    """Say what every server has in hand, and what fastroute has counted."""
    rows = {row.row: row for row in table.servers}
    entries = [_server_stats(server, rows[server.row]) for server in servers if server.row in rows]
    active = sum(entry["current_load"] for entry in entries)
    capacity = sum(entry["max_capacity"] for entry in entries)
    summary = {
        "total_servers": len(entries),
        "healthy_servers": sum(_is_usable(rows, server.row) for server in servers),
        "total_active_load": active,
        "total_capacity": capacity,
        "overall_utilization_percent": _percent(active, capacity),
        "workers": [
            {
                "index": worker.index,
                "pid": worker.pid,
                "client_connections": worker.client_connections,
                "requests_local": worker.requests_local,
                "requests_refused": worker.requests_refused,
                "unrouted_503": worker.unrouted_503,
                "draining": bool(worker.draining),
            }
            for worker in table.workers
        ],
    }
    return 200, orjson.dumps({"servers": entries, "summary": summary})


def _server_stats(server: RoutedServer, row: ServerSnapshot) -> dict[str, Any]:
    capacity = server.max_concurrent_requests
    return {
        "url": server.url,
        "status": row.state.name.lower(),
        "generation": row.generation,
        "current_load": row.in_flight,
        "max_capacity": capacity,
        "available_capacity": max(0, capacity - row.in_flight),
        "utilization_percent": _percent(row.in_flight, capacity),
        "in_flight": row.in_flight,
        "requests": {
            "started": row.started,
            "finished_2xx": row.finished_2xx,
            "finished_3xx": row.finished_3xx,
            "finished_4xx": row.finished_4xx,
            "finished_5xx": row.finished_5xx,
            "failed": row.failed,
            "aborted": row.aborted,
        },
        "retries": row.retries,
        "connections": {"new": row.connections_new, "reused": row.connections_reused},
        "bytes_in": row.bytes_in,
        "bytes_out": row.bytes_out,
        "events": row.events,
    }


def _is_usable(rows: Mapping[int, ServerSnapshot], row: int) -> bool:
    return row in rows and rows[row].state in USABLE


def _percent(part: float, whole: float) -> float:
    return round(100.0 * part / whole, 1) if whole else 0.0
