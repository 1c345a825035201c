"""One request, one complete response or one clear error; kept connections are not trusted."""

import asyncio
import contextlib
import json
import socket
import ssl
import struct

import pytest
import trustme

from fastroute.net.http_client import (
    MAX_BODY_BYTES,
    MAX_OVERHEAD_BYTES,
    MAX_PIECES,
    ClientError,
    Reply,
    ServerClient,
    _Connection,
)
from fastroute.server_address import ServerAddress
from tests.support.descriptors import no_descriptors
from tests.support.memory_transport import End, MemoryTransport
from tests.support.names import Names
from tests.support.ports import dropping, free_port
from tests.support.scripted import read_request, replies, scripted
from tests.support.standins import standin, until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@contextlib.contextmanager
def client_of(url, **options):
    client = ServerClient(ServerAddress.from_url(url), **options)
    with contextlib.closing(client):
        yield client


# Complete responses.


async def test_one_connection_serves_many_requests():
    async with standin() as server:
        with client_of(server.url) as client:
            for target in ("/health", "/version", "/metrics", "/metrics/", "/health"):
                reply = await client.get(target, 5)
                assert reply.status == 200
            assert (await client.get("/nosuch", 5)).status == 404
            assert server.counters.connections_accepted == 1
        await until(lambda: server.counters.connections_open == 0)


async def test_what_the_server_sees():
    async with standin() as server:
        with client_of(server.url, api_key="sekret") as client:
            reply = await client.get("/standin/echo?name[]=vllm:x", 5)
    seen = json.loads(reply.body)
    assert seen["target"] == "/standin/echo?name[]=vllm:x"
    fields = {name.lower(): value for name, value in seen["fields"]}
    assert fields == {
        "host": f"127.0.0.1:{server.port}",
        "user-agent": "fastroute",
        "accept-encoding": "identity",
        "accept": "*/*",
        "authorization": "Bearer sekret",
    }


async def test_types_that_are_accepted():
    async with standin() as server:
        with client_of(server.url) as client:
            reply = await client.get("/standin/echo", 5, accept=b"text/plain, */*;q=0.1")
    assert ["Accept", "text/plain, */*;q=0.1"] in json.loads(reply.body)["fields"]


async def test_without_a_key_no_authorization():
    async with standin() as server:
        with client_of(server.url) as client:
            reply = await client.get("/standin/echo", 5)
    assert b"uthorization" not in reply.body


@pytest.mark.parametrize(
    ("reply", "status", "body"),
    [
        pytest.param(OK, 200, b"ok", id="length"),
        pytest.param(b"HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n", 503, b"", id="empty"),
        pytest.param(b"HTTP/1.1 204 X\r\n\r\n", 204, b"", id="no-body"),
        pytest.param(
            CHUNKED + b"1\r\no\r\n1;x=y\r\nk\r\n0\r\n\r\n",
            200,
            b"ok",
            id="chunked",
        ),
        pytest.param(
            b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + OK,
            200,
            b"ok",
            id="informational-first",
        ),
    ],
)  # fmt: skip
async def test_whole_replies_byte_by_byte_or_at_once(reply, status, body):
    segments = [reply[at : at + 1] for at in range(len(reply))]
    for parts in ([reply], segments):
        async with scripted(replies(*parts)) as server:
            with client_of(server.url) as client:
                for _ in range(3):
                    got = await client.get("/", 5)
                    assert (got.status, got.body) == (status, body)
            assert server.connections == 1


async def test_a_large_reply():
    body = bytes(range(256)) * 8192
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with scripted(replies(head, body)) as server:
        with client_of(server.url) as client:
            assert (await client.get("/", 5)).body == body


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n", id="http-1.1"),
        pytest.param(b"HTTP/1.0 200 OK\r\n\r\n", id="http-1.0"),
    ],
)
async def test_a_body_may_end_with_its_connection(head):
    async def handler(reader, writer):
        await read_request(reader)
        writer.write(head + b"ok")

    async with scripted(handler) as server:
        with client_of(server.url) as client:
            assert await client.get("/", 5) == Reply(200, b"ok", ends_with_connection=True)
            assert await client.get("/", 5) == Reply(200, b"ok", ends_with_connection=True)
        assert server.connections == 2


