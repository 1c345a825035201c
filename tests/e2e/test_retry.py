"""Requests that are retried, their next server, and requests that never are."""

import asyncio
import contextlib
import json
import logging
import random

import msgspec
import pytest

from tests.support.counts import counts
from tests.support.endings import finish, refusing_url, reset, silent_url
from tests.support.ports import free_port
from tests.support.scripted import read_request, replies, scripted
from tests.support.standin_client import ask, client, get, post
from tests.support.standins import standin, until

OK = b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 2\r\n\r\nok"
CHAT = post("/v1/chat/completions", {"model": "m"})


def closing_after(sent: bytes, *, end=finish, requests: int = 1):
    """A server that returns `OK` for all requests of a connection except the last."""

    async def handler(reader, writer):
        for _ in range(requests - 1):
            await read_request(reader)
            writer.write(OK)
        await read_request(reader)
        writer.write(sent)
        if sent:
            await writer.drain()
            # A reset discards bytes in flight.
            await asyncio.sleep(0.02 if end is reset else 0)
        end(writer)

    return handler


@contextlib.contextmanager
def only(router, row: int):
    """Make the router choose this server first, because the others appear busy."""
    in_flight = router.state.cells.in_flight
    others = [other for other in range(len(router.state.router.servers)) if other != row]
    for other in others:
        in_flight[other] += 1000
    yield
    for other in others:
        in_flight[other] -= 1000


def error_of(answer) -> dict:
    error = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["code"] == answer.status
    return error


def failures(caplog) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


class TestConnectingFails:
    async def test_another_server_is_asked(self, start_router, caplog):
        async with scripted(replies(OK)) as good:
            with refusing_url() as refusing:
                router = await start_router(refusing, good.url)
                for _ in range(20):
                    assert (await ask(router.port, CHAT)).body == b"ok"
        cells = router.state.cells
        assert cells.finished_2xx[1] == 20
        assert cells.failed[0] == counts(cells, "retries")[1] > 0
        for line in failures(caplog):
            assert refusing in line
            assert "connecting" in line
            assert "refused" in line

    async def test_no_answer_to_the_connecting(self, start_router, caplog):
        async with scripted(replies(OK)) as good:
            with silent_url() as silent:
                router = await start_router(silent, good.url, connect_timeout=0.2)
                while not router.state.cells.failed[0]:
                    assert (await ask(router.port, CHAT)).body == b"ok"
        assert len(failures(caplog)) == 1
        assert "0.2 s" in failures(caplog)[0]

    async def test_everywhere(self, start_router, caplog):
        with refusing_url() as first, refusing_url() as second:
            router = await start_router(first, second)
            answer = await ask(router.port, CHAT)
        assert answer.status == 502
        assert "127.0.0.1" not in error_of(answer)["message"], "a client need not know addresses"
        assert list(router.state.cells.failed[:2]) == [1, 1], "none is asked twice"
        assert len(failures(caplog)) == 2

    async def test_the_connection_of_the_client_goes_on(self, start_router):
        with refusing_url() as refusing:
            router = await start_router(refusing)
            async with client(router.port) as connection:
                for _ in range(3):
                    connection.send(CHAT)
                    assert (await connection.receive()).status == 502

    @pytest.mark.parametrize(("max_retries", "asked"), [(0, 1), (1, 2), (2, 3), (100, 5)])
    async def test_so_many_servers_are_asked(self, start_router, max_retries, asked):
        with refusing_url() as a, refusing_url() as b, refusing_url() as c:
            with refusing_url() as d, refusing_url() as e:
                router = await start_router(a, b, c, d, e, max_retries=max_retries)
                assert (await ask(router.port, CHAT)).status == 502
        failed = list(router.state.cells.failed[:5])
        assert sum(failed) == asked
        assert max(failed) == 1

    @pytest.mark.parametrize(
        "host", ["no-such-host.invalid", "x" * 64 + ".example"], ids=["unknown", "impossible"]
    )
    async def test_a_name_that_leads_nowhere(self, start_router, host):
        async with scripted(replies(OK)) as good:
            router = await start_router("http://name-to-be:8000", good.url, connect_timeout=5.0)
            # The configuration rejects impossible names; resolvers may reject other names.
            pool = router.state.router.servers[0]
            pool._address = msgspec.structs.replace(pool._address, host=host)
            with only(router, 0):
                assert (await ask(router.port, CHAT)).body == b"ok"
            assert router.state.cells.failed[0] == 1

    async def test_the_body_is_sent_whole_to_the_second_server(self, start_router):
        body = random.Random(3).randbytes(3_000_000)
        async with standin() as good:
            with refusing_url() as refusing:
                router = await start_router(refusing, good.url)
                while not counts(router.state.cells, "retries")[1]:
                    answer = await ask(router.port, post("/standin/echo", body))
                    assert answer.status == 200
                    assert answer.json()["body"]["size"] == len(body)


