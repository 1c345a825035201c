"""Parsing a server's load from the metrics of a real one: all 64 KB, and filtered."""

import pytest

from benchmarks.comparison import traffic, upstream
from fastroute.rules.load import NAMES, parse_metrics

ALL = upstream.metrics_text()
TEXTS = {"all": ALL, "filtered": upstream.filtered(ALL, {name.encode() for name in NAMES})}


@pytest.mark.parametrize("kind", TEXTS)
def test_metrics_parse(benchmark, kind):
    text = TEXTS[kind]
    assert (len(text) > 60_000) == (kind == "all")
    report = benchmark(parse_metrics, text)
    assert (report.running, report.waiting) == (0, 0)
    assert report.models == (traffic.MODEL,)
    assert report.kv_cache_usage is not None
