import gzip
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from fastroute.ipc.messages import ConfigState, FollowedName
from fastroute.ipc.table_layout import (
    COUNTERS,
    DURATION_BOUNDS,
    FIRST_BYTE_BOUNDS,
    LOOP_LAG_BOUNDS,
    MODEL_COUNTERS,
    MODEL_SLOTS,
    PROCESS_CELLS,
    SERVER_COLUMNS,
    Histogram,
)
from fastroute.rules.server_state import ServerState
from fastroute.views.prometheus import metrics
from tests.support.views import (
    NOW_NS,
    NOW_UNIX,
    SECOND_NS,
    example_view,
    histogram,
    model_counters,
    routed,
    row,
    table,
    view,
    view_of_states,
    worker,
)

STATES = [state for state in ServerState if state != ServerState.FREE]


def families(shown):
    reply = metrics(shown)
    assert reply.status == 200
    assert reply.content_type == "text/plain; version=0.0.4; charset=utf-8"
    return list(read_text(reply.body.decode()))


def scraped(shown):
    """Return samples by name and labels, as strings, as Prometheus would store them."""
    found = {}
    for family in families(shown):
        for sample in family.samples:
            labels = ",".join(f"{k}={v}" for k, v in sorted(sample.labels.items()))
            key = f"{sample.name}{{{labels}}}"
            assert key not in found, "Prometheus refuses a text with the same sample twice"
            found[key] = sample.value
    return found


def of_server(shown):
    """Return the samples of the only server, without its label."""
    mark = re.compile(r"server=http://gpu-0:8000,|,?server=http://gpu-0:8000")
    return {mark.sub("", k): v for k, v in scraped(shown).items() if mark.search(k)}


OPENMETRICS = "application/openmetrics-text;version=1.0.0"
OF_PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)
FORMER = Path(__file__).parents[1] / "data" / "views" / "metrics.txt"
"""The example as it was rendered before prometheus_client did it; its numbers and names stay."""


def numbers(found):
    """All that Prometheus stores, with the types that it knows."""
    return sorted(
        (family.name, family.type, sample.name, sorted(sample.labels.items()), sample.value)
        for family in found
        for sample in family.samples
    )


class TestFormats:
    @pytest.mark.parametrize(
        ("accept", "content_type", "read"),
        [
            pytest.param("", "text/plain; version=0.0.4", read_text, id="none"),
            pytest.param(
                "text/html, */*;q=0.8",
                "text/plain; version=0.0.4",
                read_text,
                id="browser",
            ),
            pytest.param(
                "text/plain;version=1.0.0",
                "text/plain; version=1.0.0",
                read_text,
                id="text-1.0.0",
            ),
            pytest.param(
                OPENMETRICS,
                "application/openmetrics-text; version=1.0.0",
                read_openmetrics,
                id="openmetrics",
            ),
            pytest.param(
                OF_PROMETHEUS_3,
                "application/openmetrics-text; version=1.0.0",
                read_openmetrics,
                id="prometheus-3",
            ),
            pytest.param(
                "text/plain;version=x",
                "text/plain; version=0.0.4",
                read_text,
                id="no-version",
            ),
            pytest.param(
                "text/plain;version=1.x",
                "text/plain; version=0.0.4",
                read_text,
                id="half-a-version",
            ),
        ],
    )
    def test_the_same_numbers_as_ever(self, accept, content_type, read):
        reply = metrics(example_view(), accept)
        assert reply.content_type.startswith(content_type)
        assert reply.fields == ()
        former = numbers(read_text(FORMER.read_text(encoding="utf-8")))
        found = numbers(read(reply.body.decode()))
        assert [each for each in former if each not in found] == []

    @pytest.mark.parametrize("accept", ["", OPENMETRICS])
    def test_no_times_of_creation(self, accept):
        assert b"_created" not in metrics(example_view(), accept).body

    @pytest.mark.parametrize(
        ("accepted", "is_compressed"),
        [("", False), ("gzip", True), ("deflate, gzip;q=0.5", True), ("br", False)],
    )
    def test_compressed_if_the_client_asks(self, accepted, is_compressed):
        plain, reply = metrics(example_view()), metrics(example_view(), "", accepted)
        assert reply.fields == (((b"content-encoding", b"gzip"),) if is_compressed else ())
        assert (gzip.decompress(reply.body) if is_compressed else reply.body) == plain.body

    def test_a_nul_does_not_end_the_text(self):
        shown = view(row(0, in_flight=2), servers=(routed(0, "http://a\0b"),))
        assert scraped(shown)["fastroute_in_flight{server=http://a\ufffdb}"] == 2


