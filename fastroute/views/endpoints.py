"""Paths of fastroute's own endpoints, and the view of `/`, which lists them."""

from collections.abc import Callable, Mapping

import msgspec
import orjson

from fastroute.views.dashboard.page import dashboard
from fastroute.views.load_stats import load_stats
from fastroute.views.status import health, live, ready, server_models
from fastroute.views.view import Reply, View


class Endpoint(msgspec.Struct, frozen=True):
    """A path and its view.

    Attributes:
        render: Renders the view; None for `/metrics`, which would block a worker's loop too long
            and is rendered by the supervisor.
    """

    path: bytes
    render: Callable[[View], Reply] | None
    about: str


def service(view: View) -> Reply:
    """Return name and version of the service, and its endpoints."""
    report = {
        "service": "fastroute",
        "version": view.version,
        "endpoints": {endpoint.path.decode(): endpoint.about for endpoint in ENDPOINTS},
    }
    return Reply(200, orjson.dumps(report))


METRICS = b"/metrics"

ENDPOINTS = (
    Endpoint(b"/", service, "service, version and these endpoints"),
    Endpoint(b"/dashboard", dashboard, "live view of the servers, for a browser"),
    Endpoint(b"/health", health, "200 while any server is usable, else 503; each server's checks"),
    Endpoint(b"/livez", live, "200 while the process answers"),
    Endpoint(b"/readyz", ready, "200 while a server is usable and fastroute is not draining"),
    Endpoint(b"/load-stats", load_stats, "load and counters of each server"),
    Endpoint(b"/server-models", server_models, "which server has which model"),
    Endpoint(METRICS, None, "all metrics, for Prometheus"),
)

VIEWS: Mapping[bytes, Callable[[View], Reply]] = {
    endpoint.path: endpoint.render for endpoint in ENDPOINTS if endpoint.render is not None
}
"""Views that a worker renders, by path."""
