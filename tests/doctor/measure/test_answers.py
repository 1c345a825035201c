"""Measurements of version, models and metrics, with valid and invalid responses."""

import contextlib
import json

import pytest

from fastroute.doctor.facts import KvCache, Models
from fastroute.doctor.measure.answers import (
    measure_filtered,
    measure_metrics,
    measure_models,
    measure_version,
)
from fastroute.rules.load import NAMES
from tests.support.doctored import measured
from tests.support.ports import free_port
from tests.support.scripted import read_request, replies, scripted
from tests.support.standins import standin

NOT_FOUND = b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}"
NO_HTTP = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx"
GONE = "http://127.0.0.1:%d"


def answer(body: bytes, status: int = 200) -> bytes:
    return b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body)


@contextlib.asynccontextmanager
async def asked(measure, reply: bytes, **options):
    """Return the facts measured of a server that always sends the same response."""
    async with scripted(replies(reply)) as server:
        yield await measured(measure, server.url, **options)


async def test_version():
    async with standin() as server:
        assert (await measured(measure_version, server.url)).version == "0.32.0"


@pytest.mark.parametrize(
    "reply",
    [NOT_FOUND, answer(b"0.32.0"), answer(b'{"version": 5}'), answer(b"\xff"), NO_HTTP],
)
async def test_no_version(reply):
    async with asked(measure_version, reply) as facts:
        assert facts.version is None


async def test_models():
    async with standin(models=["a", "b"]) as server:
        facts = await measured(measure_models, server.url)
    assert facts.models == Models(
        status=200, names=("a", "b"), context_lengths={"a": 8192, "b": 8192}
    )
    assert facts.status_without_key is None


@pytest.mark.parametrize(
    ("reply", "status", "error"),
    [
        pytest.param(NOT_FOUND, 404, "/v1/models returned 404", id="not-found"),
        pytest.param(answer(b"{}"), 200, "not a list of models: ", id="another-object"),
        pytest.param(NO_HTTP, None, "the response breaks HTTP", id="no-http"),
    ],
)
async def test_no_models(reply, status, error):
    async with asked(measure_models, reply) as facts:
        assert facts.models.status == status
        assert facts.models.names is None
        assert facts.models.error.startswith(error)


async def test_unreported_context_lengths():
    body = json.dumps({"data": [{"id": "a"}, {"id": "b", "max_model_len": "x"}]}).encode()
    async with asked(measure_models, answer(body)) as facts:
        assert facts.models == Models(status=200, names=("a", "b"))


@pytest.mark.parametrize(
    ("key", "models", "without"),
    [
        pytest.param("right", ("m",), 401, id="accepted"),
        pytest.param("wrong", None, 401, id="refused"),
        pytest.param(None, None, None, id="none"),
    ],
)
async def test_a_server_with_a_key(key, models, without):
    async def handler(reader, writer):
        while True:
            head, _ = await read_request(reader)
            if b"authorization: bearer right\r\n" in head.lower():
                writer.write(answer(b'{"data": [{"id": "m"}]}'))
            else:
                writer.write(answer(b'{"error":"Unauthorized"}', 401))

    async def until_closed(reader, writer):
        with contextlib.suppress(EOFError):
            await handler(reader, writer)

    entry = {} if key is None else {"api_key": key}
    async with scripted(until_closed) as server:
        facts = await measured(measure_models, server.url, entry=entry)
    assert (facts.models.names, facts.status_without_key) == (models, without)
    assert facts.models.status == (200 if models else 401)


async def test_metrics():
    async with standin() as server:
        metrics = (await measured(measure_metrics, server.url)).metrics
    assert metrics.error == ""
    assert "vllm:num_requests_running" in metrics.names
    assert set(metrics.names) <= set(NAMES)
    assert (metrics.load.running, metrics.load.waiting) == (0, 0)
    assert metrics.kv_cache == KvCache(16_384)
    assert metrics.size > 1000


@pytest.mark.parametrize(
    ("reply", "error", "names"),
    [
        pytest.param(NOT_FOUND, "/metrics returns 404", (), id="not-found"),
        pytest.param(answer(b""), "the metrics are empty", (), id="empty"),
        pytest.param(
            answer(b'go_x 7\nvllm:num_requests_waiting{a="b"} 1\n'),
            "vllm:num_requests_running is missing",
            ("vllm:num_requests_waiting",),
            id="incomplete",
        ),
    ],
)
async def test_metrics_of_another_program(reply, error, names):
    async with asked(measure_metrics, reply) as facts:
        assert facts.metrics.load is None
        assert (facts.metrics.error, facts.metrics.names) == (error, names)


async def test_filtered():
    async with standin() as server:
        filtered = (await measured(measure_filtered, server.url)).filtered
        whole = (await measured(measure_metrics, server.url)).metrics
    assert filtered.error == ""
    assert 0 < filtered.size < whole.size


ALL = b"".join(
    b"# TYPE vllm:x%d gauge\nvllm:x%d 1\n" % (number, number) for number in range(len(NAMES) + 2)
)


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        pytest.param(NOT_FOUND, "it returns 404", id="not-found"),
        pytest.param(answer(b"\n" + ALL), "the filter is ignored", id="ignored"),
        pytest.param(answer(b""), "the metrics are empty", id="several-api-servers"),
    ],
)
async def test_not_filtered(reply, error):
    async with asked(measure_filtered, reply) as facts:
        assert facts.filtered.error == error


@pytest.mark.parametrize(
    ("measure", "field"),
    [(measure_models, "models"), (measure_metrics, "metrics"), (measure_filtered, "filtered")],
)
async def test_a_server_that_has_stopped_meanwhile(measure, field):
    facts = await measured(measure, GONE % free_port())
    assert getattr(facts, field).error == "cannot connect: Connection refused"