async def test_a_server_may_want_the_connection_closed():
    reply = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
    async with scripted(replies(reply)) as server:
        with client_of(server.url) as client:
            for _ in range(2):
                assert (await client.get("/", 5)).body == b"ok"
        assert server.connections == 2


# Reused connections.


async def test_closed_while_idle_the_request_is_sent_once_more():
    """The server closes after 5 s; its FIN and the next request may cross."""
    requests = []

    async def handler(reader, writer):
        requests.append(await read_request(reader))
        writer.write(OK)
        requests.append(await read_request(reader))  # Accepted, without a response.

    async with scripted(handler) as server:
        with client_of(server.url) as client:
            for _ in range(2):
                assert (await client.get("/", 5)).body == b"ok"
        assert (server.connections, len(requests)) == (2, 3)


async def test_closed_and_noticed_a_new_connection_is_used():
    async def handler(reader, writer):
        await read_request(reader)
        writer.write(OK)

    async with scripted(handler) as server:
        with client_of(server.url) as client:
            for _ in range(5):
                assert (await client.get("/", 5)).body == b"ok"
        assert server.connections == 5


async def test_an_idle_connection_is_closed_in_time():
    async with standin() as server:
        with client_of(server.url, idle_timeout=0.02) as client:
            await client.get("/health", 5)
            await until(lambda: server.counters.connections_open == 0)
            assert (await client.get("/health", 5)).status == 200
            assert server.counters.connections_accepted == 2


async def test_one_that_is_used_stays_open():
    async with standin() as server:
        with client_of(server.url, idle_timeout=0.5) as client:
            for _ in range(8):
                assert (await client.get("/health", 5)).status == 200
                await asyncio.sleep(0.1)
            assert server.counters.connections_accepted == 1
            await until(lambda: server.counters.connections_open == 0)


@pytest.mark.parametrize("late", [False, True], ids=["with-the-reply", "after-the-reply"])
async def test_bytes_that_nobody_asked_for_end_the_connection(late):
    gone = asyncio.Event()

    async def handler(reader, writer):
        await read_request(reader)
        writer.write(OK if late else OK + OK)
        if late:
            await writer.drain()
            await answered.wait()
            writer.write(OK)
        assert await reader.read() == b""
        gone.set()

    async with scripted(handler) as server:
        with client_of(server.url) as client:
            answered = asyncio.Event()
            assert (await client.get("/", 5)).body == b"ok"
            answered.set()
            async with asyncio.timeout(5):
                await gone.wait()


# No response.


async def test_refused():
    with client_of(f"http://127.0.0.1:{free_port()}") as client:
        with pytest.raises(ClientError, match=r"^cannot connect: Connection refused$") as failed:
            await client.get("/", 5)
        assert not failed.value.timed_out


