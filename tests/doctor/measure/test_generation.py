"""Streams and aborts, of correct servers and of servers behind bad proxies."""

import asyncio
import gzip
import re

import pytest

from fastroute.doctor.facts import Models
from fastroute.doctor.judge.generation import is_held_back, judge_abort, judge_stream
from fastroute.doctor.measure import generation
from fastroute.doctor.measure.generation import (
    STREAM_TOKENS,
    measure_abort,
    measure_stream,
    model_to_ask,
)
from tests.support.doctored import measured, silent
from tests.support.facts import facts, metrics, stream
from tests.support.judged import one
from tests.support.meddler import meddler
from tests.support.ports import free_port
from tests.support.scripted import read_request, replies, scripted
from tests.support.standin_client import chat, client
from tests.support.standins import standin, until

LISTED = Models(status=200, names=("standin",))


async def streamed(url: str, **known):
    return await measured(measure_stream, url, **{"models": LISTED, **known})


async def test_a_stream():
    async with standin(token_interval=0.01) as server:
        found = await streamed(server.url)
        assert server.counters.served == 2
        assert server.engine.generation_tokens == 1 + STREAM_TOKENS
    assert len(found.stream.events_at) == STREAM_TOKENS
    assert found.stream.is_done
    assert found.stream.spread >= 0.25
    assert found.stream.head_at <= found.stream.events_at[0]
    assert one(judge_stream(found))[0] == "ok"


async def test_held_back():
    """It is measured three times before it is reported."""
    async with standin(token_interval=0.03) as server:
        async with scripted(meddler(server.port)) as proxy:
            found = await streamed(proxy.url)
        assert server.counters.served == 2 * generation.ATTEMPTS
    assert is_held_back(found.stream)
    assert one(judge_stream(found))[0] == "error"


async def test_held_back_by_compression():
    """Nginx with `gzip on` does this for clients that accept gzip, which most do."""
    async with standin(token_interval=0.03) as server:

        async def compressing(reader, writer):
            head, body = await read_request(reader)
            assert b"accept-encoding: gzip\r\n" in head.lower()
            theirs, ours = await asyncio.open_connection("127.0.0.1", server.port)
            ours.write(head.replace(b"HTTP/1.1\r\n", b"HTTP/1.1\r\nConnection: close\r\n") + body)
            reply = await theirs.read()
            ours.close()
            packed = gzip.compress(b"".join(re.findall(rb"data: .*\n\n", reply)))
            fields = b"Content-Encoding: gzip\r\nContent-Length: %d\r\n" % len(packed)
            writer.write(b"HTTP/1.1 200 OK\r\n%b\r\n%b" % (fields, packed))

        async with scripted(compressing) as proxy:
            found = await streamed(proxy.url)
    assert len(found.stream.events_at) == STREAM_TOKENS
    assert one(judge_stream(found))[0] == "error"


async def test_in_bursts():
    async with standin(token_interval=0.03) as server:
        async with scripted(meddler(server.port, lot=2000)) as proxy:
            found = await streamed(proxy.url)
    assert len(found.stream.events_at) == STREAM_TOKENS
    severity, words, _ = one(judge_stream(found))
    assert severity == "warning"
    assert "in bursts" in words


async def test_too_fast_to_see():
    async with standin() as server:
        found = await streamed(server.url)
    assert one(judge_stream(found))[0] == "unknown"


@pytest.mark.parametrize(
    ("models", "status"),
    [
        pytest.param(Models(status=200, names=("other",)), 404, id="unknown-model"),
    ],
)
async def test_refused(models, status):
    async with standin() as server:
        found = await streamed(server.url, models=models)
    assert (found.stream.status, found.stream.error) == (status, "/v1/completions returns 404")


async def test_a_full_server():
    async with standin(max_queued=0) as server:
        found = await streamed(server.url)
    assert found.stream.status == 503
    assert one(judge_stream(found))[0] == "unknown"


async def test_one_that_hangs(monkeypatch):
    monkeypatch.setattr(generation, "GENERATION_TIMEOUT", 0.1)
    async with scripted(silent) as server:
        found = await streamed(server.url)
    assert found.stream.error == "no complete response within 0.1 s"
    assert one(judge_stream(found))[0] == "error"