def test_every_family_has_one_type_and_a_description():
    found = families(example_view())
    names = [family.name for family in found]
    assert len(set(names)) == len(names)
    for family in found:
        assert family.name.startswith("fastroute_")
        assert family.type in ("counter", "gauge", "histogram")
        assert family.documentation.endswith(".")


class TestProcess:
    def test_what_runs(self):
        found = scraped(view(config_state=ConfigState(sha256="ab", loaded_at=NOW_UNIX, reloads=3)))
        assert found["fastroute_build_info{version=1.2.3}"] == 1
        assert found["fastroute_config_info{sha256=ab}"] == 1
        assert found["fastroute_start_time_seconds{}"] == NOW_UNIX - 4000
        assert found["fastroute_config_reloads_total{}"] == 3
        assert found["fastroute_config_last_reload_success_timestamp_seconds{}"] == NOW_UNIX

    @pytest.mark.parametrize(("error", "successful"), [(None, 1), ("bad file", 0)])
    def test_a_bad_file_shows_until_it_is_mended(self, error, successful):
        found = scraped(view(config_state=ConfigState(failures=2, error=error)))
        assert found["fastroute_config_last_reload_successful{}"] == successful
        assert found["fastroute_config_reload_failures_total{}"] == 2

    def test_workers(self):
        workers = (worker(0, client_connections=3, unrouted_503=2), worker(1, draining=1))
        found = scraped(view(table=table(workers=workers)))
        assert found["fastroute_client_connections{worker=0}"] == 3
        assert found["fastroute_unrouted_requests_total{worker=0}"] == 2
        assert found["fastroute_worker_draining{worker=0}"] == 0
        assert found["fastroute_worker_draining{worker=1}"] == 1

    def test_the_loops_of_workers(self):
        lag = histogram(LOOP_LAG_BOUNDS, at_0=5, at_6=1, sum_us=300_000)
        found = scraped(view(table=table(workers=(worker(0, loop_lag=lag, slowest_read_us=1500),))))
        assert found["fastroute_loop_lag_seconds_bucket{le=0.001,worker=0}"] == 5
        assert found["fastroute_loop_lag_seconds_count{worker=0}"] == 6
        assert found["fastroute_loop_lag_seconds_sum{worker=0}"] == 0.3
        assert found["fastroute_slowest_step_seconds{step=read,worker=0}"] == 0.0015
        assert found["fastroute_slowest_step_seconds{step=timer,worker=0}"] == 0

    def test_removed_servers_are_counted_without_a_name(self):
        found = scraped(view(row(0), row(1, in_flight=2), servers=(routed(0),)))
        assert found["fastroute_removed_servers{}"] == 1
        assert found["fastroute_removed_in_flight{}"] == 2
        assert sum(key.startswith("fastroute_in_flight{") for key in found) == 1


