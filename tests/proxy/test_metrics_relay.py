"""Requests for /metrics, over real sockets; the supervisor answers when the test says so."""

import contextlib

import pytest

from fastroute.ipc.messages import MetricsReply
from fastroute.proxy.metrics_relay import MAX_FORMATS, REPLY_TIMEOUT_S, MetricsRelay
from tests.support.standin_client import client, get
from tests.support.standins import until


@contextlib.asynccontextmanager
async def asking(start_router, *requests: bytes, relayed: int = 1, **settings):
    """A router and a client whose requests were relayed and are not answered."""
    router = await start_router(**settings)
    router.renders_metrics = False
    async with client(router.port) as connection:
        connection.send(b"".join(requests))
        await until(lambda: len(router.metrics_requests) == relayed)
        yield router, connection


def local(router) -> int:
    return router.state.cells.process.requests_local[0]


def answer(router, number: int) -> bytes:
    """Answer a relayed request, by its id."""
    request = router.metrics_requests[number]
    body = b"%d" % request.id
    router.metrics.take(MetricsReply(id=request.id, status=200, body=body, content_type="x"))
    return body


async def test_requests_meanwhile_share_the_next_rendering(start_router):
    """They do not share the one in progress, which may be older than what they ask for."""
    async with (
        asking(start_router, get("/metrics")) as (router, first),
        client(router.port) as second,
        client(router.port) as third,
    ):
        for other in (second, third):
            other.send(get("/metrics"))
        await until(lambda: len(router.metrics) == 3)
        assert len(router.metrics_requests) == 1
        body = answer(router, 0)
        assert (await first.receive()).body == body
        assert len(router.metrics_requests) == 2
        body = answer(router, 1)
        assert [(await each.receive()).body for each in (second, third)] == [body, body]
    assert local(router) == 3
    assert not len(router.metrics)


async def test_formats_are_rendered_side_by_side_but_few(start_router):
    async with asking(start_router, get("/metrics")) as (router, first):
        others = [client(router.port) for _ in range(MAX_FORMATS)]
        async with contextlib.AsyncExitStack() as stack:
            connections = [await stack.enter_async_context(other) for other in others]
            for number, connection in enumerate(connections):
                connection.send(get("/metrics", fields=f"Accept: text/{number}\r\n"))
            await until(lambda: len(router.metrics) == MAX_FORMATS + 1)
            assert len(router.metrics_requests) == MAX_FORMATS
            for number in range(MAX_FORMATS + 1):
                answer(router, number)
            for connection in (first, *connections):
                assert (await connection.receive()).status == 200
    assert not len(router.metrics)


async def test_another_format_does_not_wait_behind_a_queued_one(start_router):
    async with (
        asking(start_router, get("/metrics")) as (router, _),
        client(router.port) as second,
        client(router.port) as third,
    ):
        second.send(get("/metrics"))
        await until(lambda: len(router.metrics) == 2)
        third.send(get("/metrics", fields="Accept: text/plain\r\n"))
        await until(lambda: len(router.metrics_requests) == 2)
        body = answer(router, 1)
        assert (await third.receive()).body == body
        answer(router, 0)
        answer(router, 2)
        assert (await second.receive()).status == 200


async def test_those_behind_one_that_goes(start_router):
    async with asking(start_router, get("/metrics")) as (router, first):
        async with client(router.port) as second:
            second.send(get("/metrics"))
            await until(lambda: len(router.metrics) == 2)
            first.writer.transport.abort()
            await until(lambda: len(router.metrics_requests) == 2)
            body = answer(router, 1)
            assert (await second.receive()).body == body
    assert not len(router.metrics)


async def test_what_was_asked_behind_it_waits(start_router):
    async with asking(start_router, get("/metrics"), get("/livez"), get("/metrics")) as (
        router,
        connection,
    ):
        router.render_metrics(router.metrics_requests[0])
        answers = [await connection.receive() for _ in range(2)]
        assert b"fastroute_build_info" in answers[0].body
        assert answers[1].json()["status"] == "alive"
        await until(lambda: len(router.metrics_requests) == 2)
        router.render_metrics(router.metrics_requests[1])
        assert (await connection.receive()).status == 200
    assert local(router) == 3


async def test_only_the_head_for_head(start_router):
    async with asking(start_router, get("/metrics", "HEAD"), get("/livez")) as (router, connection):
        router.render_metrics(router.metrics_requests[0])
        raw = await connection.reader.readuntil(b"\r\n\r\n")
        assert b"content-type: text/plain; version=0.0.4" in raw.lower()
        assert int(raw.lower().split(b"content-length: ")[1].split(b"\r\n")[0]) > 1000
        assert (await connection.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")


async def test_a_silent_supervisor(start_router):
    async with asking(start_router, get("/metrics"), get("/livez"), access_log="all") as (
        router,
        connection,
    ):
        (asked,) = router.state.clients
        now = router.state.stamp
        asked.sweep(now + REPLY_TIMEOUT_S - 0.1)
        assert local(router) == 1, "it still waits"
        asked.sweep(now + REPLY_TIMEOUT_S)
        late, live = await connection.receive(), await connection.receive()
        assert (late.status, live.status) == (503, 200)
        assert "supervisor" in late.json()["error"]["message"]
        router.render_metrics(router.metrics_requests[0])  # too late: nobody gets it
        connection.send(get("/livez"))
        assert (await connection.receive()).json()["status"] == "alive"
    first, *_ = router.records()
    assert (first.status, first.ended_by) == (503, "fastroute")
    assert "supervisor" in first.reason


@pytest.mark.parametrize("reply_first", [False, True])
async def test_a_client_that_goes(start_router, reply_first):
    async with asking(start_router, get("/metrics"), access_log="all") as (router, _):
        if reply_first:
            router.render_metrics(router.metrics_requests[0])
    await until(lambda: not router.state.clients)
    router.render_metrics(router.metrics_requests[0])
    (record,) = router.records()
    expected = (200, "fastroute") if reply_first else (None, "client")
    assert (record.status, record.ended_by, record.path) == (*expected, "/metrics")
    assert not len(router.metrics)


async def test_a_worker_that_stops(start_router):
    async with asking(start_router, get("/metrics")) as (router, connection):
        (asked,) = router.state.clients
        asked.cut()
        answer = await connection.receive()
        assert answer.status == 503
        assert await connection.is_closed()
    assert local(router) == 1


@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_only_reading(start_router, method):
    router = await start_router()
    async with client(router.port) as connection:
        connection.send(get("/metrics", method, "Content-Length: 0\r\n"))
        assert (await connection.receive()).status == 405
    assert not router.metrics_requests


async def test_replies_to_nobody_are_dropped(start_router):
    router = await start_router()
    relay = MetricsRelay(router.state)
    relay.take(MetricsReply(id=7, status=200, body=b"", content_type="x"))
