"""The text of /metrics: every number of the table, over all workers, for Prometheus.

Labels come from the configuration and the servers, never from clients: servers are as many as are
configured, models at most MODEL_SLOTS, workers as many as there are.
"""

from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from typing import Any

import msgspec

from fastroute.ipc.score_table import DURATION_BOUNDS, FIRST_BYTE_BOUNDS, MODEL_COUNTERS
from fastroute.rules.server_state import ServerState
from fastroute.views.exposition import CONTENT_TYPE, Exposition, Kind, label
from fastroute.views.view import Reply, ServerView, View

OTHER_MODELS = "other"
"""The label of slot 0. A model of this very name is counted with the others."""


class Metric(msgspec.Struct, frozen=True):
    """A metric with one sample for each thing of a kind.

    Attributes:
        value: Takes the number from the thing; None leaves its sample out.
    """

    name: str
    kind: Kind
    about: str
    value: Callable[[Any], float | None]


class LabelledCounter(msgspec.Struct, frozen=True):
    """A counter that several columns make up, one for each value of a label.

    Attributes:
        columns: The attribute of a row to read, by value of the label.
    """

    name: str
    about: str
    label: str
    columns: Mapping[str, str]


class HistogramMetric(msgspec.Struct, frozen=True):
    """A histogram of a server.

    Attributes:
        column: The attribute of a row to read.
        bounds: Upper bounds, in seconds.
    """

    name: str
    about: str
    column: str
    bounds: tuple[float, ...]


def _of_row(column: str) -> Callable[[ServerView], float | None]:
    return attrgetter(f"row.{column}")


def _scraped(column: str) -> Callable[[ServerView], float | None]:
    """Return a reader that leaves a server out until its metrics were read once."""

    def read(listed: ServerView) -> float | None:
        number: int = getattr(listed.row, column)
        return number if listed.is_scraped else None

    return read


OF_PROCESS = (
    Metric(
        "fastroute_start_time_seconds",
        "gauge",
        "Unix time at which fastroute was started.",
        attrgetter("started_at_unix"),
    ),
    Metric(
        "fastroute_config_last_reload_successful",
        "gauge",
        "Whether the configuration file as it is now is in force.",
        lambda view: int(view.config_state.error is None),
    ),
    Metric(
        "fastroute_config_last_reload_success_timestamp_seconds",
        "gauge",
        "Unix time at which the configuration in force was read.",
        attrgetter("config_state.loaded_at"),
    ),
    Metric(
        "fastroute_config_reloads_total",
        "counter",
        "Changed configurations that were put in force.",
        attrgetter("config_state.reloads"),
    ),
    Metric(
        "fastroute_config_reload_failures_total",
        "counter",
        "Changed configurations that were refused.",
        attrgetter("config_state.failures"),
    ),
    Metric(
        "fastroute_removed_servers",
        "gauge",
        "Servers that were removed and still finish their requests.",
        lambda view: len(view.removed()),
    ),
    Metric(
        "fastroute_removed_in_flight",
        "gauge",
        "Requests in flight at removed servers.",
        lambda view: sum(row.in_flight for row in view.removed()),
    ),
    Metric(
        "fastroute_access_log_lines_lost_total",
        "counter",
        "Lines of the access log that could not be written.",
        attrgetter("losses.lines"),
    ),
    Metric(
        "fastroute_spans_dropped_total",
        "counter",
        "Spans that the OpenTelemetry collector did not take.",
        attrgetter("losses.spans"),
    ),
)

OF_NAME = (
    Metric(
        "fastroute_dns_resolved",
        "gauge",
        "Whether the last look-up of a name that is followed found any address.",
        lambda name: int(name.resolved),
    ),
    Metric(
        "fastroute_dns_addresses",
        "gauge",
        "Addresses of the name, those included that are kept although it has none now.",
        lambda name: len(name.addresses),
    ),
)

OF_WORKER = (
    Metric(
        "fastroute_client_connections",
        "gauge",
        "Client connections open now.",
        attrgetter("client_connections"),
    ),
    Metric(
        "fastroute_local_requests_total",
        "counter",
        "Requests that fastroute answered itself, as this one.",
        attrgetter("requests_local"),
    ),
    Metric(
        "fastroute_refused_requests_total",
        "counter",
        "Broken requests, answered with a 4xx of fastroute's own.",
        attrgetter("requests_refused"),
    ),
    Metric(
        "fastroute_unrouted_requests_total",
        "counter",
        "Requests answered with 503 because no server was usable.",
        attrgetter("unrouted_503"),
    ),
    Metric(
        "fastroute_unknown_model_requests_total",
        "counter",
        "Requests answered with 404 because no server has their model.",
        attrgetter("unknown_models"),
    ),
    Metric(
        "fastroute_worker_draining",
        "gauge",
        "Whether the worker accepts no more and finishes what it has.",
        attrgetter("draining"),
    ),
    Metric(
        "fastroute_request_records_lost_total",
        "counter",
        "Requests missing in access log and traces because the supervisor was too far behind.",
        attrgetter("records_lost"),
    ),
)