class TestServer:
    @pytest.mark.parametrize("state", STATES)
    def test_one_state_is_1(self, state):
        found = of_server(view_of_states(state))
        states = {s: found[f"fastroute_server_state{{state={s.name.lower()}}}"] for s in STATES}
        assert states == {s: int(s == state) for s in STATES}
        usable = (ServerState.UP, ServerState.TRIAL, ServerState.COOLING)
        assert found["fastroute_server_up{}"] == int(state in usable)

    def test_load(self):
        server = routed(0, max_concurrent_requests=4, weight=0.5)
        found = of_server(view(row(0, in_flight=3, foreign_milli=1500), servers=(server,)))
        assert found["fastroute_in_flight{}"] == 3
        assert found["fastroute_server_foreign_load{}"] == 1.5
        assert found["fastroute_server_capacity{}"] == 4
        assert found["fastroute_server_weight{}"] == 0.5
        assert found["fastroute_server_score{}"] == 2.25

    def test_scraped(self):
        found = of_server(
            view(
                row(
                    0,
                    scraped_at_ns=NOW_NS - SECOND_NS // 2,
                    scrape_failures=3,
                    running=4,
                    waiting=2,
                    kv_cache_ppm=125_000,
                    generation_tokens=9,
                    prefix_queries=8,
                    prefix_hits=7,
                    preemptions=1,
                )
            )
        )
        assert found["fastroute_scrape_age_seconds{}"] == 0.5
        assert found["fastroute_scrape_failures_total{}"] == 3
        assert found["fastroute_server_running_requests{}"] == 4
        assert found["fastroute_server_waiting_requests{}"] == 2
        assert found["fastroute_server_kv_cache_usage_ratio{}"] == 0.125
        assert found["fastroute_server_generation_tokens_total{}"] == 9
        assert found["fastroute_server_prefix_cache_queries_total{}"] == 8
        assert found["fastroute_server_prefix_cache_hits_total{}"] == 7
        assert found["fastroute_server_preemptions_total{}"] == 1

    def test_never_scraped(self):
        """0 would be wrong, and a counter that starts at 0 would appear to jump later."""
        found = of_server(view(row(0, scraped_at_ns=0, scrape_failures=3)))
        assert found["fastroute_scrape_failures_total{}"] == 3
        assert not [key for key in found if "running" in key or "tokens" in key or "age" in key]

    @pytest.mark.parametrize(
        ("key", "column"),
        [
            ("fastroute_requests_total{status_class=2xx}", "finished_2xx"),
            ("fastroute_requests_total{status_class=3xx}", "finished_3xx"),
            ("fastroute_requests_total{status_class=4xx}", "finished_4xx"),
            ("fastroute_requests_total{status_class=5xx}", "finished_5xx"),
            ("fastroute_requests_total{status_class=failed}", "failed"),
            ("fastroute_requests_started_total{}", "started"),
            ("fastroute_retries_total{reason=connect}", "retries_connect"),
            ("fastroute_retries_total{reason=reset}", "retries_reset"),
            ("fastroute_retries_total{reason=busy}", "retries_busy"),
            ("fastroute_retries_total{reason=failed}", "retries_failed"),
            ("fastroute_upstream_connections_total{kind=new}", "connections_new"),
            ("fastroute_upstream_connections_total{kind=reused}", "connections_reused"),
            ("fastroute_bytes_total{direction=in}", "bytes_in"),
            ("fastroute_bytes_total{direction=out}", "bytes_out"),
            ("fastroute_events_total{}", "events"),
        ],
    )
    def test_counters(self, key, column):
        before, after = of_server(view(row(0))), of_server(view(row(0, **{column: 7})))
        assert {k: v for k, v in after.items() if before[k] != v} == {key: 7}

    @pytest.mark.parametrize("phase", ["waiting", "replying"])
    def test_aborts(self, phase):
        """They are counted by phase; the total is their sum."""
        before = of_server(view(row(0)))
        after = of_server(view(row(0, **{f"aborts_{phase}": 7})))
        assert {k: v for k, v in after.items() if before[k] != v} == {
            f"fastroute_aborts_total{{phase={phase}}}": 7,
            "fastroute_requests_total{status_class=aborted}": 7,
        }

    def test_histograms(self):
        found = of_server(
            view(
                row(
                    0,
                    first_byte=histogram(FIRST_BYTE_BOUNDS, at_0=2, at_12=1, sum_us=31_500_000),
                    duration=histogram(DURATION_BOUNDS, at_1=4, sum_us=200_000),
                )
            )
        )
        assert found["fastroute_first_byte_seconds_bucket{le=0.005}"] == 2
        assert found["fastroute_first_byte_seconds_bucket{le=30.0}"] == 2
        assert found["fastroute_first_byte_seconds_bucket{le=+Inf}"] == 3
        assert found["fastroute_first_byte_seconds_count{}"] == 3
        assert found["fastroute_first_byte_seconds_sum{}"] == 31.5
        assert found["fastroute_request_duration_seconds_bucket{le=0.01}"] == 0
        assert found["fastroute_request_duration_seconds_bucket{le=0.05}"] == 4
        assert found["fastroute_request_duration_seconds_sum{}"] == 0.2


class TestModels:
    def test_slots_have_the_names_of_their_models(self):
        models = (model_counters(finished_4xx=1), model_counters(finished_2xx=2))
        found = scraped(view(table=table(models=models), model_slots=("a",)))
        assert found["fastroute_model_requests_total{model=other,status_class=4xx}"] == 1
        assert found["fastroute_model_requests_total{model=a,status_class=2xx}"] == 2
        assert len([key for key in found if "model=" in key]) == 2 * len(MODEL_COUNTERS)

    def test_a_model_named_other_is_one_of_the_others(self):
        models = (model_counters(failed=1), model_counters(failed=2))
        found = scraped(view(table=table(models=models), model_slots=("other",)))
        assert found["fastroute_model_requests_total{model=other,status_class=failed}"] == 3

    def test_they_are_no_more_than_there_are_slots(self):
        names = tuple(f"model-{number}" for number in range(MODEL_SLOTS + 10))
        found = scraped(view(table=table(), model_slots=names))
        assert len([key for key in found if "model=" in key]) == MODEL_SLOTS * len(MODEL_COUNTERS)


