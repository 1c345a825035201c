"""The metrics of /metrics: every number of the score table, summed over all workers.

To add a metric, add a line to one of the tables below. The library takes 55 ms to write the text
for 200 servers (13,800 samples), so the supervisor renders it, where it delays no stream.

Labels come from the configuration and the servers, never from clients, so their number is bounded:
the configured servers, MODEL_SLOTS models, and the workers.
"""

import gzip
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from operator import attrgetter
from typing import Any, ClassVar

import msgspec
from prometheus_client.exposition import choose_encoder, gzip_accepted
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from fastroute.ipc.table_layout import (
    DURATION_BOUNDS,
    FIRST_BYTE_BOUNDS,
    LOOP_LAG_BOUNDS,
    MODEL_COUNTERS,
    Histogram,
)
from fastroute.rules.server_state import ServerState
from fastroute.views.view import Reply, ServerView, View

OTHER_MODELS = "other"
"""Label of slot 0. A model with this name is counted in slot 0, too."""

GZIP_LEVEL = 1
"""Level 1 compresses 1 MB to 53 KB in 2 ms; level 9 to 44 KB in 70 ms."""

Labels = dict[str, str]
Read = Callable[[Any], float | None]
"""Reads a number from an object; None omits the sample."""


class Named(msgspec.Struct, frozen=True):
    """A counter or a gauge, depending on its name.

    Attributes:
        name: Name with the unit and, for a counter, `_total`.
    """

    name: str

    @property
    def kind(self) -> str:
        """Type of the metric, as Prometheus names it."""
        return "counter" if self.name.endswith("_total") else "gauge"


class Number(Named, frozen=True):
    """A metric family with one sample for each object.

    Attributes:
        read: Reads the number from the object.
        about: Help text, one line.
    """

    read: Read
    about: str

    def samples(self, labels: Labels, thing: Any) -> Iterator[Sample]:
        """Return the samples of one thing."""
        value = self.read(thing)
        if value is not None:
            yield Sample(self.name, labels, value)


class Numbers(Named, frozen=True):
    """A metric family with several samples for each object, distinguished by another label.

    Attributes:
        label: Name of that label.
        reads: Functions that read the numbers from the object, by value of the label.
        about: Help text, one line.
    """

    label: str
    reads: Mapping[str, Read]
    about: str

    def samples(self, labels: Labels, thing: Any) -> Iterator[Sample]:
        """Return the samples of one thing."""
        for word, read in self.reads.items():
            value = read(thing)
            if value is not None:
                yield Sample(self.name, labels | {self.label: word}, value)


class Distribution(msgspec.Struct, frozen=True):
    """A metric family with a histogram for each object.

    Attributes:
        read: Reads the histogram from the object.
        bounds: Upper bounds of the buckets, in seconds.
        about: Help text, one line.
    """

    kind: ClassVar[str] = "histogram"

    name: str
    read: Callable[[Any], Histogram[int]]
    bounds: tuple[float, ...]
    about: str

    def samples(self, labels: Labels, thing: Any) -> Iterator[Sample]:
        """Return the samples of one thing."""
        counted, below = self.read(thing), 0
        bounds = (*map(repr, self.bounds), "+Inf")
        for bound, below in zip(bounds, accumulate(counted.buckets), strict=True):
            yield Sample(f"{self.name}_bucket", labels | {"le": bound}, below)
        yield Sample(f"{self.name}_sum", labels, counted.sum_us / 1_000_000)
        yield Sample(f"{self.name}_count", labels, below)


Family = Number | Numbers | Distribution


def _column(name: str) -> Callable[[ServerView], Any]:
    return attrgetter(f"row.{name}")


def _scraped(column: str) -> Read:
    """Return a reader that omits a server until it was scraped once."""

    def read(listed: ServerView) -> float | None:
        number: int = getattr(listed.row, column)
        return number if listed.is_scraped else None

    return read