OF_SERVER = (
    Metric(
        "fastroute_server_up",
        "gauge",
        "Whether requests may be sent to the server.",
        lambda listed: int(listed.is_usable),
    ),
    Metric(
        "fastroute_server_score",
        "gauge",
        "Load for capacity as the choice compares it; 1 is full.",
        attrgetter("score"),
    ),
    Metric(
        "fastroute_server_capacity",
        "gauge",
        "Requests it works on at once (max_concurrent_requests).",
        attrgetter("server.max_concurrent_requests"),
    ),
    Metric(
        "fastroute_server_weight",
        "gauge",
        "Its share of the load beyond what its capacity says.",
        attrgetter("server.weight"),
    ),
    Metric(
        "fastroute_server_foreign_load",
        "gauge",
        "Requests at the server that did not come through fastroute, waiting ones weighted.",
        lambda listed: listed.row.foreign_milli / 1000,
    ),
    Metric(
        "fastroute_server_running_requests",
        "gauge",
        "Requests running at the server, as last scraped.",
        _scraped("running"),
    ),
    Metric(
        "fastroute_server_waiting_requests",
        "gauge",
        "Requests waiting at the server, as last scraped.",
        _scraped("waiting"),
    ),
    Metric(
        "fastroute_server_kv_cache_usage_ratio",
        "gauge",
        "KV cache in use, from 0 to 1, as last scraped.",
        attrgetter("kv_cache_usage"),
    ),
    Metric(
        "fastroute_server_generation_tokens_total",
        "counter",
        "Tokens the server has generated, as last scraped.",
        _scraped("generation_tokens"),
    ),
    Metric(
        "fastroute_server_prefix_cache_queries_total",
        "counter",
        "Tokens looked up in the server's prefix cache, as last scraped.",
        _scraped("prefix_queries"),
    ),
    Metric(
        "fastroute_server_prefix_cache_hits_total",
        "counter",
        "Tokens found in the server's prefix cache, as last scraped.",
        _scraped("prefix_hits"),
    ),
    Metric(
        "fastroute_server_preemptions_total",
        "counter",
        "Requests the server preempted, as last scraped.",
        _scraped("preemptions"),
    ),
    Metric(
        "fastroute_scrape_failures_total",
        "counter",
        "Times the server's metrics could not be read.",
        _of_row("scrape_failures"),
    ),
    Metric(
        "fastroute_in_flight",
        "gauge",
        "Requests sent to the server and not finished.",
        _of_row("in_flight"),
    ),
    Metric(
        "fastroute_requests_started_total",
        "counter",
        "Requests sent to the server, each attempt counted.",
        _of_row("started"),
    ),
    Metric(
        "fastroute_events_total",
        "counter",
        "Segments of replies relayed from the server.",
        _of_row("events"),
    ),
)

STATUS_CLASSES = {
    "2xx": "finished_2xx",
    "3xx": "finished_3xx",
    "4xx": "finished_4xx",
    "5xx": "finished_5xx",
    "failed": "failed",
    "aborted": "aborted",
}
REQUESTS = LabelledCounter(
    "fastroute_requests_total",
    "Requests ended, by class of the server's reply; failed: it gave no whole one; aborted: the "
    "client went away.",
    "status_class",
    STATUS_CLASSES,
)
MODEL_REQUESTS = LabelledCounter(
    "fastroute_model_requests_total",
    "Requests ended, by the model they named; other: none, or one that is not counted apart.",
    "status_class",
    STATUS_CLASSES,
)
LABELLED_OF_SERVER = (
    REQUESTS,
    LabelledCounter(
        "fastroute_retries_total",
        "Attempts at the server after an earlier one, there or elsewhere, by how that failed.",
        "reason",
        {
            "connect": "retries_connect",
            "reset": "retries_reset",
            "busy": "retries_busy",
            "failed": "retries_failed",
        },
    ),
    LabelledCounter(
        "fastroute_aborts_total",
        "Requests whose client went away, before or after the first byte of the reply.",
        "phase",
        {"waiting": "aborts_waiting", "replying": "aborts_replying"},
    ),
    LabelledCounter(
        "fastroute_upstream_connections_total",
        "Connections to the server taken for a request.",
        "kind",
        {"new": "connections_new", "reused": "connections_reused"},
    ),
    LabelledCounter(
        "fastroute_bytes_total",
        "Bytes relayed; in: to the server; out: to the client.",
        "direction",
        {"in": "bytes_in", "out": "bytes_out"},
    ),
)

