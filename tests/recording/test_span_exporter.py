import logging
import time

import pytest

from fastroute.recording import span_exporter
from fastroute.recording.span_exporter import SpanExporter, traces_url
from tests.recording.records import CHAT, IDS, chat
from tests.support.collector import attributes, collector
from tests.support.command import wait_until


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    monkeypatch.setattr(span_exporter, "GATHER_S", 0.01)
    monkeypatch.setattr(span_exporter, "TIMEOUT_S", 0.5)


def traced(count: int) -> list:
    return [chat(id=str(number), span=IDS) for number in range(count)]


def test_spans_arrive(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20abc")
    with collector() as taking:
        exporter = SpanExporter(taking.url)
        exporter.put([CHAT, *traced(3)])  # the first has no place in a trace
        wait_until(lambda: len(taking.spans) == 3)
        exporter.put(traced(1000))
        exporter.close(5)
        assert len(taking.spans) == 1003
        assert exporter.lost == 0
        first = taking.spans[0]
        assert (first.trace_id.hex(), first.span_id.hex()) == (IDS.trace, IDS.span)
        assert first.parent_span_id.hex() == IDS.parent
        assert first.kind == first.SPAN_KIND_CLIENT
        assert attributes(first)["gen_ai.request.model"] == "llama3.1:8b"
        assert [attributes(span)["fastroute.request.id"] for span in taking.spans[3:]] == [
            str(number) for number in range(1000)
        ]
        assert taking.resources[0]["service.name"] == "fastroute"
        assert set(taking.scopes) == {"fastroute"}
        assert taking.headers[0]["authorization"] == "Bearer abc"


def test_a_dead_collector(caplog):
    caplog.set_level(logging.INFO)
    exporter = SpanExporter("http://127.0.0.1:9")
    exporter.put(traced(10))
    wait_until(lambda: exporter.lost == 10)
    exporter.put(traced(5))
    exporter.close(5)
    assert exporter.lost == 15
    [said] = [record for record in caplog.records if record.name == "tracing"]
    assert said.getMessage() == (
        "the collector at http://127.0.0.1:9/v1/traces accepts no spans; they are dropped"
    )


def test_one_that_refuses_and_then_takes(caplog):
    caplog.set_level(logging.INFO, "tracing")
    with collector() as refusing:
        refusing.status = 400
        exporter = SpanExporter(refusing.url)
        exporter.put(traced(2))
        wait_until(lambda: exporter.lost == 2)
        refusing.status = 200
        exporter.put(traced(1))
        wait_until(lambda: len(refusing.spans) == 1)
        wait_until(lambda: len(caplog.records) == 2)
        exporter.close(5)
    assert "accepts spans again; dropped so far: 2" in caplog.records[1].getMessage()


def test_one_that_hangs():
    """What has no room is dropped at once, and the end does not wait for it."""
    with collector() as hanging:
        hanging.held.clear()
        exporter = SpanExporter(hanging.url, backlog=100)
        began = time.monotonic()
        exporter.put(traced(1))
        for _ in range(100):
            exporter.put(traced(100))
        assert exporter.lost >= 100 * 100 - 600
        assert time.monotonic() - began < 1
        exporter.close(0.1)
        assert time.monotonic() - began < 2
        assert exporter.lost == 100 * 100 + 1
        hanging.held.set()
        exporter._thread.join(5)


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        pytest.param("http://c:4318", "http://c:4318/v1/traces", id="base"),
        pytest.param("http://c:4318/", "http://c:4318/v1/traces", id="slash"),
        pytest.param("https://c/otlp", "https://c/otlp/v1/traces", id="path"),
        pytest.param("http://c:4318/v1/traces", "http://c:4318/v1/traces", id="whole"),
    ],
)
def test_traces_url(endpoint, url):
    assert traces_url(endpoint) == url