class TestAReusedConnection:
    @pytest.mark.parametrize("end", [finish, reset], ids=["fin", "rst"])
    async def test_that_ends_without_a_byte_is_replaced(self, start_router, end, caplog):
        async with scripted(closing_after(b"", requests=2, end=end)) as server:
            router = await start_router(server.url)
            async with client(router.port) as connection:
                for _ in range(2):
                    connection.send(CHAT)
                    assert (await connection.receive()).body == b"ok"
        assert server.connections == 2
        cells = router.state.cells
        assert (cells.failed[0], counts(cells, "retries")[0], cells.finished_2xx[0]) == (1, 1, 2)
        assert len(failures(caplog)) == 1
        assert "once more" in failures(caplog)[0]

    async def test_is_replaced_once_only(self, start_router):
        """The server serves one request, then closes each connection without a response."""
        seen = 0

        async def handler(reader, writer):
            nonlocal seen
            while True:
                await read_request(reader)
                seen += 1
                if seen > 1:
                    return
                writer.write(OK)

        async with scripted(handler) as server:
            router = await start_router(server.url)
            async with client(router.port) as connection:
                connection.send(CHAT)
                assert (await connection.receive()).body == b"ok"
                connection.send(CHAT)
                answer = await connection.receive()
        assert (answer.status, seen) == (502, 3)
        error_of(answer)

    async def test_is_not_replaced_after_a_byte(self, start_router):
        async with scripted(closing_after(b"H", requests=2)) as server:
            router = await start_router(server.url)
            async with client(router.port) as connection:
                connection.send(CHAT)
                assert (await connection.receive()).body == b"ok"
                connection.send(CHAT)
                assert (await connection.receive()).status == 502
        assert server.connections == 1

    async def test_is_not_replaced_after_silence(self, start_router):
        async def handler(reader, writer):
            await read_request(reader)
            writer.write(OK)
            await read_request(reader)
            await reader.read()

        async with scripted(handler) as server:
            router = await start_router(server.url, request_timeout=0.5)
            async with client(router.port) as connection:
                connection.send(CHAT)
                assert (await connection.receive()).body == b"ok"
                connection.send(CHAT)
                assert (await connection.receive()).status == 504
        assert (server.connections, router.total("started")) == (1, 2)

    async def test_connections_that_end_with_their_second_request(self, start_router):
        """Of two servers: a replay must not meet a second connection of that kind."""
        endings = [scripted(closing_after(b"", requests=2)) for _ in range(2)]
        async with endings[0] as first, endings[1] as second:
            router = await start_router(first.url, second.url)
            for _ in range(20):
                got = await asyncio.gather(*(ask(router.port, CHAT) for _ in range(4)))
                assert [answer.status for answer in got] == [200] * 4

    async def test_whose_server_is_gone_for_good_leads_to_another_server(self, start_router):
        port = free_port()
        gone = await asyncio.start_server(closing_after(b"", requests=2), "127.0.0.1", port)
        async with gone, scripted(replies(OK)) as other:
            router = await start_router(f"http://127.0.0.1:{port}", other.url)
            async with client(router.port) as connection:
                with only(router, 0):
                    connection.send(CHAT)
                    assert (await connection.receive()).body == b"ok"
                    gone.close()  # existing connections continue
                    connection.send(CHAT)
                    assert (await connection.receive()).body == b"ok"
        assert router.state.cells.failed[0] == 1, "the reused connection"
        assert router.state.cells.finished_2xx[1] == 1

    async def test_race_200_times(self, start_router):
        """The server closes connections at random, often just when the next request arrives."""
        dice = random.Random(5)
        served = 0

        async def handler(reader, writer):
            nonlocal served
            while True:
                await read_request(reader)
                served += 1
                writer.write(OK)
                if dice.random() < 0.5:
                    for _ in range(dice.randrange(8)):
                        await asyncio.sleep(0)
                    (finish if dice.random() < 0.5 else reset)(writer)
                    return

        async with scripted(handler) as server:
            router = await start_router(server.url)
            async with client(router.port) as connection:
                for _ in range(200):
                    connection.send(CHAT)
                    answer = await connection.receive()
                    assert (answer.status, answer.body) == (200, b"ok")
                    for _ in range(dice.randrange(8)):
                        await asyncio.sleep(0)
        assert served == 200, "no request was served twice"
        assert router.total("finished_2xx") == 200
        assert router.total("failed") == router.total("retries") > 0, "the race was not met"
        assert server.connections > 50