def _in_state(state: ServerState) -> Read:
    return lambda listed: int(listed.row.state == state)


def _one(_: object) -> float:
    return 1


def _seconds(column: str) -> Read:
    """Return a reader of a number of microseconds."""
    return lambda thing: getattr(thing, column) / 1_000_000


SLOW_STEPS = ("read", "endpoint", "message", "timer")
"""Steps of a worker's event loop that are measured."""

VERSION = (Number("fastroute_build_info", _one, "The version that runs."),)

CONFIG = (Number("fastroute_config_info", _one, "Hash of the active configuration."),)

OF_PROCESS = (
    Number("fastroute_start_time_seconds", attrgetter("started_at_unix"),
           "Unix time at which fastroute was started."),
    Number("fastroute_config_last_reload_successful",
           lambda view: int(view.config_state.error is None),
           "1 if the current configuration file is active, else 0."),
    Number("fastroute_config_last_reload_success_timestamp_seconds",
           attrgetter("config_state.loaded_at"),
           "Unix time at which the active configuration was read."),
    Number("fastroute_config_reloads_total", attrgetter("config_state.reloads"),
           "Changed configurations that were applied."),
    Number("fastroute_config_reload_failures_total", attrgetter("config_state.failures"),
           "Changed configurations that were refused."),
    Number("fastroute_panic_models", lambda view: len(view.panic_models()),
           "Models whose requests go to ejected servers, as no other is usable (panic mode)."),
    Number("fastroute_removed_servers", lambda view: len(view.removed()),
           "Servers that were removed and still finish their requests."),
    Number("fastroute_removed_in_flight",
           lambda view: sum(row.in_flight for row in view.removed()),
           "Requests in flight at removed servers."),
    Number("fastroute_access_log_lines_lost_total", attrgetter("losses.lines"),
           "Lines of the access log that could not be written."),
    Number("fastroute_spans_dropped_total", attrgetter("losses.spans"),
           "Spans that the OpenTelemetry collector did not accept."),
)  # fmt: skip

OF_NAME = (
    Number("fastroute_dns_resolved", lambda name: int(name.resolved),
           "1 if the last resolution of a discovered name found any address, else 0."),
    Number("fastroute_dns_addresses", lambda name: len(name.addresses),
           "Addresses of the name, including those that are kept after it lost them."),
)  # fmt: skip

OF_WORKER: tuple[Family, ...] = (
    Number("fastroute_client_connections", attrgetter("client_connections"),
           "Client connections open now."),
    Number("fastroute_local_requests_total", attrgetter("requests_local"),
           "Requests for fastroute's own endpoints."),
    Number("fastroute_refused_requests_total", attrgetter("requests_refused"),
           "Invalid requests and connections beyond the limit, refused with an error."),
    Number("fastroute_unrouted_requests_total", attrgetter("unrouted_503"),
           "Requests answered with 503 because no server was usable."),
    Number("fastroute_unknown_model_requests_total", attrgetter("unknown_models"),
           "Requests answered with 404 because no server has their model."),
    Number("fastroute_worker_draining", attrgetter("draining"),
           "1 while the worker accepts no connections and finishes requests in flight."),
    Number("fastroute_request_records_lost_total", attrgetter("records_lost"),
           "Requests missing in access log and traces because the supervisor was too slow."),
    Number("fastroute_model_search_limit_total", attrgetter("models_unsearched"),
           "Requests whose model was not found within the limits of the search."),
    Distribution("fastroute_loop_lag_seconds", attrgetter("loop_lag"), LOOP_LAG_BOUNDS,
                 "Lateness of the worker's event loop, measured ten times a second."),
    Numbers("fastroute_slowest_step_seconds", "step",
            {step: _seconds(f"slowest_{step}_us") for step in SLOW_STEPS},
            "Longest time for which a step delayed all streams of the worker, since its start."),
)  # fmt: skip