def test_names():
    names = (
        FollowedName(url="http+dns://a:1", addresses=("10.0.0.1", "10.0.0.2"), resolved=True),
        FollowedName(url="http+dns://b:1", addresses=("10.0.0.3",), warning="it has no address"),
    )
    found = scraped(view(names=names))
    assert found["fastroute_dns_resolved{name=http+dns://a:1}"] == 1
    assert found["fastroute_dns_addresses{name=http+dns://a:1}"] == 2
    assert found["fastroute_dns_resolved{name=http+dns://b:1}"] == 0
    assert found["fastroute_dns_addresses{name=http+dns://b:1}"] == 1


def test_the_same_server_twice_does_not_break_the_text():
    url = "http://gpu-0:8000"
    shown = view(row(0), row(1, in_flight=2), servers=(routed(0, url), routed(1, url)))
    assert scraped(shown)[f"fastroute_in_flight{{server={url}}}"] == 2


# Numbers that a double represents exactly, because Prometheus stores doubles.
CELLS = st.integers(min_value=0, max_value=2**53)
# Lone surrogates cannot come over the pipe from the supervisor, which is UTF-8.
NAMES = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=20)


@st.composite
def rows(draw, number):
    cells = {name: draw(CELLS) for name in (*SERVER_COLUMNS, *COUNTERS)}
    cells |= {"generation": 1, "state": draw(st.sampled_from(STATES))}
    for name, bounds in (("first_byte", FIRST_BYTE_BOUNDS), ("duration", DURATION_BOUNDS)):
        size = len(bounds) + 1
        counts = draw(st.lists(st.integers(0, 2**40), min_size=size, max_size=size))
        cells[name] = Histogram(buckets=tuple(counts), sum_us=draw(CELLS))
    return row(number, **cells)


@st.composite
def views(draw):
    urls = draw(st.lists(NAMES, unique=True, max_size=3))
    names = draw(st.lists(NAMES.filter(lambda name: name != "other"), unique=True, max_size=3))
    models = [
        model_counters(**{name: draw(CELLS) for name in MODEL_COUNTERS}) for _ in ("", *names)
    ]
    cells = {name: draw(CELLS) for name in PROCESS_CELLS}
    made = [draw(rows(number)) for number in range(len(urls))]
    return view(
        servers=tuple(routed(number, url) for number, url in enumerate(urls)),
        table=table(*made, workers=(worker(0, **cells),), models=tuple(models)),
        model_slots=tuple(names),
    )


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(views())
def test_any_table_is_read_back_with_the_same_numbers(shown):
    found = Found(shown)
    for server, cells in zip(shown.servers, shown.table.servers, strict=True):
        url = server.url
        assert found("in_flight", server=url) == cells.in_flight
        assert found("requests_total", server=url, status_class="2xx") == cells.finished_2xx
        assert found("retries_total", server=url, reason="busy") == cells.retries_busy
        assert found("bytes_total", server=url, direction="out") == cells.bytes_out
        assert found("server_state", server=url, state=cells.state.name.lower()) == 1
        load = cells.in_flight + cells.foreign_milli / 1000
        assert found("server_score", server=url) == load / 8
        found.check_histogram("first_byte_seconds", url, cells.first_byte, FIRST_BYTE_BOUNDS)
        found.check_histogram("request_duration_seconds", url, cells.duration, DURATION_BOUNDS)
    for name, counters in zip(("other", *shown.model_slots), shown.table.models, strict=False):
        for column, status_class in (("finished_5xx", "5xx"), ("aborted", "aborted")):
            value = found("model_requests_total", model=name, status_class=status_class)
            assert value == getattr(counters, column)
    (process,) = shown.table.workers
    assert found("client_connections", worker="0") == process.client_connections


class Found:
    """Samples as read back, by name and labels."""

    def __init__(self, shown):
        self._samples = {}
        for family in families(shown):
            for sample in family.samples:
                key = (sample.name, frozenset(sample.labels.items()))
                assert key not in self._samples
                self._samples[key] = sample.value

    def __call__(self, name, **labels):
        return self._samples[f"fastroute_{name}", frozenset(labels.items())]

    def check_histogram(self, name, url, counted, bounds):
        below = 0
        for bound, count in zip((*bounds, "+Inf"), counted.buckets, strict=True):
            below += count
            assert self(f"{name}_bucket", server=url, le=str(bound)) == below
        assert self(f"{name}_count", server=url) == below
        assert self(f"{name}_sum", server=url) == counted.sum_us / 1e6
