"""Servers that reject requests: the next server, the client's response, and the counters."""

import asyncio
import json

import pytest

from fastroute.ipc.table_layout import MODEL_COUNTERS
from fastroute.proxy.reply import MAX_HELD_BYTES
from fastroute.rules.evidence import Event
from fastroute.rules.server_state import ServerState
from tests.support.counts import counts
from tests.support.endings import finish, refusing_url, reset
from tests.support.judge import judge_replies, judge_requests
from tests.support.scripted import read_request, replies, scripted
from tests.support.standin_client import ask, chat, client, get, post
from tests.support.standins import standin, standins, until

CHAT = post("/v1/chat/completions", {"model": "m"}, "Connection: close\r\n")
OK = b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 2\r\n\r\nok"
OK_CLOSING = b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 2\r\nconnection: close\r\n\r\nok"
BUSY = (
    b'{"error":{"message":"The engine is currently busy and cannot accept new requests. Please try'
    b' again later or on a different instance.","type":"Service Unavailable","param":null,'
    b'"code":503}}'
)
STOPPING = (
    b'{"error":{"message":"cannot schedule new futures after shutdown",'
    b'"type":"InternalServerError","param":null,"code":500}}'
)


def refusal(status: int, body: bytes = BUSY, *fields: bytes) -> bytes:
    """Return a rejection in vLLM's form."""
    lines = [b"HTTP/1.1 %d Because" % status, b"server: uvicorn", b"date: x", *fields]
    lines += [b"content-length: %d" % len(body), b"content-type: application/json"]
    return b"\r\n".join((*lines, b"", body))


def closing(reply: bytes) -> bytes:
    """Return a response as received by a client that requested the connection's end."""
    head, _, body = reply.partition(b"\r\n\r\n")
    return head + b"\r\nconnection: close\r\n\r\n" + body


def in_order(router) -> None:
    """Make the router choose servers in the given order, because later ones appear busier."""
    for row in range(len(router.state.router.servers)):
        router.table.servers.foreign_milli[row] = 1000 * row


def then_close(*segments: bytes, end=finish):
    """Return a handler that sends these segments for one request and closes the connection."""

    async def handler(reader, writer):
        await read_request(reader)
        for segment in segments:
            writer.write(segment)
            await writer.drain()
            await asyncio.sleep(0.01 if end is reset else 0)
        end(writer)

    return handler


def recording(requests: list[bytes], reply: bytes):
    """Return a handler that sends the same response to each request, and records the requests."""

    async def handler(reader, writer):
        while True:
            try:
                head, body = await read_request(reader)
            except asyncio.IncompleteReadError:
                return
            requests.append(head + body)
            writer.write(reply)

    return handler


STATUSES = {
    "429": refusal(429),
    "502": refusal(502, b"Bad Gateway"),
    "503": refusal(503),
    "504": refusal(504, b""),
    "stopping-500": refusal(500, STOPPING),
}


