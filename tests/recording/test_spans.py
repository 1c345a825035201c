import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import SpanKind, StatusCode

from fastroute.ipc.request_record import SpanIds
from fastroute.recording.spans import error_type, operation, resource, span_of
from fastroute.rules.outcome import Outcome
from tests.recording.records import CHAT, IDS, chat

NOTHING = Resource({})


def test_a_chat():
    span = span_of(CHAT, IDS, NOTHING)
    assert span.name == "chat llama3.1:8b"
    assert span.kind is SpanKind.CLIENT
    assert f"{span.context.trace_id:032x}-{span.context.span_id:016x}" == f"{IDS.trace}-{IDS.span}"
    assert span.context.trace_flags.sampled
    assert (span.parent.trace_id, span.parent.span_id) == (int(IDS.trace, 16), int(IDS.parent, 16))
    assert span.parent.is_remote
    assert span.start_time == 1_767_225_600_250_000_000
    assert span.end_time - span.start_time == 1_204_100_000
    assert span.status.status_code is StatusCode.UNSET
    assert dict(span.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "vllm",
        "gen_ai.request.model": "llama3.1:8b",
        "gen_ai.response.time_to_first_chunk": 0.0521234,
        "server.address": "gpu-1",
        "server.port": 8000,
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "http.request.body.size": 812,
        "http.response.size": 1903,
        "url.path": "/v1/chat/completions",
        "client.address": "192.0.2.7",
        "fastroute.request.id": "abc-1",
        "fastroute.attempts": 1,
        "fastroute.events": 41,
        "fastroute.ended_by": "server",
        "fastroute.outcome": "answered",
    }


def test_the_names_are_those_of_the_conventions():
    """As far as the package of the conventions knows them."""
    from opentelemetry.semconv._incubating.attributes import (
        client_attributes,
        error_attributes,
        gen_ai_attributes,
        http_attributes,
        server_attributes,
        url_attributes,
    )

    known = {
        value
        for module in (
            *(client_attributes, error_attributes, gen_ai_attributes),
            *(http_attributes, server_attributes, url_attributes),
        )
        for name, value in vars(module).items()
        if name.isupper()
    }
    used = span_of(chat(status=500), IDS, NOTHING).attributes
    assert {name for name in used if not name.startswith("fastroute.")} <= known


def test_a_trace_of_our_own():
    assert span_of(CHAT, SpanIds(IDS.trace, IDS.span), NOTHING).parent is None


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        pytest.param({}, None, id="well"),
        pytest.param({"status": 404}, "404", id="client-error"),
        pytest.param({"status": 503, "outcome": Outcome.NO_USABLE_SERVER}, "503", id="unrouted"),
        pytest.param(
            {"outcome": Outcome.CLIENT_GONE_WAITING, "status": None}, "cancelled", id="client-gone"
        ),
        pytest.param({"outcome": Outcome.TRUNCATED}, "broken", id="broken"),
        pytest.param({"outcome": Outcome.STALLED}, "broken", id="stalled"),
        pytest.param({"outcome": Outcome.TRUNCATED, "status": 500}, "500", id="broken-error"),
        pytest.param({"outcome": Outcome.CLIENT_GONE_REPLYING}, "cancelled", id="gone-in-a-stream"),
        pytest.param({"outcome": Outcome.STOPPED_REPLYING}, "broken", id="cut"),
        pytest.param({"reason": "retried after status 503"}, None, id="retried"),
    ],
)
def test_errors(changes, error):
    record = chat(**changes)
    assert error_type(record) == error
    span = span_of(record, IDS, NOTHING)
    assert span.attributes.get("error.type") == error
    assert span.status.is_ok is (error is None)


@pytest.mark.parametrize(
    ("path", "model", "name"),
    [
        pytest.param("/v1/completions", "m", "text_completion m", id="completions"),
        pytest.param("/v1/embeddings", "m", "embeddings m", id="embeddings"),
        pytest.param("/v1/messages", "m", "chat m", id="messages"),
        pytest.param("/v1/responses", None, "chat", id="no-model"),
        pytest.param("/tokenize", "m", "POST", id="no-operation"),
    ],
)
def test_names(path, model, name):
    assert span_of(chat(path=path, model=model), IDS, NOTHING).name == name
    assert (operation(path) is None) == (name == "POST")


def test_the_resource(monkeypatch):
    assert resource().attributes["service.name"] == "fastroute"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "router-7")
    assert resource().attributes["service.name"] == "router-7"