async def test_an_unknown_name():
    with client_of("http://nosuch.invalid") as client:
        with pytest.raises(ClientError, match=r"cannot connect: .*[Nn]ame"):
            await client.get("/", 30)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        pytest.param(b"", "closed without an answer", id="nothing"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Le", "breaks HTTP", id="half-a-head"),
        pytest.param(OK[:-1], "breaks HTTP", id="half-a-body"),
        pytest.param(CHUNKED + b"2\r\nok\r\n", "breaks HTTP", id="no-last-chunk"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", "breaks HTTP", id="another-protocol"),
        pytest.param(b"\x15\x03\x01\x00\x02\x02\x46", "breaks HTTP", id="tls"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000, "breaks HTTP", id="endless-head"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
            "breaks HTTP",
            id="two-lengths",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (MAX_BODY_BYTES + 1), "longer than", id="too-long"
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % 10**12 + b"x" * (MAX_BODY_BYTES + 1),
            "longer than",
            id="too-long-by-its-length",
        ),
        pytest.param(
            CHUNKED + b"1;" + b"x" * (MAX_OVERHEAD_BYTES + 1), "longer than", id="endless-extension"
        ),
        pytest.param(
            CHUNKED + b"2\r\nok\r\n0\r\nX: " + b"x" * (MAX_OVERHEAD_BYTES + 1),
            "longer than",
            id="endless-trailer",
        ),
        pytest.param(
            CHUNKED + b"1\r\nx\r\n" * (MAX_OVERHEAD_BYTES // 5 + 1), "longer than", id="tiny-chunks"
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 201 + b"Content-Length: 0\r\n\r\n",
            "more than 200 headers",
            id="many-headers",
        ),
        pytest.param(
            b"HTTP/1.1 103 Hints\r\n\r\n" * 5000, "breaks HTTP: its head", id="endless-hints"
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok",
            "breaks HTTP",
            id="two-framings",
        ),
        pytest.param(b"HTTP/1.1 101 Go\r\nUpgrade: x\r\n\r\n", "status 101", id="another-101"),
        pytest.param(b"HTTP/2.0 200 OK\r\n\r\nok", "breaks HTTP", id="http-2"),
    ],
)
async def test_broken_replies(reply, reason):
    async def handler(reader, writer):
        await read_request(reader)
        writer.write(reply)

    async with scripted(handler) as server:
        with client_of(server.url) as client:
            for _ in range(2):
                with pytest.raises(ClientError, match=reason) as failed:
                    await client.get("/", 5)
                assert not failed.value.timed_out
        # A new connection each time, and no second attempt after a new one.
        assert server.connections == 2


@pytest.mark.parametrize(
    "begin", [pytest.param(b"", id="nothing"), pytest.param(OK[:-1], id="half-a-body")]
)
async def test_no_whole_reply_in_time(begin):
    ends = []

    async def handler(reader, writer):
        await read_request(reader)
        writer.write(begin)
        ends.append(await reader.read())

    async with scripted(handler) as server:
        with client_of(server.url) as client:
            with pytest.raises(ClientError, match=r"^no response within 0\.05 s$") as failed:
                await client.get("/", 0.05)
            assert failed.value.timed_out
            # Closed immediately: vLLM aborts requests of disconnected clients.
            await until(lambda: ends == [b""])


async def test_cancelled_it_lets_go_of_the_connection():
    ends = []
    asked = asyncio.Event()

    async def handler(reader, writer):
        await read_request(reader)
        asked.set()
        ends.append(await reader.read())

    async with scripted(handler) as server:
        with client_of(server.url) as client:
            task = asyncio.create_task(client.get("/", 60))
            async with asyncio.timeout(5):
                await asked.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await until(lambda: ends == [b""])


# Names.


async def test_connects_to_the_first_address_that_takes_it():
    async with standin() as server:
        names = Names(vllm=("127.0.0.9", "127.0.0.1"))
        url = server.url.replace("127.0.0.1", "vllm")
        with client_of(url, resolver=names.resolver) as client:
            assert (await client.get("/health", 5)).status == 200
            assert names.asked == {"vllm": 1}


async def test_an_address_that_drops_packets_costs_a_quarter_of_a_second():
    async with standin() as server:
        port = int(server.url.rpartition(":")[2])
        names = Names(vllm=("127.0.0.9", "127.0.0.1"))
        with (
            dropping("127.0.0.9", port),
            client_of(f"http://vllm:{port}", resolver=names.resolver) as client,
        ):
            assert (await client.get("/health", 5)).status == 200


async def test_closed_as_soon_as_it_is_made():
    """With a reset, so that it is closed before the request is sent."""

    async def reset(reader, writer):
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async with scripted(reset) as server:
        for _ in range(20):
            with client_of(server.url) as client, pytest.raises(ClientError) as raised:
                await client.get("/", 5)
            assert "closed" in str(raised.value) or "Connection reset" in str(raised.value)


async def test_no_such_name():
    with client_of("http://vllm:9", resolver=Names().resolver) as client:
        with pytest.raises(ClientError, match=r"^cannot connect: no such name$"):
            await client.get("/", 5)


async def test_a_look_up_that_hangs_is_not_waited_for():
    names = Names()
    names.hang()
    with client_of("http://vllm:9", resolver=names.resolver) as client:
        with pytest.raises(ClientError, match=r"^no response within 0.05 s$"):
            await client.get("/", 0.05)
    names.go_on()


# TLS.


@contextlib.asynccontextmanager
async def tls_server(name):
    """Serve OK as `name`; yield its port and a context that trusts it."""
    authority = trustme.CA()
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(theirs)
    ours = ssl.create_default_context()
    authority.configure_trust(ours)
    writers = []

    async def handler(reader, writer):
        writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            while True:
                await read_request(reader)
                writer.write(OK)

    server = await asyncio.start_server(handler, "127.0.0.1", 0, ssl=theirs)
    try:
        yield server.sockets[0].getsockname()[1], ours
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()


async def test_tls():
    async with tls_server("127.0.0.1") as (port, trusting):
        with client_of(f"https://127.0.0.1:{port}", tls=trusting) as client:
            for _ in range(2):
                assert (await client.get("/", 5)).body == b"ok"


async def test_tls_by_the_name_that_it_is_called():
    async with tls_server("vllm.example") as (port, trusting):
        called = ServerAddress.from_url(f"https+dns://vllm.example:{port}")
        address = ServerAddress.from_url(f"https://127.0.0.1:{port}")
        client = ServerClient(address, called=called, tls=trusting)
        with contextlib.closing(client):
            assert (await client.get("/", 5)).body == b"ok"


async def test_host_is_the_name_that_it_is_called():
    async with standin() as server:
        called = ServerAddress.from_url("http+dns://vllm:8000")
        client = ServerClient(ServerAddress.from_url(server.url), called=called)
        with contextlib.closing(client):
            assert b'["Host","vllm:8000"]' in (await client.get("/standin/echo", 5)).body


@pytest.mark.parametrize(
    ("name", "trusted", "reason"),
    [
        pytest.param("127.0.0.1", False, "unable to get local issuer", id="unknown-authority"),
        pytest.param("other.example", True, "IP address mismatch", id="another-name"),
    ],
)
async def test_tls_not_trusted(name, trusted, reason):
    async with tls_server(name) as (port, trusting):
        url = f"https://127.0.0.1:{port}"
        with client_of(url, tls=trusting if trusted else None) as client:
            with pytest.raises(ClientError, match=f"its certificate is not trusted: .*{reason}"):
                await client.get("/", 5)


async def test_tls_to_a_server_without():
    async with standin() as server:
        with client_of(server.url.replace("http:", "https:")) as client:
            with pytest.raises(ClientError, match="cannot connect: "):
                await client.get("/", 5)


async def test_a_limit_of_ours_is_told_apart():
    async with scripted(replies(OK)) as server:
        with client_of(server.url) as client:
            with no_descriptors(), pytest.raises(ClientError, match="Too many open") as failed:
                await client.get("/", 5)
            assert failed.value.is_own_limit
            assert not failed.value.timed_out
            assert (await client.get("/", 5)).body == b"ok"


async def test_a_refusal_is_no_limit_of_ours():
    with client_of(f"http://127.0.0.1:{free_port()}") as client:
        with pytest.raises(ClientError) as failed:
            await client.get("/", 5)
    assert not failed.value.is_own_limit


@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", b"x", id="body"),
        pytest.param(CHUNKED, b"1\r\nx\r\n", id="chunks"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: ", b"x", id="head"),
    ],
)
async def test_a_reply_in_too_many_pieces(begin, piece):
    """Each costs as much as 64 KB in one."""
    connection = _Connection(asyncio.get_running_loop(), 1.0)
    transport = MemoryTransport(connection)
    asking = asyncio.create_task(connection.send(b"GET / HTTP/1.1\r\n\r\n", MAX_BODY_BYTES))
    await asyncio.sleep(0)
    connection.data_received(begin)
    for _ in range(MAX_PIECES):
        connection.data_received(piece)
    with pytest.raises(ClientError, match="more than 10000 pieces"):
        await asking
    assert transport.end is End.ABORTED