class TestAnotherServer:
    @pytest.mark.parametrize("reply", STATUSES.values(), ids=STATUSES.keys())
    async def test_answers_in_place_of_one_that_refused(self, start_router, reply):
        asked: list[bytes] = []
        async with scripted(replies(reply)) as first, scripted(recording(asked, OK)) as second:
            router = await start_router(first.url, second.url)
            in_order(router)
            assert await router.ask(CHAT) == OK_CLOSING, "and not a byte of the refusal"
        assert judge_requests(asked[0])[0].body == b'{"model": "m"}'
        cells = router.state.cells
        assert cells.finished_5xx[0] + cells.finished_4xx[0] == cells.finished_2xx[1] == 1
        assert counts(cells, "retries")[:2] == [0, 1]
        assert router.total("bytes_out") == len(OK_CLOSING)

    @pytest.mark.parametrize(
        "handler",
        [
            pytest.param(replies(*(bytes([b]) for b in refusal(503))), id="byte-by-byte"),
            pytest.param(
                replies(
                    b"HTTP/1.1 503 No\r\nDate: x\r\nTransfer-Encoding: chunked\r\n\r\n",
                    b"3\r\nabc\r\n",
                    b"0\r\n\r\n",
                ),
                id="chunked",
            ),
            pytest.param(
                then_close(b"HTTP/1.1 503 No\r\nDate: x\r\n\r\n", b"until", b"close"), id="close"
            ),
            pytest.param(then_close(b"HTTP/1.0 503 No\r\nDate: x\r\n\r\nold"), id="http-1.0"),
            pytest.param(
                then_close(refusal(503, BUSY, b"connection: close")), id="connection-close"
            ),
            pytest.param(
                replies(b"HTTP/1.1 503 No\r\nDate: x\r\nContent-Length: 0\r\n\r\n"),
                id="without-a-body",
            ),
        ],
    )
    async def test_whatever_the_form_of_the_refusal(self, start_router, handler):
        async with scripted(handler) as first, scripted(replies(OK)) as second:
            router = await start_router(first.url, second.url)
            in_order(router)
            assert await router.ask(CHAT) == OK_CLOSING
        assert router.total("retries_busy") == 1

    async def test_for_head(self, start_router):
        refused = b"HTTP/1.1 503 No\r\nDate: x\r\nContent-Length: 188\r\n\r\n"
        good = b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 5\r\n\r\n"
        async with scripted(replies(refused)) as first, scripted(replies(good)) as second:
            router = await start_router(first.url, second.url)
            in_order(router)
            answer = await router.ask(get("/v1/x", "HEAD", "Connection: close\r\n"))
        assert answer == closing(good)

    async def test_streams(self, start_router):
        """Rejection and stream in vLLM's form, from stand-ins."""
        async with standin(max_queued=0) as full, standin() as free:
            router = await start_router(full.url, free.url)
            in_order(router)
            answer = await ask(router.port, chat(model="standin", stream=True))
            assert answer.status == 200
            assert answer.events()[-1] == "[DONE]"
            assert full.engine.refused == 1
        assert router.total("retries_busy") == 1

    async def test_of_many_the_last(self, start_router):
        async with scripted(replies(refusal(503))) as full, scripted(replies(OK)) as good:
            router = await start_router(full.url, full.url, full.url, good.url)
            in_order(router)
            assert await router.ask(CHAT) == OK_CLOSING
        assert router.state.cells.retries_busy.tolist()[:4] == [0, 1, 1, 1]

    async def test_after_failures_of_all_kinds(self, start_router):
        async with (
            scripted(then_close(b"")) as mute,
            scripted(replies(refusal(429))) as full,
            scripted(replies(OK)) as good,
        ):
            with refusing_url() as gone:
                router = await start_router(gone, mute.url, full.url, good.url)
                in_order(router)
                assert await router.ask(CHAT) == OK_CLOSING
        cells = router.state.cells
        reasons = (cells.retries_connect, cells.retries_reset, cells.retries_busy)
        assert [column.tolist()[:4] for column in reasons] == [
            [0, 1, 0, 0],
            [0, 0, 1, 0],
            [0, 0, 0, 1],
        ]

    async def test_gets_the_whole_body_again(self, start_router):
        asked: list[list[bytes]] = [[], []]
        body = b'{"model":"alias","x":"' + b"y" * 1_000_000 + b'"}'
        async with (
            scripted(recording(asked[0], refusal(503))) as first,
            scripted(recording(asked[1], OK)) as second,
        ):
            router = await start_router(first.url, second.url)
            in_order(router)
            router.configure(
                {"models": ("real",)}, {"models": ("real",)}, aliases={"alias": "real"}
            )
            assert (await ask(router.port, post("/v1/x", body))).status == 200
        [one], [two] = (judge_requests(requests[0]) for requests in asked)
        assert one.body == two.body == body.replace(b"alias", b"real")
        assert one.values(b"x-request-id") == two.values(b"x-request-id")
        assert one.values(b"host") != two.values(b"host")

    async def test_the_connection_to_the_first_is_used_again(self, start_router):
        """After a complete rejection the connection can be reused."""
        async with scripted(replies(refusal(503))) as first, scripted(replies(OK)) as second:
            router = await start_router(first.url, second.url)
            in_order(router)
            async with client(router.port) as connection:
                for _ in range(5):
                    connection.send(post("/v1/x", {}))
                    assert (await connection.receive()).body == b"ok"
            assert (first.connections, second.connections) == (1, 1)

    async def test_pipelined_requests_stay_in_order(self, start_router):
        async with scripted(replies(refusal(503))) as first, scripted(replies(OK)) as second:
            router = await start_router(first.url, second.url)
            in_order(router)
            answer = await router.ask(post("/v1/x", {}) * 4 + CHAT)
        assert answer == OK * 4 + OK_CLOSING


