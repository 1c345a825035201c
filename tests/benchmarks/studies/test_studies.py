"""Evaluation of measurements by the studies."""

import pytest

from benchmarks.studies import cross_check, many_streams, own_metrics, scraping, workers
from fastroute.config import parse_config
from tests.support.bench import result

# Output of wrk 4.1.0.
WRK = """\
Running 1s test @ http://127.0.0.1:24410
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency    13.63ms   12.06ms 100.91ms   87.67%
    Req/Sec     5.63k     1.81k    8.12k    60.00%
  5640 requests in 1.01s, 4.91MB read
Requests/sec:   5600.21
Transfer/sec:      4.88MB
"""


@pytest.mark.parametrize(
    ("files", "streams"), [(65_536, 10_000), (20_000, 9_900), (1_024, 412), (10, 1)]
)
def test_streams_allowed(files, streams):
    assert many_streams.streams_allowed(10_000, files) == streams


def test_memory_is_that_of_the_streams_of_each_step():
    steps = [(0, {"p": 1_000}), (10, {"p": 81_000}), (10, {"p": 9}), (30, {"p": 201_009})]
    grown = many_streams.bytes_per_stream(result(resident_steps=steps), "p")
    assert grown == [(10, 8_000.0), (30, 10_050.0)]


@pytest.mark.parametrize(("clients", "apart"), [([500, 500], 0), ([550, 450], 0.2), ([0, 10], 2)])
def test_how_far_apart_clients_are(clients, apart):
    assert workers.difference(clients) == pytest.approx(apart)


def test_the_configuration_is_one():
    config = parse_config(scraping.servers_toml((8001, 8002), 86_400.0), "bench")
    assert [server.url for server in config.servers] == [
        "http://127.0.0.1:8001",
        "http://127.0.0.1:8002",
    ]
    assert config.scrape_interval == 86_400


def test_delays_while_metrics_are_scraped():
    rounds = [
        result(latencies={"p50": p50, "p99": 0.01, "max": 0.02}) for p50 in (3e-6, 1e-6, 2e-6)
    ]
    lines = own_metrics.summary({"off": rounds, "gzip": [result(latencies={})]})
    assert len(lines) == 3
    assert lines[0].split() == ["off", "p50", "median", "2", "us,", "least", "1", "us"]


def test_what_wrk_says():
    check = cross_check.read(WRK, 0.0564)
    assert check.requests_per_second == pytest.approx(5584, abs=1)
    assert check.cpu_seconds == pytest.approx(1e-5)
    assert check.wrong == ""


def test_what_wrk_says_of_wrong_answers():
    check = cross_check.read(WRK + "  Non-2xx or 3xx responses: 12\n", 1.0)
    assert check.wrong == "Non-2xx or 3xx responses: 12"


@pytest.mark.parametrize("output", ["", WRK.replace("5640 requests", "0 requests")])
def test_nothing_answered(output):
    with pytest.raises(ValueError, match="no responses"):
        cross_check.read(output, 1.0)
