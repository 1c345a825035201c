"""What becomes of a reply: passed on, held back while another server is asked, and counted."""

import asyncio
import logging

import pytest

from fastroute.proxy.reply import MAX_HELD_BYTES
from fastroute.rules.evidence import Event
from fastroute.rules.server_state import ServerState
from tests.support.judge import judge_replies, judge_requests
from tests.support.memory_router import memory_router, own_error

GET = b"GET /v1/x HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"
OK = b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 2\r\n\r\nhi"
CHUNKED = b"HTTP/1.1 200 OK\r\nDate: x\r\nTransfer-Encoding: chunked\r\n\r\n"
STOPPING = b'{"error":{"message":"cannot schedule new futures after shutdown"}}'


def reply(status: int, body: bytes = b"no", fields: bytes = b"") -> bytes:
    head = b"HTTP/1.1 %d X\r\nDate: x\r\n%bContent-Length: %d\r\n\r\n" % (status, fields, len(body))
    return head + body


def started(**options):
    """A data plane on the running loop; what it would tell the supervisor is kept."""
    return memory_router(asyncio.get_running_loop(), **options)


@pytest.fixture
async def router():
    with started() as router:
        yield router


@pytest.fixture
async def two():
    """Two servers; the first is the one to be chosen, as the other has more to do."""
    with started(servers=2) as router:
        router.table.servers.foreign_milli[1] = 1000
        router.observed = router.link.observed
        yield router


class TestRefusals:
    @pytest.mark.parametrize(
        ("refusal", "kind", "counter"),
        [
            pytest.param(reply(429), Event.BUSY, "retries_busy", id="429"),
            pytest.param(reply(503), Event.BUSY, "retries_busy", id="503"),
            pytest.param(reply(502), Event.REQUEST_FAILED, "retries_failed", id="502"),
            pytest.param(reply(504), Event.REQUEST_FAILED, "retries_failed", id="504"),
            pytest.param(
                reply(500, STOPPING), Event.SHUTTING_DOWN, "retries_failed", id="stopping"
            ),
        ],
    )
    async def test_another_server_answers(self, two, refusal, kind, counter):
        """The client sees nothing of the refusal, wherever that was cut."""
        splits = range(1, len(refusal), 6)
        for split in splits:
            two.observed.clear()
            client, first = two.client(), two.pools[0].ready()
            second = two.pools[1].ready()
            client.feed(POST)
            first.feed(refusal[:split], refusal[split:])
            assert not client.writes
            assert judge_requests(second.take())[0].body == b"body"
            second.feed(OK)
            assert client.take() == OK
            assert [observed.kind for observed in two.observed] == [kind]
            two.state.router.refusals.forget(0)
            two.pools[0].close_idle()
            two.pools[1].close_idle()
        assert getattr(two.state.cells, counter).tolist() == [0, len(splits)]

    async def test_the_budget_is_spent(self, two):
        """Retries must not double an overload: what is beyond them is passed on."""
        statuses = []
        for _ in range(40):
            client, first = two.client(), two.pools[0].ready()
            second = two.pools[1].ready()
            client.feed(GET)
            first.feed(reply(503))
            if second.take():
                second.feed(OK)
            statuses.append(judge_replies(client.take(), [b"GET"], closed=False)[0].status)
            two.pools[0].close_idle()
            two.pools[1].close_idle()
        assert statuses == [200] * 30 + [503] * 10

    async def test_all_refuse(self, two):
        """The last answer is the client's, unchanged."""
        client, first, second = two.client(), two.pools[0].ready(), two.pools[1].ready()
        client.feed(POST)
        first.feed(reply(503, b"first"))
        second.feed(reply(429, b"second", b"Retry-After: 7\r\n"))
        assert client.written() == reply(429, b"second", b"Retry-After: 7\r\n")
        assert [observed.retry_after for observed in two.observed] == [0, 7]

    @pytest.mark.parametrize(
        "passed",
        [
            pytest.param(reply(400), id="400"),
            pytest.param(reply(404), id="404"),
            pytest.param(reply(500, b"a bug"), id="500"),
            pytest.param(reply(501), id="501"),
        ],
    )
    async def test_not_a_refusal(self, two, passed):
        client, upstream = two.client(), two.pools[0].ready()
        client.feed(GET)
        upstream.feed(passed)
        assert client.written() == passed
        assert two.count("started") == 1

    @pytest.mark.parametrize(
        "settings",
        [
            pytest.param({"max_retries": 0}, id="no-retries-left"),
            pytest.param({"retry_on": ("connect", "429")}, id="not-retried-on"),
        ],
    )
    async def test_passed_on_as_it_comes(self, settings):
        with started(servers=2, **settings) as router:
            router.table.servers.foreign_milli[1] = 1000
            client, upstream = router.client(), router.pools[0].ready()
            client.feed(GET)
            upstream.feed(reply(503)[:-1])
            assert client.written() == reply(503)[:-1], "not held back: nothing else will come"
            upstream.feed(reply(503)[-1:])
            assert client.written() == reply(503)

    async def test_too_long_to_hold(self, two):
        long = reply(503, b"x" * (MAX_HELD_BYTES + 1))
        client, upstream = two.client(), two.pools[0].ready()
        client.feed(GET)
        upstream.feed(long[:1000])
        assert not client.writes
        upstream.feed(long[1000:-1])
        assert client.written() == long[:-1]
        upstream.feed(long[-1:])
        assert client.written() == long
        assert two.count("started") == 1

    async def test_cut_off(self, two):
        """A refusal that does not end is no answer; the half of it is not passed on."""
        client, upstream = two.client(), two.pools[0].ready()
        client.feed(GET)
        upstream.feed(reply(503)[:-1])
        upstream.eof()
        assert own_error(client)[0] == 502