class TestNotRetried:
    @pytest.mark.parametrize(
        "reply",
        [
            pytest.param(refusal(status, b'{"error":{}}'), id=str(status))
            for status in (400, 401, 403, 404, 408, 413, 422, 428, 430, 499, 500, 501, 505, 599)
        ],
    )
    async def test_other_statuses(self, start_router, reply):
        """Errors of the client, or of a server that may have started, are forwarded unchanged."""
        async with scripted(replies(reply)) as first, scripted(replies(OK)) as second:
            router = await start_router(first.url, second.url)
            in_order(router)
            assert await router.ask(CHAT) == closing(reply)
        assert second.connections == 0
        assert router.total("retries") == 0

    async def test_another_500_of_vllm(self, start_router):
        body = STOPPING.replace(b"cannot schedule new futures after shutdown", b"CUDA error")
        async with scripted(replies(refusal(500, body))) as first:
            async with scripted(replies(OK)) as second:
                router = await start_router(first.url, second.url)
                in_order(router)
                assert await router.ask(CHAT) == closing(refusal(500, body))
        assert [o.kind for o in router.observed] == [Event.REQUEST_ERROR]

    @pytest.mark.parametrize(
        ("retry_on", "reply", "retried"),
        [
            pytest.param(("connect",), refusal(503), False, id="connect-only-503"),
            pytest.param(("connect",), refusal(429), False, id="connect-only-429"),
            pytest.param(("503",), refusal(503), True, id="503"),
            pytest.param(("503",), refusal(429), False, id="503-not-429"),
            pytest.param(("429",), refusal(429), True, id="429"),
            pytest.param(("429",), refusal(503), False, id="429-not-503"),
            pytest.param(("502", "504"), refusal(502), True, id="502"),
            pytest.param(("502", "504"), refusal(503), False, id="502-not-503"),
            pytest.param(("504",), refusal(504), True, id="504"),
            pytest.param((), refusal(503), False, id="none"),
            # No setting is needed: the server states that nothing was started.
            pytest.param((), refusal(500, STOPPING), True, id="none-but-stopping"),
        ],
    )
    async def test_what_the_setting_does_not_name(self, start_router, retry_on, reply, retried):
        async with scripted(replies(reply)) as first, scripted(replies(OK)) as second:
            router = await start_router(first.url, second.url, retry_on=retry_on)
            in_order(router)
            answer = await router.ask(CHAT)
        assert answer == (OK_CLOSING if retried else closing(reply))

    @pytest.mark.parametrize(("max_retries", "attempts"), [(0, 1), (1, 2), (3, 4), (100, 6)])
    async def test_more_often_than_max_retries(self, start_router, max_retries, attempts):
        async with scripted(replies(refusal(503))) as full:
            router = await start_router(*[full.url] * 6, max_retries=max_retries)
            assert await router.ask(CHAT) == closing(refusal(503))
        assert router.total("started") == attempts
        assert max(router.state.cells.started) == 1, "another server each time"

    async def test_beyond_the_budget(self, start_router):
        """All servers are overloaded: 200 requests must not become 800."""
        async with scripted(replies(refusal(503))) as full:
            router = await start_router(*[full.url] * 4)
            async with client(router.port) as connection:
                for _ in range(200):
                    connection.send(post("/v1/x", {}))
                    assert (await connection.receive()).body == BUSY
        retries = router.total("retries")
        print(f"200 requests, all refused: {retries} retries")
        assert router.total("started") == 200 + retries
        assert 30 <= retries <= 40, "at least 3 a second for 10 s, at most a fifth"

    async def test_beyond_the_budget_but_good_servers_still_serve(self, start_router):
        async with scripted(replies(refusal(503))) as full, scripted(replies(OK)) as good:
            router = await start_router(full.url, good.url)
            in_order(router)
            async with client(router.port) as connection:
                statuses = []
                for _ in range(100):
                    connection.send(post("/v1/x", {}))
                    statuses.append((await connection.receive()).status)
        assert statuses == [200] * 30 + [503] * 70
        assert router.total("retries") == 30