STATUS_CLASSES = {
    "2xx": "finished_2xx",
    "3xx": "finished_3xx",
    "4xx": "finished_4xx",
    "5xx": "finished_5xx",
    "failed": "failed",
    "aborted": "aborted",
}

OF_MODEL = (
    Numbers("fastroute_model_requests_total", "status_class",
            {word: attrgetter(column) for word, column in STATUS_CLASSES.items()},
            "Requests ended, by model; other: none, or one that is not counted separately."),
)  # fmt: skip

OF_SERVER: tuple[Family, ...] = (
    Numbers("fastroute_server_state", "state",
            {s.name.lower(): _in_state(s) for s in ServerState if s != ServerState.FREE},
            "1 for the state the server is in, 0 for the others."),
    Number("fastroute_scrape_age_seconds", attrgetter("scrape_age"),
           "Seconds since the last successful scrape of the server."),
    Number("fastroute_server_up", lambda listed: int(listed.is_usable),
           "1 if requests may be sent to the server, else 0."),
    Number("fastroute_server_score", attrgetter("score"),
           "Load relative to capacity, as the policy load compares it; 1 is fully loaded."),
    Number("fastroute_server_capacity", attrgetter("server.max_concurrent_requests"),
           "Requests the server can run at once (max_concurrent_requests)."),
    Number("fastroute_server_weight", attrgetter("server.weight"),
           "Factor for its share of the load, in addition to its capacity."),
    Number("fastroute_server_foreign_load", lambda listed: listed.row.foreign_milli / 1000,
           "Requests at the server that did not come through fastroute, waiting ones weighted."),
    Number("fastroute_server_running_requests", _scraped("running"),
           "Requests running at the server, as last scraped."),
    Number("fastroute_server_waiting_requests", _scraped("waiting"),
           "Requests waiting at the server, as last scraped."),
    Number("fastroute_server_kv_cache_usage_ratio", attrgetter("kv_cache_usage"),
           "KV cache in use, from 0 to 1, as last scraped."),
    Number("fastroute_server_generation_tokens_total", _scraped("generation_tokens"),
           "Tokens the server has generated, as last scraped."),
    Number("fastroute_server_prefix_cache_queries_total", _scraped("prefix_queries"),
           "Tokens queried in the server's prefix cache, as last scraped."),
    Number("fastroute_server_prefix_cache_hits_total", _scraped("prefix_hits"),
           "Tokens found in the server's prefix cache, as last scraped."),
    Number("fastroute_server_preemptions_total", _scraped("preemptions"),
           "Requests the server preempted, as last scraped."),
    Number("fastroute_scrape_failures_total", _column("scrape_failures"),
           "Failed scrapes of the server."),
    Number("fastroute_in_flight", _column("in_flight"),
           "Requests sent to the server and not finished."),
    Number("fastroute_requests_started_total", _column("started"),
           "Attempts: requests sent to the server, including retries."),
    Number("fastroute_events_total", _column("events"),
           "Pieces of good responses to inference requests that were forwarded."),
    Numbers("fastroute_requests_total", "status_class",
            {word: _column(column) for word, column in STATUS_CLASSES.items()},
            "Attempts ended, by class of the status; failed: no complete response; aborted: the "
            "client disconnected."),
    Numbers("fastroute_retries_total", "reason",
            {"connect": _column("retries_connect"), "reset": _column("retries_reset"),
             "busy": _column("retries_busy"), "failed": _column("retries_failed")},
            "Retries sent to the server, by the failure of the attempt before."),
    Numbers("fastroute_aborts_total", "phase",
            {"waiting": _column("aborts_waiting"), "replying": _column("aborts_replying")},
            "Requests whose client disconnected, before or after the first byte of the response."),
    Numbers("fastroute_upstream_connections_total", "kind",
            {"new": _column("connections_new"), "reused": _column("connections_reused")},
            "Connections to the server used for a request."),
    Numbers("fastroute_bytes_total", "direction",
            {"in": _column("bytes_in"), "out": _column("bytes_out")},
            "Bytes forwarded; in: to the server; out: to the client."),
    Distribution("fastroute_first_byte_seconds", _column("first_byte"), FIRST_BYTE_BOUNDS,
                 "From the end of a request to the first byte of its response."),
    Distribution("fastroute_request_duration_seconds", _column("duration"), DURATION_BOUNDS,
                 "From the end of a request to the end of its response."),
)  # fmt: skip