class TestCounts:
    @pytest.mark.parametrize(
        ("status", "counter"),
        [
            (200, "finished_2xx"),
            (299, "finished_2xx"),
            (307, "finished_3xx"),
            (404, "finished_4xx"),
            (500, "finished_5xx"),
            (999, "finished_5xx"),
        ],
    )
    async def test_by_status(self, router, status, counter):
        client, upstream = router.client(), router.pool.ready()
        client.feed(GET)
        assert router.count("in_flight") == 1
        upstream.feed(reply(status))
        assert router.count("in_flight") == 0
        assert router.count(counter) == 1

    async def test_bytes_and_events(self, router):
        client, upstream = router.client(), router.pool.ready()
        client.feed(POST)
        assert router.count("bytes_in") == len(upstream.written())
        upstream.feed(CHUNKED, b"9\r\ndata: 1\n\n\r\n", b"9\r\ndata: 2\n\n\r\n", b"0\r\n\r\n")
        assert router.count("events") == 3
        assert router.count("bytes_out") == len(client.written())
        assert len(client.writes) == 4, "each event left as it came"

    async def test_the_request_is_let_go(self, router):
        """Once nothing will be tried again, a long stream does not hold a body of megabytes."""
        client, upstream = router.client(), router.pool.ready()
        client.feed(POST)
        exchange = client.protocol._exchange
        assert exchange.body == b"body"
        upstream.feed(CHUNKED)
        assert exchange.body == b""

    async def test_success_is_not_told(self, two):
        """The supervisor reads good responses in the score table."""
        for answer in (reply(501), OK, OK):
            client, upstream = two.client(), two.pools[0].ready()
            client.feed(GET)
            upstream.feed(answer)
            two.state.router.refusals.forget(0)
        assert [observed.kind for observed in two.observed] == [Event.REQUEST_ERROR]

    @pytest.mark.parametrize(
        ("sent", "answer", "told"),
        [
            pytest.param(POST, CHUNKED, Event.REQUEST_OK, id="head-of-a-stream"),
            pytest.param(POST, reply(501), Event.REQUEST_ERROR, id="501"),
            # They say nothing about the engine, and would hide that all else fails.
            pytest.param(POST, reply(404), None, id="404"),
            pytest.param(GET, OK, None, id="no-inference"),
        ],
    )
    async def test_a_server_on_trial(self, two, sent, answer, told):
        """Its first answer is told, and not at the end of a stream: others wait for the outcome."""
        two.table.set_state(0, ServerState.TRIAL)
        client, upstream = two.client(), two.pools[0].ready()
        client.feed(sent)
        upstream.feed(answer)
        assert [observed.kind for observed in two.observed][:1] == ([told] if told else [])

    async def test_request_ids(self, router, caplog):
        """The client's own, or one that no other request has."""
        caplog.set_level(logging.INFO)
        client, upstream = router.client(), router.pool.ready()
        client.feed(GET, GET.replace(b"\r\n\r\n", b"\r\nX-Request-Id: mine\r\n\r\n"), GET)
        upstream.feed(OK, OK, OK)
        ids = [r.values(b"x-request-id")[0] for r in judge_requests(upstream.written())]
        assert ids[1] == b"mine"
        assert len({*ids}) == 3
        assert not caplog.records, "a request that goes well is no news"


class TestDate:
    """Each response has one Date: RFC 9110 section 6.6.1."""

    @pytest.mark.parametrize(
        ("reply", "expected"),
        [
            pytest.param(OK.replace(b"Date: x\r\n", b""), None, id="none"),
            pytest.param(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                None,
                id="chunked",
            ),
            pytest.param(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n5\r\na: b\n\r\n0\r\n\r\n",
                None,
                id="event-stream",
            ),
            pytest.param(b"HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n", None, id="error"),
            pytest.param(OK, b"x", id="one"),
            pytest.param(OK.replace(b"Date: x", b"Date: x\r\ndate: y"), b"x", id="two"),
        ],
    )
    def test_one(self, reply, expected):
        """Also of a remembered head, which is not parsed again."""
        with memory_router() as router:
            client, upstream = router.client(), router.pool.ready()
            for _ in range(3):
                client.feed(GET)
                upstream.feed(reply)
            for got in judge_replies(client.written(), [b"GET"] * 3, closed=False):
                [date] = got.values(b"date")
                assert date == expected or (expected is None and date.endswith(b" GMT"))