class TestAllRefuse:
    LAST = refusal(503, b'{"error":{"message":"the last"}}', b"retry-after: 7", b"x-Custom:  a b")

    async def test_the_last_ones_own_answer(self, start_router):
        async with scripted(replies(refusal(429))) as first:
            async with scripted(replies(self.LAST)) as second:
                router = await start_router(first.url, second.url)
                in_order(router)
                async with client(router.port) as connection:
                    for _ in range(3):
                        connection.send(post("/v1/x", {}))
                        await connection.receive()
                    assert connection.wire == self.LAST * 3, "byte for byte"

    async def test_chunked(self, start_router):
        head = b"HTTP/1.1 503 No\r\nDate: x\r\nTransfer-Encoding: chunked\r\n"
        body = b"\r\n3;a=b\r\nabc\r\n004\r\ndefg\r\n0\r\nX-Trailer: 1\r\n\r\n"
        async with scripted(replies(head, body)) as server:
            router = await start_router(server.url, server.url)
            answer = await router.ask(CHAT)
        assert answer == head + b"connection: close\r\n" + body

    async def test_head(self, start_router):
        reply = b"HTTP/1.1 503 No\r\nDate: x\r\nContent-Length: 188\r\n\r\n"
        async with scripted(replies(reply)) as server:
            router = await start_router(server.url, server.url)
            answer = await router.ask(get("/v1/x", "HEAD", "Connection: close\r\n"))
        assert answer == closing(reply)
        assert router.total("started") == 2

    @pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
    async def test_http_1_0_client(self, start_router, chunked):
        reply = refusal(503)
        if chunked:
            head = b"HTTP/1.1 503 No\r\nDate: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            reply = head + b"2\r\nab\r\n0\r\n\r\n"
        async with scripted(replies(reply)) as server:
            router = await start_router(server.url, server.url)
            answer = await router.ask(b"GET /v1/x HTTP/1.0\r\nHost: a\r\n\r\n")
        if chunked:
            assert answer == b"HTTP/1.1 503 No\r\nDate: x\r\nconnection: close\r\n\r\nab"
        else:
            assert answer == closing(reply)
        assert router.total("started") == 2

    async def test_http_1_0_server(self, start_router):
        async with scripted(
            then_close(b"HTTP/1.0 503 No\r\nDate: x\r\nX-A: b\r\n\r\nold")
        ) as server:
            router = await start_router(server.url, server.url)
            answer = await router.ask(CHAT)
        [judged] = judge_replies(answer, [b"POST"], closed=True)
        assert (judged.status, judged.body, judged.whole) == (503, b"old", True)
        assert judged.values(b"x-a") == [b"b"]

    async def test_the_only_server(self, start_router):
        async with scripted(replies(self.LAST)) as server:
            router = await start_router(server.url)
            assert await router.ask(CHAT) == closing(self.LAST)
        assert router.total("retries") == 0

    async def test_refusal_then_dead(self, start_router):
        """No server's response is available any more: fastroute's own reports the last failure."""
        async with scripted(replies(refusal(503))) as first:
            with refusing_url() as gone:
                router = await start_router(first.url, gone)
                in_order(router)
                answer = await ask(router.port, CHAT)
        assert answer.status == 502
        assert "refused" in answer.json()["error"]["message"]


