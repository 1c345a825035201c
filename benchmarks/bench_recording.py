"""Cost of recording a request: nothing enabled, access log, explain headers, traces."""

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

from benchmarks.comparison import traffic, upstream
from benchmarks.in_memory import InMemoryWorker
from fastroute.ipc.messages import Configure, MessageReader, Records, encode
from fastroute.ipc.request_record import RequestRecord
from fastroute.proxy.recorder import BATCH
from fastroute.recording.lines import json_line, text_line
from fastroute.recording.spans import resource, span_of

JSON_REQUEST = traffic.chat_request(1024)
STREAM_REQUEST = traffic.chat_request(1024, events=1000)
EVENT = traffic.chunk(traffic.sse_event(0))
WANTED = {
    "off": {},
    "access log": {"access_log": "json"},
    "explain": {"explain": True},
    "traces": {"otlp_endpoint": "http://127.0.0.1:4318"},
    "all": {"access_log": "json", "explain": True, "otlp_endpoint": "http://127.0.0.1:4318"},
}
each_wish = pytest.mark.parametrize("settings", WANTED.values(), ids=WANTED.keys())


def wishing(worker: InMemoryWorker, settings: dict) -> None:
    """Apply settings."""
    before: Configure = worker.state.configured
    config = type(before.config)(servers=before.config.servers, **settings)
    worker.state.configure(
        Configure(config=config, servers=before.servers, model_slots=before.model_slots)
    )


@each_wish
def test_json_request_and_reply(benchmark, make_worker, settings):
    worker = make_worker(4)
    wishing(worker, settings)
    request = traffic.request_head("127.0.0.1:8888", JSON_REQUEST) + JSON_REQUEST
    state = worker.state
    waiting = list(worker.upstreams.values())  # by row

    def relay() -> None:
        worker.client.data_received(request)
        in_flight = state.cells.in_flight
        server = next(one for one in state.router.servers if in_flight[one.row])
        waiting[server.row].data_received(upstream.JSON_REPLY)

    benchmark(relay)
    assert worker.client_transport.written.endswith(traffic.chat_reply())


@each_wish
def test_relay_of_one_event(benchmark, make_worker, settings):
    worker = make_worker(4)
    wishing(worker, settings)
    stream = worker.ask(STREAM_REQUEST)
    stream.data_received(upstream.STREAM_HEAD)
    benchmark(stream.data_received, EVENT)
    assert worker.client_transport.written == EVENT


def a_record(worker: InMemoryWorker, settings: dict) -> RequestRecord:
    """Return the record of one request."""
    wishing(worker, settings)
    worker.ask(JSON_REQUEST).data_received(upstream.JSON_REPLY)
    worker.state.recorder.flush()
    assert isinstance(worker.link.last, Records)
    return worker.link.last.records[0]


@pytest.mark.parametrize("form", [json_line, text_line], ids=["json", "text"])
def test_one_line(benchmark, make_worker, form):
    """In the supervisor's thread."""
    record = a_record(make_worker(1), WANTED["access log"])
    assert benchmark(form, record).endswith(b"\n")


def test_a_hundred_spans(benchmark, make_worker):
    """In the supervisor's thread: created and encoded, as in the exporter."""
    record = a_record(make_worker(1), WANTED["traces"])
    of = resource()

    def batch() -> bytes:
        spans = [span_of(record, record.span, of) for _ in range(100)]
        return encode_spans(spans).SerializeToString()

    assert benchmark(batch)


def test_decoding_a_message(benchmark, make_worker):
    """In the supervisor's loop, for as many records as a worker sends in one message."""
    data = encode(Records([a_record(make_worker(1), WANTED["access log"])] * BATCH))
    reader = MessageReader()
    assert benchmark(reader.feed, data)
