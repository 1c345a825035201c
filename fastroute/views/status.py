"""The JSON of /livez, /readyz, /health and /server-models."""

from datetime import datetime
from typing import Any

import msgspec
import orjson

from fastroute.ipc.messages import ServerHealth
from fastroute.rules.server_state import ServerState
from fastroute.views.view import Reply, ServerView, View, names_report, utc

# Minimum shares of usable servers for the statuses "healthy" and "degraded".
HEALTHY_SHARE = 0.8
DEGRADED_SHARE = 0.5

SETTLING_SECONDS = 2.0
"""Seconds after the start in which /readyz waits for the first scrape of a server."""

HEALTH_STATUS = {
    ServerState.UP: "healthy",
    ServerState.TRIAL: "recovering",
    ServerState.COOLING: "busy",
    ServerState.DRAINING: "draining",
    ServerState.DOWN: "unhealthy",
    ServerState.EJECTED: "ejected",
    ServerState.ASLEEP: "asleep",
}


def live(view: View) -> Reply:
    """Return 200: the process responds, even if all servers are down."""
    return Reply(200, orjson.dumps({"status": "alive", "version": view.version}))


def ready(view: View) -> Reply:
    """Return 200 if clients should send requests to this process, else 503."""
    if view.draining:
        return Reply(503, orjson.dumps({"status": "draining"}))
    listed = view.listed()
    if not any(server.is_usable for server in listed) and not view.panic_models():
        return Reply(503, orjson.dumps({"status": "no usable server"}))
    young = view.now_unix - view.started_at_unix < SETTLING_SECONDS
    if young and not any(server.is_scraped for server in listed):
        # All servers count as usable until their state is known.
        return Reply(503, orjson.dumps({"status": "starting"}))
    return Reply(200, orjson.dumps({"status": "ready"}))


def health(view: View) -> Reply:
    """Return the health of all servers.

    The status is 503 if none is usable; in panic mode 200, since requests are sent to servers.
    """
    servers = [_server_health(listed, found) for listed, found in view.checked_health()]
    usable = sum(server["healthy"] for server in servers)
    share = usable / len(servers) if servers else 0.0
    panic_models = view.panic_models()
    report = {
        "status": _overall(share) if servers else "no_servers",
        "health_score": round(share, 4),
        "total_servers": len(servers),
        "healthy_servers": usable,
        "panic_models": panic_models,
        "servers": servers,
        "dns_names": names_report(view.names),
    }
    return Reply(200 if usable or panic_models else 503, msgspec.json.encode(report))


def _overall(share: float) -> str:
    if share >= HEALTHY_SHARE:
        return "healthy"
    return "degraded" if share >= DEGRADED_SHARE else "unhealthy"


def _server_health(listed: ServerView, found: ServerHealth) -> dict[str, Any]:
    return {
        "url": listed.server.url,
        "discovered_from": listed.server.discovered_from,
        "healthy": listed.is_usable,
        "health_status": HEALTH_STATUS[listed.state],
        "state_reason": listed.reason,
        "last_check": _moment(found.last_check),
        "consecutive_failures": found.consecutive_failures,
        "success_rate": found.success_rate,
        "avg_response_time": found.avg_response_time,
        "last_response_time": found.last_response_time,
        "total_checks": found.total_checks,
        "supported_models": listed.server.models,
        "models_last_updated": _moment(found.models_last_updated),
    }


def _moment(unix: float | None) -> datetime | None:
    return None if unix is None else utc(unix)


def server_models(view: View) -> Reply:
    """Return the models of each server, and the servers of each model."""
    models: dict[str, list[str]] = {}
    servers = []
    for listed, found in view.checked_health():
        server = listed.server
        for name in server.models or ():
            models.setdefault(name, []).append(server.url)
        servers.append(
            {
                "url": server.url,
                "healthy": listed.is_usable,
                "models": server.models,
                "models_last_updated": _moment(found.models_last_updated),
            }
        )
    report = {"servers": servers, "models": models, "aliases": dict(view.aliases)}
    return Reply(200, orjson.dumps(report, option=orjson.OPT_UTC_Z))
