"""What is told of a request, in each way it can end; and what is told within it."""

import asyncio
import contextlib
import re

import pytest

from fastroute.proxy.reply import MAX_HELD_BYTES
from fastroute.rules.server_state import ServerState
from fastroute.rules.trace_context import read_traceparent
from tests.support.judge import judge_requests
from tests.support.memory_router import memory_router

BODY = b'{"model":"m","messages":[{"content":"a secret"}]}'
HEAD = (
    b"POST /v1/chat/completions?key=secret HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer secret\r\n"
)
POST = HEAD + b"X-Request-Id: r-1\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
OK = b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 2\r\n\r\nhi"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nDate: x\r\nContent-Length: 2\r\n\r\nno"
STREAM = b"HTTP/1.1 200 OK\r\nDate: x\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = b"3\r\nabc\r\n"
END = b"0\r\n\r\n"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"


@contextlib.contextmanager
def recorded(servers: int = 1, **settings):
    """A data plane on the running loop, and what is told of its requests."""
    settings.setdefault("access_log", "json")
    with memory_router(asyncio.get_running_loop(), servers=servers, **settings) as router:

        def told() -> list:
            router.state.recorder.flush()
            return router.link.records

        router.told = told
        yield router


def fields(record, *names) -> tuple:
    assert "secret" not in repr(record)
    return tuple(getattr(record, name) for name in names)


async def test_a_json_reply():
    with recorded() as router:
        client = router.client()
        client.feed(POST)
        upstream = await router.asked()
        router.state.stamp += 1
        upstream.feed(OK)
        [record] = router.told()
        assert fields(record, "id", "client", "method", "path", "model", "server") == (
            *("r-1", "192.0.2.7", "POST", "/v1/chat/completions", "m", "http://server-0:8000"),
        )
        assert fields(record, "status", "bytes_in", "bytes_out", "events", "attempts") == (
            *(200, len(BODY), len(OK), 1, 1),
        )
        assert fields(record, "ended_by", "reason", "span") == ("server", None, None)
        assert 0 < record.first_byte <= record.duration < 5
        assert client.written() == OK


async def test_nothing_is_kept_of_a_request_that_nobody_wants_to_know_of():
    with recorded(access_log="off") as router:
        client = router.client()
        client.feed(POST)
        upstream = await router.asked()
        assert client.protocol._exchange.trace is None
        assert router.state.recorder is None
        upstream.feed(OK)
        client.feed(POST)
        upstream.feed(OK)


@pytest.mark.parametrize(
    ("segments", "events"),
    [
        pytest.param([STREAM, EVENT, EVENT, END], 3, id="head-alone"),
        pytest.param([STREAM + EVENT, EVENT, END], 3, id="with-the-first"),
        pytest.param([STREAM + EVENT + EVENT + END], 1, id="all-in-one"),
        pytest.param([STREAM[:9], STREAM[9:], EVENT + END], 1, id="head-in-two"),
        pytest.param([b"HTTP/1.1 204 No Content\r\nDate: x\r\n\r\n"], 0, id="no-body"),
        pytest.param([b"HTTP/1.1 103 Early Hints\r\n\r\n", OK], 1, id="after-an-interim-reply"),
        pytest.param(
            [b"HTTP/1.1 500 x\r\nDate: x\r\nContent-Length: 4\r\n\r\n", b"ab", b"cd"],
            2,
            id="held-refusal",
        ),
    ],
)
async def test_events(segments, events):
    with recorded() as router:
        client = router.client()
        client.feed(POST)
        upstream = await router.asked()
        upstream.feed(*segments)
        [record] = router.told()
        assert record.events == events
        written = client.written()
        interim = b"HTTP/1.1 103 Early Hints\r\n\r\n"
        assert record.bytes_out == len(written.removeprefix(interim))


async def test_pipelined_requests_are_told_of_one_by_one():
    with recorded() as router:
        client = router.client()
        client.feed(POST + POST.replace(b"r-1", b"r-2"))
        upstream = await router.asked()
        upstream.feed(OK)
        upstream.feed(BUSY)
        told = [fields(record, "id", "status") for record in router.told()]
        assert told == [("r-1", 200), ("r-2", 503)]