def _models(view: View) -> list[tuple[Labels, Any]]:
    names = (OTHER_MODELS, *view.model_slots)
    by_name: dict[str, Any] = {}
    for name, counters in zip(names, view.table.models, strict=False):
        known = by_name.get(name)
        by_name[name] = counters if known is None else _sum(known, counters)
    return [({"model": name}, counters) for name, counters in by_name.items()]


def _sum(one: Any, other: Any) -> Any:
    return type(one)(**{n: getattr(one, n) + getattr(other, n) for n in MODEL_COUNTERS})


def _servers(view: View) -> list[tuple[Labels, Any]]:
    # By URL, because two samples of one name would make Prometheus refuse the whole text.
    by_url = {listed.server.url: listed for listed in view.listed()}
    return [({"server": url}, listed) for url, listed in by_url.items()]


class Group(msgspec.Struct, frozen=True):
    """Metric families of the same objects.

    Attributes:
        things: Returns each object with its labels.
    """

    things: Callable[[View], list[tuple[Labels, Any]]]
    families: tuple[Family, ...]


GROUPS = (
    Group(lambda view: [({"version": view.version}, view)], VERSION),
    Group(lambda view: [({"sha256": view.config_state.sha256}, view)], CONFIG),
    Group(lambda view: [({}, view)], OF_PROCESS),
    Group(lambda view: [({"name": name.url}, name) for name in view.names], OF_NAME),
    Group(lambda view: [({"worker": str(w.index)}, w) for w in view.table.workers], OF_WORKER),
    Group(_models, OF_MODEL),
    Group(_servers, OF_SERVER),
)


class ViewCollector(Collector):
    """Adapter through which the library reads a view."""

    def __init__(self, view: View) -> None:
        """Keep the view.

        Args:
            view: Snapshot to render.
        """
        self._view = view

    def collect(self) -> Iterable[Metric]:
        """Return the families with their samples."""
        for group in GROUPS:
            things = [(_printable(labels), thing) for labels, thing in group.things(self._view)]
            for family in group.families:
                metric = Metric(family.name.removesuffix("_total"), family.about, family.kind)
                metric.samples = [
                    sample for labels, thing in things for sample in family.samples(labels, thing)
                ]
                yield metric


def _printable(labels: Labels) -> Labels:
    """Replace NUL, at which Prometheus' parser would stop."""
    return {k: v.replace("\0", "\N{REPLACEMENT CHARACTER}") for k, v in labels.items()}


def metrics(view: View, accept: str = "", accept_encoding: str = "") -> Reply:
    """Render all metrics.

    Args:
        view: Snapshot to render.
        accept: Accept header of the request; it may select text format 1.0.0 or OpenMetrics.
        accept_encoding: Accept-Encoding header of the request; it may select gzip.
    """
    encode, content_type = _encoder(accept)
    body = encode(ViewCollector(view))
    if not gzip_accepted(accept_encoding):
        return Reply(200, body, content_type)
    fields = ((b"content-encoding", b"gzip"),)
    return Reply(200, gzip.compress(body, GZIP_LEVEL), content_type, fields)


def _encoder(accept: str) -> tuple[Callable[[Collector], bytes], str]:
    try:
        return choose_encoder(accept)
    except TypeError:  # The library cannot compare a version such as "x" with numbers.
        return choose_encoder("")