class TestLong:
    async def test_refusals_pass_through_as_they_come(self, start_router):
        """A large error is not buffered completely; once the client has a part of it, no retry."""
        go_on = asyncio.Event()
        body = b"x" * (MAX_HELD_BYTES + 100_000)

        async def handler(reader, writer):
            await read_request(reader)
            writer.write(refusal(503, body)[:-1])
            await go_on.wait()
            writer.write(b"x")
            await reader.read()

        async with scripted(handler) as server:
            router = await start_router(server.url, server.url)
            reader, writer = await router.connect()
            writer.write(CHAT)
            expected = closing(refusal(503, body))
            assert await reader.readexactly(len(expected) - 1) == expected[:-1]
            go_on.set()
            assert await reader.read() == b"x"
            writer.close()
        assert router.total("started") == 1
        assert [o.kind for o in router.observed] == [Event.BUSY]

    @pytest.mark.parametrize(
        ("size", "attempts"),
        [
            pytest.param(MAX_HELD_BYTES - 2000, 2, id="just-not"),
            pytest.param(MAX_HELD_BYTES + 1, 1, id="just-so"),
        ],
    )
    async def test_limit(self, start_router, size, attempts):
        async with scripted(replies(refusal(503, b"x" * size))) as server:
            router = await start_router(server.url, server.url)
            assert (await ask(router.port, CHAT)).body == b"x" * size
        assert router.total("started") == attempts


class TestHeld:
    @pytest.mark.parametrize("end", [finish, reset], ids=["fin", "rst"])
    @pytest.mark.parametrize(
        "reply", [refusal(503)[:-5], refusal(500, STOPPING)[:-5]], ids=["503", "stopping-500"]
    )
    async def test_cut_in_the_middle(self, start_router, end, reply):
        """The client gets one complete response of another server, and no part of this one."""
        async with scripted(then_close(reply, end=end)) as first:
            async with scripted(replies(OK)) as second:
                router = await start_router(first.url, second.url)
                in_order(router)
                raw = await router.ask(CHAT)
        [judged] = judge_replies(raw, [b"POST"], closed=True)
        assert judged.whole
        assert judged.status in (200, 502)
        assert b"uvicorn" not in raw
        assert router.state.cells.failed[0] == 1
        assert router.observed[0].kind is Event.REQUEST_LOST

    async def test_silent_in_the_middle(self, start_router):
        async def handler(reader, writer):
            await read_request(reader)
            writer.write(refusal(503)[:-5])
            await reader.read()

        async with scripted(handler) as server:
            router = await start_router(server.url, server.url, request_timeout=0.1)
            raw = await router.ask(CHAT)
        [judged] = judge_replies(raw, [b"POST"], closed=True)
        assert (judged.status, judged.whole) == (504, True)
        assert router.total("started") == 1

    @pytest.mark.parametrize("end", [finish, reset], ids=["fin", "rst"])
    async def test_client_gone_meanwhile(self, start_router, end):
        dropped = asyncio.Event()

        async def handler(reader, writer):
            await read_request(reader)
            writer.write(refusal(503)[:-5])
            try:
                await reader.read()
            finally:
                dropped.set()

        async with scripted(handler) as first, scripted(replies(OK)) as second:
            router = await start_router(first.url, second.url)
            in_order(router)
            _, writer = await router.connect()
            writer.write(post("/v1/x", {}))
            cells = router.state.cells
            (accepted,) = router.state.clients
            await until(lambda: accepted._exchange and accepted._exchange._attempt.reply)
            end(writer)
            await until(lambda: counts(cells, "aborted")[0])
            async with asyncio.timeout(5):
                await dropped.wait()
        assert (cells.aborts_replying[0], router.total("started")) == (1, 1)
        assert second.connections == 0
        assert cells.models.aborted[0] == 1
        assert not router.observed, "a client's going says nothing of the server"

    async def test_client_gone_while_the_second_is_asked(self, start_router):
        async def silent(reader, writer):
            await reader.read()

        async with scripted(replies(refusal(503))) as first, scripted(silent) as second:
            router = await start_router(first.url, second.url)
            in_order(router)
            _, writer = await router.connect()
            writer.write(post("/v1/x", {}))
            cells = router.state.cells
            await until(lambda: second.connections)
            writer.close()
            await until(lambda: counts(cells, "aborted")[1])
        assert (cells.finished_5xx[0], cells.aborts_waiting[1]) == (1, 1)
        assert sum(cells.models.aborted) == 1
        assert sum(cells.models.finished_5xx) == 0

    async def test_server_removed_meanwhile(self, start_router):
        """A retry goes only to servers that still exist."""
        asked, go_on = asyncio.Event(), asyncio.Event()

        async def handler(reader, writer):
            await read_request(reader)
            asked.set()
            await go_on.wait()
            writer.write(refusal(503))
            await reader.read()

        async with scripted(handler) as first, scripted(replies(OK)) as second:
            router = await start_router(first.url, second.url)
            in_order(router)
            answer = asyncio.ensure_future(router.ask(CHAT))
            await asked.wait()
            router.remove(1)
            go_on.set()
            assert await answer == closing(refusal(503))
        assert second.connections == 0