class TestRetries:
    async def test_connecting_failed(self):
        with recorded(servers=2) as router:
            router.table.servers.foreign_milli[1] = 1000
            router.pools[0].failures.append(ConnectionRefusedError(111, "refused"))
            client = router.client()
            client.feed(POST)
            upstream = await router.asked(server=1)
            upstream.feed(OK)
            [record] = router.told()
            assert fields(record, "status", "attempts", "ended_by", "server", "reason") == (
                *(200, 2, "server", "http://server-1:8000"),
                "retried after connect failure at http://server-0:8000",
            )

    async def test_a_refusal(self):
        """Only what the client got is counted."""
        with recorded(servers=2) as router:
            router.table.servers.foreign_milli[1] = 1000
            client = router.client()
            client.feed(POST)
            (await router.asked()).feed(BUSY)
            (await router.asked(server=1)).feed(OK)
            [record] = router.told()
            assert fields(record, "status", "attempts", "bytes_out", "events", "reason") == (
                *(200, 2, len(OK), 1),
                "retried after status 503 at http://server-0:8000",
            )
            assert client.written() == OK

    async def test_a_long_refusal_that_was_passed_on(self):
        with recorded(servers=2) as router:
            length = 2 * MAX_HELD_BYTES
            client = router.client()
            client.feed(POST)
            await asyncio.sleep(0)
            pool = next(each for each in router.pools if each.upstreams)
            pool.upstreams[0].feed(
                b"HTTP/1.1 503 x\r\nDate: x\r\nContent-Length: %d\r\n\r\n" % length,
                *(b"x" * MAX_HELD_BYTES,) * 2,
            )
            [record] = router.told()
            assert fields(record, "status", "attempts", "events") == (503, 1, 2)
            assert record.bytes_out == len(client.written())

    async def test_a_connection_that_had_been_closed(self):
        with recorded() as router:
            idle = router.pool.ready(reused=True)
            client = router.client()
            client.feed(POST)
            idle.lose(None)
            (await router.asked(count=2)).feed(OK)
            [record] = router.told()
            assert fields(record, "attempts", "reason") == (
                *(2, "retried after closed connection at http://server-0:8000"),
            )


class TestEndings:
    @pytest.mark.parametrize(
        ("segments", "status", "phase"),
        [
            pytest.param([], None, "waiting for the first byte", id="waiting"),
            pytest.param([STREAM[:9]], None, "replying", id="in-the-head"),
            pytest.param([STREAM, EVENT], 200, "replying", id="in-the-stream"),
        ],
    )
    async def test_the_client_goes(self, segments, status, phase):
        with recorded() as router:
            client = router.client()
            client.feed(POST)
            upstream = await router.asked()
            upstream.feed(*segments)
            client.lose(None)
            [record] = router.told()
            assert fields(record, "status", "ended_by", "reason") == (
                *(status, "client", f"gone while {phase}"),
            )
            assert record.bytes_out == len(client.written())

    async def test_while_connecting(self):
        with recorded() as router:
            router.pool.hold = True
            client = router.client()
            client.feed(POST)
            await asyncio.sleep(0)
            client.lose(None)
            router.pool.hold = False
            [record] = router.told()
            assert fields(record, "status", "reason") == (None, "gone while connecting")

    async def test_the_server_breaks_off(self):
        with recorded() as router:
            client = router.client()
            client.feed(POST)
            upstream = await router.asked()
            upstream.feed(STREAM, EVENT)
            upstream.lose(None)
            [record] = router.told()
            assert fields(record, "status", "ended_by", "reason", "events") == (
                *(200, "server", "broken: connection closed", 1),
            )

    async def test_the_server_gives_no_reply(self):
        with recorded(max_retries=0) as router:
            client = router.client()
            client.feed(POST)
            (await router.asked()).lose(None)
            [record] = router.told()
            assert fields(record, "status", "ended_by", "reason", "attempts") == (
                *(502, "server", "the server failed: connection closed", 1),
            )
            assert record.bytes_out == len(client.written())

    async def test_the_server_is_silent(self):
        with recorded(request_timeout=1.0) as router:
            client = router.client()
            client.feed(POST)
            await router.asked()
            client.protocol.sweep(asyncio.get_running_loop().time() + 10)
            [record] = router.told()
            assert fields(record, "status", "ended_by") == (504, "server")
            assert record.reason == "the server did not answer: silent for 1 s"

    async def test_no_server_is_usable(self):
        with recorded() as router:
            router.state.router._all.update(())
            client = router.client()
            client.feed(POST)
            [record] = router.told()
            assert fields(record, "status", "ended_by", "server", "attempts", "model") == (
                *(503, "fastroute", None, 0, "m"),
            )
            assert record.bytes_out == len(client.written())

    async def test_fastroute_stops(self):
        with recorded() as router:
            waiting, replying = router.client(), router.client()
            waiting.feed(POST)
            await router.asked()
            replying.feed(POST)
            (await router.asked(count=2)).feed(STREAM, EVENT)
            for client in (waiting, replying):
                client.protocol.cut()
            first, second = router.told()
            assert fields(first, "status", "ended_by", "reason") == (
                *(503, "fastroute", "fastroute is stopping; try again shortly"),
            )
            assert fields(second, "status", "ended_by", "reason") == (
                *(200, "fastroute", "cut: fastroute was stopping"),
            )