HISTOGRAMS_OF_SERVER = (
    HistogramMetric(
        "fastroute_first_byte_seconds",
        "From the end of a request to the first byte of its reply.",
        "first_byte",
        FIRST_BYTE_BOUNDS,
    ),
    HistogramMetric(
        "fastroute_request_duration_seconds",
        "From the end of a request to the end of its reply.",
        "duration",
        DURATION_BOUNDS,
    ),
)

# The three below are no plain columns; their names stand here for the documentation.
BUILD_INFO = ("fastroute_build_info", "The version that runs.")
CONFIG_INFO = ("fastroute_config_info", "Hash of the configuration in force.")
SERVER_STATE = ("fastroute_server_state", "1 for the state the server is in, 0 for the others.")
SCRAPE_AGE = ("fastroute_scrape_age_seconds", "Since the server's metrics were last read.")
STATES = tuple(state for state in ServerState if state != ServerState.FREE)


def metrics(view: View) -> Reply:
    """Write all metrics."""
    text = Exposition()
    _write_process(text, view)
    _write_each(text, OF_NAME, [(label("name", name.url), name) for name in view.names])
    _write_each(text, OF_WORKER, [(label("worker", str(w.index)), w) for w in view.table.workers])
    _write_models(text, view)
    # By label, because two samples of one name would make Prometheus refuse the whole text.
    servers = {label("server", listed.server.url): listed for listed in view.listed()}
    _write_states(text, view, servers)
    _write_each(text, OF_SERVER, servers.items())
    for counter in LABELLED_OF_SERVER:
        _write_labelled(text, counter, [(labels, s.row) for labels, s in servers.items()])
    for histogram in HISTOGRAMS_OF_SERVER:
        _write_histogram(text, histogram, servers)
    return Reply(200, text.encode(), CONTENT_TYPE)


def _write_process(text: Exposition, view: View) -> None:
    for (name, about), labels in (
        (BUILD_INFO, label("version", view.version)),
        (CONFIG_INFO, label("sha256", view.config_state.sha256)),
    ):
        text.family(name, "gauge", about)
        text.sample(labels, 1)
    _write_each(text, OF_PROCESS, [("", view)])


def _write_each(
    text: Exposition, wanted: Iterable[Metric], things: Iterable[tuple[str, Any]]
) -> None:
    for metric in wanted:
        text.family(metric.name, metric.kind, metric.about)
        for labels, thing in things:
            value = metric.value(thing)
            if value is not None:
                text.sample(labels, value)


def _write_models(text: Exposition, view: View) -> None:
    names = (OTHER_MODELS, *view.model_slots)
    by_name: dict[str, Any] = {}
    for name, counters in zip(names, view.table.models, strict=False):
        known = by_name.get(name)
        by_name[name] = counters if known is None else _sum(known, counters)
    _write_labelled(
        text, MODEL_REQUESTS, [(label("model", name), row) for name, row in by_name.items()]
    )


def _sum(one: Any, other: Any) -> Any:
    return type(one)(**{n: getattr(one, n) + getattr(other, n) for n in MODEL_COUNTERS})


def _write_labelled(
    text: Exposition, counter: LabelledCounter, rows: Iterable[tuple[str, Any]]
) -> None:
    text.family(counter.name, "counter", counter.about)
    columns = [
        ("," + label(counter.label, value), column) for value, column in counter.columns.items()
    ]
    for labels, row in rows:
        for more, column in columns:
            text.sample(labels + more, getattr(row, column))


def _write_states(text: Exposition, view: View, servers: Mapping[str, ServerView]) -> None:
    text.family(SERVER_STATE[0], "gauge", SERVER_STATE[1])
    states = [("," + label("state", state.name.lower()), state) for state in STATES]
    for labels, listed in servers.items():
        for more, state in states:
            text.sample(labels + more, int(listed.row.state == state))
    text.family(SCRAPE_AGE[0], "gauge", SCRAPE_AGE[1])
    for labels, listed in servers.items():
        age = view.seconds_since(listed.row.scraped_at_ns)
        if age is not None:
            text.sample(labels, age)


def _write_histogram(
    text: Exposition, metric: HistogramMetric, servers: Mapping[str, ServerView]
) -> None:
    text.family(metric.name, "histogram", metric.about)
    bounds = (*map(repr, metric.bounds), "+Inf")
    for labels, listed in servers.items():
        histogram = getattr(listed.row, metric.column)
        text.histogram(labels, bounds, histogram.buckets, histogram.sum_us / 1_000_000)