async def test_a_truncated_stream():
    half = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nda"

    async def handler(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(half)

    async with scripted(handler) as server:
        found = await streamed(server.url)
    assert found.stream.error.startswith("the response breaks HTTP")


async def test_a_stream_without_events():
    body = b'{"choices": []}'
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    async with scripted(replies(reply)) as server:
        found = await streamed(server.url)
    assert one(judge_stream(found))[:2] == (
        "error",
        "the response to a streamed request was 200 without any event",
    )


async def test_a_server_that_has_stopped():
    found = await streamed(f"http://127.0.0.1:{free_port()}")
    assert found.stream.error == "cannot connect: Connection refused"


@pytest.mark.parametrize(
    "known",
    [
        pytest.param({"models": None}, id="no-model-is-known"),
        pytest.param({"metrics": metrics(asleep=True)}, id="asleep"),
    ],
)
async def test_not_tried(known):
    async with standin() as server:
        assert (await streamed(server.url, **known)).stream is None
        assert server.counters.requests == 0


@pytest.mark.parametrize(
    ("pinned", "listed", "expected"),
    [
        pytest.param(None, ("a", "b"), "a", id="listed"),
        pytest.param(["b"], ("a", "b"), "b", id="pinned"),
        pytest.param(["x"], ("a", "b"), "a", id="pinned-and-not-there"),
        pytest.param(["x"], None, "x", id="pinned-and-not-listed"),
        pytest.param(None, None, None, id="unknown"),
    ],
)
def test_requested_model(pinned, listed, expected):
    entry = {} if pinned is None else {"models": pinned}
    assert model_to_ask(facts(entry=entry, models=Models(names=listed))) == expected


async def given_up(url: str, **known):
    shown = stream(STREAM_TOKENS, 0.01, model="standin")
    return await measured(measure_abort, url, **{"stream": shown, **known})


async def test_an_abort_that_stops_generation():
    async with standin(token_interval=0.01) as server:
        found = await given_up(server.url)
        await until(lambda: server.counters.aborted == 1)
        assert server.engine.generation_tokens < 390
    assert (found.abort.before, found.abort.during) == (0, 1)
    assert found.abort.back_after <= found.abort.waited
    assert found.abort.rest > 3
    assert one(judge_abort(found))[0] == "ok"


async def test_an_abort_that_is_not_forwarded():
    async with standin(token_interval=0.01) as server:
        async with scripted(meddler(server.port, lot=1)) as proxy:
            found = await given_up(proxy.url)
    assert (found.abort.before, found.abort.during, found.abort.back_after) == (0, 1, None)
    severity, words, _ = one(judge_abort(found))
    assert 3.0 <= found.abort.waited < 5.0
    words_for_it = f"still generates {found.abort.waited:.1f}s after the disconnect"
    assert (severity, words) == ("error", words_for_it)


async def test_an_abort_of_a_buffered_response():
    """The response has not started when the client disconnects."""
    async with standin(token_interval=0.01) as server:
        async with scripted(meddler(server.port)) as proxy:
            found = await given_up(proxy.url)
    assert (found.abort.before, found.abort.during, found.abort.back_after) == (0, 1, None)
    assert one(judge_abort(found))[0] == "error"


async def test_an_abort_that_is_rejected():
    async with standin(max_queued=0) as server:
        found = await given_up(server.url)
    assert found.abort.error == "/v1/completions returns 503"


async def test_an_abort_among_others():
    async with standin(token_interval=0.01) as server:
        async with client(server.port) as other:
            other.send(chat(max_tokens=5000, stream=True))
            await until(lambda: server.engine.running == 1)
            found = await given_up(server.url)
    assert (found.abort.before, found.abort.during) == (1, 2)
    severity, words, _ = one(judge_abort(found))
    assert severity == "ok"
    assert words.endswith("requests of other clients: 1")


async def test_an_abort_that_is_not_counted(monkeypatch):
    """The metrics are those of another server, as behind a load balancer."""
    monkeypatch.setattr(generation, "SEEN_WITHIN", 0.1)
    async with standin(token_interval=0.01) as busy, standin() as idle:

        async def handler(reader, writer):
            head = await reader.readuntil(b"\r\n\r\n")
            port = idle.port if head.startswith(b"GET /metrics") else busy.port
            rest = _Again(head, reader)
            await meddler(port, lot=1)(rest, writer)

        async with scripted(handler) as balancer:
            found = await given_up(balancer.url)
    assert (found.abort.before, found.abort.during) == (0, 0)
    assert one(judge_abort(found))[0] == "unknown"


class _Again:
    """A reader whose headers were already read."""

    def __init__(self, head, reader):
        self._head = head
        self.readexactly = reader.readexactly

    async def readuntil(self, _):
        return self._head


async def test_without_metrics_an_abort_cannot_be_seen():
    async with scripted(replies(b"HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n")) as server:
        found = await given_up(server.url)
    assert found.abort.error == "/metrics returned 404"


async def test_without_a_stream_none_is_aborted():
    async with standin() as server:
        for shown in (None, stream(error="refused")):
            assert (await given_up(server.url, stream=shown)).abort is None
        assert server.counters.requests == 0