class TestAFreshConnection:
    @pytest.mark.parametrize("end", [finish, reset], ids=["fin", "rst"])
    async def test_that_ends_without_a_byte_leads_to_another_server(
        self, start_router, end, caplog
    ):
        async with scripted(replies(OK)) as other, scripted(closing_after(b"", end=end)) as bad:
            router = await start_router(bad.url, other.url)
            with only(router, 0):
                assert (await ask(router.port, CHAT)).body == b"ok"
        assert (bad.connections, other.connections) == (1, 1)
        assert router.total("retries") == 1
        (line,) = failures(caplog)
        assert bad.url in line
        assert "waiting for the first byte" in line

    @pytest.mark.parametrize("end", [finish, reset], ids=["fin", "rst"])
    async def test_that_ends_without_a_byte_is_a_502_if_so_set(self, start_router, end):
        async with scripted(replies(OK)) as other, scripted(closing_after(b"", end=end)) as bad:
            router = await start_router(bad.url, other.url, retry_on=("connect",))
            with only(router, 0):
                answer = await ask(router.port, CHAT)
        assert answer.status == 502
        error_of(answer)
        assert (bad.connections, other.connections) == (1, 0)

    @pytest.mark.parametrize("end", [finish, reset], ids=["fin", "rst"])
    async def test_that_ends_without_a_byte_is_a_502_at_the_only_server(self, start_router, end):
        async with scripted(closing_after(b"", end=end)) as bad:
            router = await start_router(bad.url)
            answer = await ask(router.port, CHAT)
        assert answer.status == 502
        error_of(answer)
        assert bad.connections == 1

    async def test_that_is_closed_on_accepting(self, start_router):
        """Before or after the request was sent; the client gets a response in any case."""

        async def handler(reader, writer):
            pass

        async with scripted(replies(OK)) as other, scripted(handler) as bad:
            router = await start_router(bad.url, other.url)
            for _ in range(30):
                assert (await ask(router.port, CHAT)).status == 200
        assert router.state.cells.failed[0] > 0

    async def test_on_which_the_server_speaks_first(self, start_router):
        async def handler(reader, writer):
            writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
            await reader.read()

        async with scripted(handler) as server:
            router = await start_router(server.url)
            for _ in range(10):
                assert (await ask(router.port, CHAT)).status == 502


BROKEN = {
    "one byte": b"H",
    "half a head": b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Le",
    "only an interim reply": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
    "no HTTP": b"* OK IMAP4rev1 ready\r\n\r\n",
    "HTTP/2": b"\0\0\x12\4\0\0\0\0\0" + bytes(18),
    "a status of 99": b"HTTP/1.1 099 What\r\nDate: x\r\n\r\n",
    "both lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "an upgrade nobody asked for": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    "a head without end": b"HTTP/1.1 200 OK\r\nDate: x\r\n" + b"X-A: b\r\n" * 20_000,
    "a field without end": b"HTTP/1.1 200 OK\r\nDate: x\r\nX-A: " + b"b" * 200_000,
}


@pytest.mark.parametrize("sent", BROKEN.values(), ids=BROKEN.keys())
async def test_a_head_that_is_broken_is_a_502_and_not_tried_again(start_router, sent, caplog):
    async with scripted(closing_after(sent)) as bad, scripted(replies(OK)) as other:
        router = await start_router(bad.url, other.url)
        while not router.state.cells.failed[0]:
            async with client(router.port) as connection:
                connection.send(CHAT)
                answer = await connection.receive()
                if answer.status == 103:
                    answer = await connection.receive()
    assert answer.status == 502
    error_of(answer)
    assert router.total("retries") == 0
    (line,) = failures(caplog)
    assert bad.url in line
    assert "replying" in line


@pytest.mark.parametrize("end", [finish, reset], ids=["fin", "rst"])
async def test_a_server_error_is_passed_on_and_not_tried_again(start_router, end):
    """Not by fastroute: the server may have started, and its error is more precise."""
    body = json.dumps({"error": {"message": "CUDA out of memory"}}).encode()
    reply = b"HTTP/1.1 500 Oops\r\nDate: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    async with scripted(closing_after(reply, end=end)) as server:
        router = await start_router(server.url)
        answer = await ask(router.port, CHAT)
        assert (answer.status, answer.body) == (500, body)
    assert (router.total("finished_5xx"), router.total("failed")) == (1, 0)
    assert router.total("started") == 1


async def test_no_server_at_all(start_router):
    router = await start_router()
    async with client(router.port) as connection:
        for _ in range(2):
            connection.send(CHAT)
            answer = await connection.receive()
            assert answer.status == 503
            assert int(answer["retry-after"]) >= 1
            error_of(answer)
        connection.send(get("/livez"))
        assert (await connection.receive()).status == 200
    assert router.state.cells.process.unrouted_503[0] == 2


async def test_a_black_hole_holds_up_nobody_else(start_router):
    """One server never accepts connections; requests to the other are served meanwhile."""
    async with scripted(replies(OK)) as good:
        with silent_url() as silent:
            router = await start_router(silent, good.url, connect_timeout=60.0)
            async with client(router.port) as stuck:
                with only(router, 0):
                    stuck.send(CHAT)
                    await until(lambda: router.state.cells.in_flight[0] == 1)
                for _ in range(50):
                    assert (await ask(router.port, CHAT)).body == b"ok"
            await until(lambda: not sum(router.table.in_flight_totals()))