class TestObserved:
    @pytest.mark.parametrize(
        ("reply", "expected"),
        [
            pytest.param(refusal(503), [(Event.BUSY, 0)], id="503"),
            pytest.param(refusal(429), [(Event.BUSY, 0)], id="429"),
            pytest.param(
                refusal(503, BUSY, b"Retry-After: 12"), [(Event.BUSY, 12)], id="retry-after"
            ),
            pytest.param(
                refusal(429, BUSY, b"retry-after: Wed, 21 Oct 2026 07:28:00 GMT"),
                [(Event.BUSY, 0)],
                id="retry-after-date",
            ),
            pytest.param(
                refusal(503, BUSY, b"Retry-After: -3"),
                [(Event.BUSY, 0)],
                id="retry-after-bad",
            ),
            pytest.param(refusal(502), [(Event.REQUEST_LOST, 0)], id="502"),
            pytest.param(refusal(504), [(Event.REQUEST_LOST, 0)], id="504"),
            pytest.param(refusal(500), [(Event.REQUEST_ERROR, 0)], id="500"),
            pytest.param(refusal(501), [(Event.REQUEST_ERROR, 0)], id="501"),
            pytest.param(refusal(500, STOPPING), [(Event.SHUTTING_DOWN, 0)], id="stopping"),
            pytest.param(refusal(404), [], id="404"),
            pytest.param(refusal(400), [], id="400"),
            pytest.param(refusal(200), [], id="200"),
        ],
    )
    @pytest.mark.parametrize("others", [0, 1], ids=["alone", "with-another"])
    async def test_one_message_an_attempt(self, start_router, reply, expected, others):
        async with scripted(replies(reply)) as first, scripted(replies(OK)) as second:
            router = await start_router(first.url, *[second.url] * others)
            in_order(router)
            await router.ask(CHAT)
        # That another server answers the request shows that it is not to blame.
        confirmed = {Event.REQUEST_LOST: Event.REQUEST_FAILED} if others else {}
        seen = [(o.kind, o.retry_after) for o in router.observed]
        assert seen == [(confirmed.get(kind, kind), seconds) for kind, seconds in expected]
        assert all((o.row, o.generation) == (0, 1) for o in router.observed)

    @pytest.mark.parametrize("max_retries", [0, 1])
    async def test_stopping_is_noticed_whether_or_not_another_is_tried(
        self, start_router, max_retries
    ):
        async with scripted(replies(refusal(500, STOPPING))) as server:
            router = await start_router(server.url, max_retries=max_retries)
            await router.ask(CHAT)
        assert [o.kind for o in router.observed] == [Event.SHUTTING_DOWN]

    async def test_no_success(self, start_router):
        """A message for each would be thousands per second: they are counted in the score table."""
        turn = iter([OK, OK, refusal(502), refusal(502), OK, OK, refusal(503), OK])

        async def handler(reader, writer):
            while True:
                await read_request(reader)
                writer.write(next(turn))

        async with scripted(handler) as server:
            router = await start_router(server.url)
            async with client(router.port) as connection:
                for _ in range(8):
                    connection.send(post("/v1/completions", {}))
                    await connection.receive()
        failed, busy = Event.REQUEST_LOST, Event.BUSY
        assert [o.kind for o in router.observed] == [failed, failed, busy]
        assert "502" in router.observed[0].detail

    async def test_a_4xx_proves_nothing(self, start_router):
        """The client's request was invalid, and no work for the engine. It ends no trial."""
        turn = iter([refusal(502), refusal(404), OK])

        async def handler(reader, writer):
            while True:
                await read_request(reader)
                writer.write(next(turn))

        async with scripted(handler) as server:
            router = await start_router(server.url)
            async with client(router.port) as connection:
                told = []
                for _ in range(3):
                    connection.send(post("/v1/completions", {}))
                    await connection.receive()
                    router.table.set_state(0, ServerState.TRIAL)
                    told.append({o.kind for o in router.observed})
        assert told[0] == told[1] == {Event.REQUEST_LOST}
        assert told[2] == {Event.REQUEST_LOST, Event.REQUEST_OK}

    async def test_unanswered(self, start_router):
        async with scripted(then_close(b"")) as mute:
            with refusing_url() as gone:
                router = await start_router(mute.url, gone)
                in_order(router)
                assert (await ask(router.port, CHAT)).status == 502
        # No server has answered the request, so nobody knows if it was to blame for the first loss.
        assert [(o.row, o.kind) for o in router.observed] == [(1, Event.REQUEST_FAILED)]
        assert "connecting" in router.observed[0].detail

    async def test_answered_by_another(self, start_router):
        async with scripted(then_close(b"")) as mute, scripted(replies(OK)) as good:
            router = await start_router(mute.url, good.url)
            in_order(router)
            assert (await ask(router.port, CHAT)).status == 200
        assert [(o.row, o.kind) for o in router.observed] == [(0, Event.REQUEST_FAILED)]
        assert "first byte" in router.observed[0].detail

    async def test_a_stand_in_that_stops(self, start_router):
        async with standins(2) as (stopping, free):
            router = await start_router(stopping.url, free.url)
            in_order(router)
            stopping.engine.accepts_work = False
            answer = await ask(router.port, chat(model="standin"))
        assert answer.status == 200
        assert [(o.row, o.kind) for o in router.observed] == [(0, Event.SHUTTING_DOWN)]