class TestOwnAnswers:
    async def test_an_endpoint_of_our_own(self):
        with recorded() as router:
            client = router.client()
            client.feed(b"GET /fastroute/x?key=secret HTTP/1.1\r\nHost: a\r\n\r\n")
            [record] = router.told()
            assert fields(record, "method", "path", "status", "ended_by", "attempts") == (
                *("GET", "/fastroute/x", 404, "fastroute", 0),
            )
            assert record.bytes_out == len(client.written())

    async def test_what_is_no_request(self):
        with recorded() as router:
            client = router.client()
            client.feed(b"secret\r\n\r\n")
            [record] = router.told()
            assert fields(record, "method", "path", "status", "ended_by") == (
                *(None, None, 400, "fastroute"),
            )
            assert record.reason.startswith("not a valid HTTP request")
            assert record.bytes_out == len(client.written())

    async def test_a_body_that_does_not_come(self):
        with recorded() as router:
            client = router.client()
            client.feed(POST[:-1])
            client.protocol.sweep(asyncio.get_running_loop().time() + 100)
            [record] = router.told()
            assert fields(record, "path", "status") == ("/v1/chat/completions", 408)

    async def test_one_refused_behind_a_good_one(self):
        """What cannot be understood is not told under the name of the one before."""
        with recorded() as router:
            client = router.client()
            client.feed(POST + b"secret\r\n\r\n")
            (await router.asked()).feed(OK)
            told = [fields(record, "path", "status") for record in router.told()]
            assert told == [("/v1/chat/completions", 200), (None, 400)]


EXPLAINED = re.compile(
    rb"x-fastroute-server: (\S+)\r\nx-fastroute-score: (\S+)\r\n"
    rb"x-fastroute-attempts: (\d+)\r\nx-fastroute-reason: ([^\r]+)\r\n\r\n"
)


def explained(written: bytes) -> tuple:
    head, _, _ = written.partition(b"\r\n\r\n")
    server, score, attempts, reason = EXPLAINED.search(head + b"\r\n\r\n").groups()
    return server.decode(), float(score), int(attempts), reason.decode()


class TestExplain:
    async def test_the_lowest(self):
        with recorded(servers=3, explain=True) as router:
            for row, foreign in enumerate((8000, 4000, 8000)):
                router.table.servers.foreign_milli[row] = foreign
            client = router.client()
            client.feed(POST)
            (await router.asked(server=1)).feed(OK)
            written = client.written()
            assert explained(written) == ("http://server-1:8000", 0.5, 1, "lowest of 3")
            assert written.endswith(b"\r\n\r\nhi")
            assert router.told()[0].bytes_out == len(written)

    async def test_a_tie(self):
        with recorded(servers=2, explain=True) as router:
            client = router.client()
            client.feed(POST)
            await asyncio.sleep(0)
            pool = next(each for each in router.pools if each.upstreams)
            pool.upstreams[0].feed(OK)
            assert explained(client.written())[1:] == (0.0, 1, "tie of 2 at random")

    @pytest.mark.parametrize(
        ("state", "reason"),
        [
            pytest.param(ServerState.UP, "only usable server", id="up"),
            pytest.param(ServerState.TRIAL, "trial", id="trial"),
            pytest.param(ServerState.COOLING, "cooling down, but there is no other", id="cooling"),
        ],
    )
    async def test_the_only_one(self, state, reason):
        with recorded(explain=True, access_log="off") as router:
            router.table.set_state(0, state)
            client = router.client()
            client.feed(POST)
            (await router.asked()).feed(OK)
            assert explained(client.written())[3] == reason

    async def test_after_a_failure(self):
        with recorded(servers=2, explain=True) as router:
            router.table.servers.foreign_milli[1] = 8000
            client = router.client()
            client.feed(POST)
            (await router.asked()).feed(BUSY)
            (await router.asked(server=1)).feed(OK)
            assert explained(client.written()) == (
                *("http://server-1:8000", 1.0, 2),
                "retry after status 503 at http://server-0:8000",
            )

    async def test_a_stream(self):
        with recorded(explain=True) as router:
            client = router.client()
            client.feed(POST)
            (await router.asked()).feed(STREAM, EVENT, END)
            written = client.written()
            assert explained(written)[2] == 1
            assert written.endswith(b"\r\n\r\n" + EVENT + END)

    async def test_off(self):
        with recorded() as router:
            client = router.client()
            client.feed(POST)
            (await router.asked()).feed(OK)
            assert client.written() == OK


class TestTraces:
    TRACED = HEAD + b"Traceparent: %b\r\ntracestate: a=b\r\nContent-Length: %d\r\n\r\n%b"

    async def ask(self, router, parent: str) -> tuple[dict, object]:
        client = router.client()
        client.feed(self.TRACED % (parent.encode(), len(BODY), BODY))
        upstream = await router.asked()
        upstream.feed(OK)
        [request] = judge_requests(upstream.written())
        assert request.body == BODY
        sent = {name.lower().decode(): value.decode() for name, value in request.fields}
        return sent, router.told()[0]

    async def test_off(self):
        """Then both fields pass as they came, letter case and all."""
        with recorded() as router:
            client = router.client()
            client.feed(self.TRACED % (PARENT.encode(), len(BODY), BODY))
            upstream = await router.asked()
            sent = b"Traceparent: %b\r\ntracestate: a=b\r\n" % PARENT.encode()
            assert sent in upstream.written()
            upstream.feed(OK)
            assert router.told()[0].span is None

    async def test_below_the_client_s_span(self):
        with recorded(otlp_endpoint="http://c") as router:
            sent, record = await self.ask(router, PARENT)
            assert (record.span.trace, record.span.parent) == (TRACE, SPAN)
            assert sent["traceparent"] == f"00-{TRACE}-{record.span.span}-01"
            assert record.span.span != SPAN
            assert sent["tracestate"] == "a=b"

    async def test_a_client_that_does_not_record(self):
        with recorded(otlp_endpoint="http://c") as router:
            sent, record = await self.ask(router, PARENT[:-1] + "0")
            assert sent["traceparent"] == PARENT[:-1] + "0"
            assert record.span is None

    @pytest.mark.parametrize("parent", ["", "nonsense"])
    async def test_a_trace_of_our_own(self, parent):
        with recorded(otlp_endpoint="http://c") as router:
            sent, record = await self.ask(router, parent)
            assert sent["traceparent"] == f"00-{record.span.trace}-{record.span.span}-01"
            assert record.span.parent == ""
            assert "tracestate" not in sent

    async def test_a_trace_that_is_not_sampled(self):
        """The server is told, so that it records none either."""
        with recorded(otlp_endpoint="http://c", otlp_sample_ratio=0.0) as router:
            sent, record = await self.ask(router, "")
            assert read_traceparent([sent["traceparent"].encode()]).sampled is False
            assert record.span is None

    async def test_all_attempts_hang_below_one_span(self):
        with recorded(servers=2, otlp_endpoint="http://c") as router:
            router.table.servers.foreign_milli[1] = 1000
            client = router.client()
            client.feed(POST)
            first = await router.asked()
            first.feed(BUSY)
            second = await router.asked(server=1)
            second.feed(OK)
            [record] = router.told()
            for upstream in (first, second):
                [request] = judge_requests(upstream.written())
                [sent] = request.values(b"traceparent")
                assert read_traceparent([sent]).span == record.span.span