class TestCounted:
    async def test_everything_once(self, start_router):
        """One request: rejected, failed, served; another: rejected by all; a third: aborted."""
        async with (
            scripted(replies(refusal(503))) as full,
            scripted(replies(OK)) as good,
        ):
            router = await start_router(full.url, good.url)
            in_order(router)
            router.configure(
                {"models": ("m", "n")},
                {"models": ("m",)},
                model_slots=("m", "n"),
                aliases={"a": "m"},
            )
            for model in ("m", "m", "n", "a"):
                await ask(router.port, post("/v1/x", {"model": model}))
            await ask(router.port, post("/v1/x", {}))
        cells = router.state.cells
        assert cells.started.tolist()[:2] == [5, 4]
        assert cells.finished_5xx.tolist()[:2] == [5, 0]
        assert cells.finished_2xx.tolist()[:2] == [0, 4]
        assert cells.retries_busy.tolist()[:2] == [0, 4]
        models = cells.models
        assert models.finished_2xx.tolist()[:3] == [1, 3, 0], "none named; m and its alias; n"
        assert models.finished_5xx.tolist()[:3] == [0, 0, 1]
        assert sum(sum(getattr(models, name)) for name in MODEL_COUNTERS) == 5
        first_bytes = [sum(column[row] for column in cells.first_byte.buckets) for row in (0, 1)]
        assert first_bytes == [1, 4], "of each answer that reached its client"
        durations = [sum(column[row] for column in cells.duration.buckets) for row in (0, 1)]
        assert durations == [1, 4], "of each request, where it ended"
        assert cells.duration.sum_us[1] >= cells.first_byte.sum_us[1] > 0

    async def test_failures(self, start_router):
        with refusing_url() as gone, refusing_url() as gone_too:
            router = await start_router(gone, gone_too)
            router.configure({"models": ("m",)}, {"models": ("m",)}, model_slots=("m",))
            assert (await ask(router.port, CHAT)).status == 502
        cells = router.state.cells
        assert cells.failed.tolist()[:2] == [1, 1]
        assert cells.models.failed.tolist()[:2] == [0, 1]
        assert sum(sum(column) for column in cells.first_byte.buckets) == 0

    async def test_duration_is_that_of_the_whole_request(self, start_router):
        """The client's waiting time, including retries, in seconds, in the right bucket."""

        async def slow(reader, writer):
            await read_request(reader)
            await asyncio.sleep(0.12)
            writer.write(OK)
            await reader.read()

        async with scripted(slow) as server:
            router = await start_router(server.url)
            await router.ask(CHAT)
        cells = router.state.cells
        assert 100_000 < cells.first_byte.sum_us[0] <= cells.duration.sum_us[0] < 1_000_000
        assert sum(column[0] for column in cells.duration.buckets[3:]) == 1

    async def test_bytes_and_events_after_a_retry(self, start_router):
        """Buffered bytes never reached the client, so they are not counted as sent to it."""
        async with scripted(replies(refusal(503))) as first, scripted(replies(OK)) as second:
            router = await start_router(first.url, second.url)
            in_order(router)
            raw = await router.ask(CHAT)
        assert router.state.cells.bytes_out.tolist()[:2] == [0, len(raw)]
        assert min(router.state.cells.bytes_in.tolist()[:2]) > len(b'{"model": "m"}')


class TestKeys:
    async def test_replaces_the_clients(self, start_router):
        asked: list[bytes] = []
        async with scripted(recording(asked, OK)) as server:
            router = await start_router(server.url)
            router.configure({"api_key": "server-key"})
            for fields in ("Authorization: Bearer mine\r\n", "AUTHORIZATION:x\r\n", ""):
                await ask(router.port, post("/v1/x", {}, fields))
        for raw in asked:
            [request] = judge_requests(raw)
            assert request.values(b"authorization") == [b"Bearer server-key"], "never both"

    async def test_each_server_gets_its_own_on_a_retry(self, start_router):
        """The key of one server must not reach another."""
        asked: list[list[bytes]] = [[], [], []]
        async with (
            scripted(recording(asked[0], refusal(503))) as first,
            scripted(recording(asked[1], refusal(429))) as second,
            scripted(recording(asked[2], OK)) as third,
        ):
            router = await start_router(first.url, second.url, third.url)
            in_order(router)
            router.configure({"api_key": "one"}, {}, {"api_key": "three"})
            request = post("/v1/x", {}, "Authorization: Bearer mine\r\n")
            assert (await ask(router.port, request)).status == 200
        keys = [judge_requests(raws[0])[0].values(b"authorization") for raws in asked]
        assert keys == [[b"Bearer one"], [b"Bearer mine"], [b"Bearer three"]]

    async def test_none_is_made_up(self, start_router):
        asked: list[list[bytes]] = [[], []]
        async with (
            scripted(recording(asked[0], refusal(503))) as first,
            scripted(recording(asked[1], OK)) as second,
        ):
            router = await start_router(first.url, second.url)
            in_order(router)
            router.configure({"api_key": "one"})
            await ask(router.port, post("/v1/x", {}))
        keys = [judge_requests(raws[0])[0].values(b"authorization") for raws in asked]
        assert keys == [[b"Bearer one"], []]

    async def test_changes_with_a_reload(self, start_router):
        asked: list[bytes] = []
        async with scripted(recording(asked, OK)) as server:
            router = await start_router(server.url)
            for key in ("old", "new", None):
                router.configure({"api_key": key})
                await ask(router.port, post("/v1/x", {}, "Authorization: Bearer mine\r\n"))
        keys = [judge_requests(raw)[0].values(b"authorization") for raw in asked]
        assert keys == [[b"Bearer old"], [b"Bearer new"], [b"Bearer mine"]]


async def test_30_clients_at_once_find_the_one_that_serves(start_router):
    """Each may need a retry, which is within the retry budget; none is served twice."""
    asked: list[bytes] = []
    async with scripted(replies(refusal(503))) as full, scripted(recording(asked, OK)) as good:
        router = await start_router(full.url, good.url)
        answers = await asyncio.gather(
            *(ask(router.port, post("/v1/x", {"n": number})) for number in range(30))
        )
    assert [answer.status for answer in answers] == [200] * 30
    served = [json.loads(judge_requests(raw)[0].body)["n"] for raw in asked]
    assert sorted(served) == list(range(30))
