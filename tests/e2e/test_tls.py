"""Servers with https, verified with the system's CAs, or those in SSL_CERT_FILE.

There is no setting for a private CA: the environment variable is OpenSSL's, and is read when
fastroute starts.
"""

import asyncio
import contextlib
import datetime
import logging
import ssl

import pytest
import trustme

from tests.support.endings import ended, finish, reset
from tests.support.scripted import read_request, replies, scripted
from tests.support.standin_client import ask, client, get, post
from tests.support.standins import until

OK = b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 2\r\n\r\nok"
EVENT = b'10\r\ndata: {"a": 12}\n\r\n'
CHUNKED = b"HTTP/1.1 200 OK\r\nDate: x\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(name="authority", scope="module")
def authority_fixture():
    return trustme.CA()


@pytest.fixture(autouse=True)
def trusted(authority, monkeypatch, tmp_path):
    """Set SSL_CERT_FILE as for `fastroute run`, before the router starts."""
    file = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(file)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))


@contextlib.asynccontextmanager
async def secured(handler, certificate: trustme.LeafCert, host: str = "127.0.0.1"):
    """Run a scripted server with TLS; yield its URL and the names that clients requested."""
    names: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    tasks: set[asyncio.Task] = set()

    async def serve(reader, writer):
        tasks.add(asyncio.current_task())
        ends = (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError)
        with contextlib.suppress(*ends):
            await handler(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context, limit=2**27)
    try:
        yield f"https://{host}:{server.sockets[0].getsockname()[1]}", names
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


async def refused_with_502(router, caplog, *words: str) -> None:
    answer = await ask(router.port, get("/v1/x"))
    assert answer.status == 502
    assert router.total("started") == router.total("failed") == 1
    (line,) = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    for word in words:
        assert word in line


class TestVerification:
    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
    async def test_of_a_good_certificate(self, start_router, authority, host):
        heads = []

        async def handler(reader, writer):
            while True:
                head, _ = await read_request(reader)
                heads.append(head)
                writer.write(OK)

        async with secured(handler, authority.issue_cert(host), host) as (url, names):
            router = await start_router(url)
            for _ in range(3):
                assert (await ask(router.port, get("/v1/x"))).body == b"ok"
        assert f"Host: {url.removeprefix('https://')}\r\n".encode() in heads[0]
        assert names == [host if host == "localhost" else None], "one connection, reused"

    @pytest.mark.parametrize(
        ("name", "days"),
        [("elsewhere.example", 365), ("127.0.0.2", 365), ("127.0.0.1", -1)],
        ids=["another name", "another address", "expired"],
    )
    async def test_of_a_wrong_one(self, start_router, authority, caplog, name, days):
        until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
        certificate = authority.issue_cert(name, not_after=until)
        async with secured(replies(OK), certificate) as (url, _):
            router = await start_router(url)
            await refused_with_502(router, caplog, url, "connecting", "certificate")

    async def test_of_one_by_an_unknown_authority(self, start_router, caplog):
        async with secured(replies(OK), trustme.CA().issue_cert("127.0.0.1")) as (url, _):
            router = await start_router(url)
            await refused_with_502(router, caplog, url, "connecting", "certificate")

    async def test_that_fails_leads_to_another_server(self, start_router, authority):
        bad, good = trustme.CA().issue_cert("127.0.0.1"), authority.issue_cert("127.0.0.1")
        async with secured(replies(OK), bad) as (bad_url, _):
            async with secured(replies(OK), good) as (good_url, _):
                router = await start_router(bad_url, good_url)
                while not router.state.cells.failed[0]:
                    assert (await ask(router.port, get("/v1/x"))).body == b"ok"


class TestWhatIsNoTls:
    async def test_is_not_spoken_to_in_plain(self, start_router, caplog):
        """A fallback from https to http never happens."""
        got = []

        async def handler(reader, writer):
            got.append(await reader.read(5))
            writer.write(b"HTTP/1.1 400 Bad Request\r\nDate: x\r\nContent-Length: 0\r\n\r\n")

        async with scripted(handler) as server:
            router = await start_router(server.url.replace("http:", "https:"))
            await refused_with_502(router, caplog, "connecting")
        assert got == [b"\x16\x03\x01" + got[0][3:]], "a TLS greeting, once"

    async def test_a_server_that_says_nothing_is_given_up(self, start_router, caplog):
        async def handler(reader, writer):
            await ended(reader)

        async with scripted(handler) as server:
            url = server.url.replace("http:", "https:")
            router = await start_router(url, connect_timeout=0.3)
            await refused_with_502(router, caplog, "no connection within 0.3 s")

    @pytest.mark.parametrize("end", [finish, reset], ids=["fin", "rst"])
    async def test_a_server_that_leaves_in_the_handshake(self, start_router, caplog, end):
        async def handler(reader, writer):
            await reader.read(1)
            end(writer)

        async with scripted(handler) as server:
            router = await start_router(server.url.replace("http:", "https:"))
            await refused_with_502(router, caplog, "connecting")

    async def test_http_to_a_tls_server_is_a_502(self, start_router, authority):
        async with secured(replies(OK), authority.issue_cert("127.0.0.1")) as (url, _):
            router = await start_router(url.replace("https:", "http:"))
            assert (await ask(router.port, get("/v1/x"))).status == 502


class TestWithinTls:
    async def test_large_bodies_both_ways(self, start_router, authority):
        body = bytes(range(256)) * 80_000

        async def handler(reader, writer):
            _, got = await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: %d\r\n\r\n" % len(got))
            writer.write(got)
            await ended(reader)

        async with secured(handler, authority.issue_cert("127.0.0.1")) as (url, _):
            router = await start_router(url)
            async with client(router.port) as connection:
                connection.send(post("/v1/x", body))
                await connection.reader.readuntil(b"\r\n\r\n")
                assert await connection.reader.readexactly(len(body)) == body

    async def test_each_event_leaves_at_once(self, start_router, authority):
        got: asyncio.Queue[None] = asyncio.Queue()

        async def handler(reader, writer):
            await read_request(reader)
            writer.write(CHUNKED)
            for _ in range(20):
                writer.write(EVENT)
                await asyncio.wait_for(got.get(), 5)
            writer.write(b"0\r\n\r\n")

        async with secured(handler, authority.issue_cert("127.0.0.1")) as (url, _):
            router = await start_router(url)
            async with client(router.port) as connection:
                connection.send(get("/v1/x"))
                await connection.reader.readuntil(b"\r\n\r\n")
                for _ in range(20):
                    assert await connection.reader.readexactly(len(EVENT)) == EVENT
                    got.put_nowait(None)

    async def test_a_client_that_does_not_read_holds_back_its_server(self, start_router, authority):
        sent = 0

        async def handler(reader, writer):
            nonlocal sent
            await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nDate: x\r\n\r\n")
            for _ in range(1000):
                writer.write(bytes(100_000))
                await writer.drain()
                sent += 100_000

        async with secured(handler, authority.issue_cert("127.0.0.1")) as (url, _):
            router = await start_router(url)
            async with client(router.port) as connection:
                connection.writer.transport.pause_reading()
                connection.send(get("/v1/x"))
                await until(lambda: sent)
                with pytest.raises(TimeoutError):
                    await until(lambda: sent > 30_000_000, 0.5)
                (accepted,) = router.state.clients
                assert accepted._transport.get_write_buffer_size() < 1_000_000
                connection.writer.transport.resume_reading()
                await connection.reader.readuntil(b"\r\n\r\n")
                await connection.reader.readexactly(100_000_000)

    @pytest.mark.parametrize("leave", [finish, reset], ids=["fin", "rst"])
    @pytest.mark.parametrize("said", [b"", CHUNKED + EVENT], ids=["no byte yet", "mid-stream"])
    @pytest.mark.alone
    async def test_the_server_sees_a_client_go(self, start_router, authority, said, leave):
        gone: asyncio.Queue[float] = asyncio.Queue()

        async def handler(reader, writer):
            await read_request(reader)
            writer.write(said)
            gone.put_nowait(await ended(reader))

        async with secured(handler, authority.issue_cert("127.0.0.1")) as (url, _):
            router = await start_router(url)
            delays = []
            for _ in range(3):
                async with client(router.port) as connection:
                    connection.send(get("/v1/x"))
                    await until(lambda: router.total("connections_new") == len(delays) + 1)
                    if said:
                        await connection.reader.readuntil(EVENT)
                    left = asyncio.get_running_loop().time()
                    leave(connection.writer)
                    delays.append(await asyncio.wait_for(gone.get(), 5) - left)
            assert min(delays) < 0.05
            await until(lambda: router.total("aborted") == 3)

    async def test_a_client_that_goes_at_any_moment_of_the_handshake(self, start_router, authority):
        async with secured(replies(OK), authority.issue_cert("127.0.0.1")) as (url, _):
            router = await start_router(url)
            for turns in range(0, 60, 2):
                async with client(router.port) as connection:
                    connection.send(get("/v1/x"))
                    for _ in range(turns):
                        await asyncio.sleep(0)
                    reset(connection.writer)
                await until(lambda: not router.state.clients)
            assert (await ask(router.port, get("/v1/x"))).body == b"ok"
            assert router.total("aborted") > 0

    @pytest.mark.parametrize(
        "said",
        [
            CHUNKED + EVENT,
            b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 100\r\n\r\nhalf",
            b"HTTP/1.1 200 OK\r\nDate: x\r\n\r\nhalf",
        ],
        ids=["chunked", "length", "until close"],
    )
    async def test_a_server_that_dies_in_mid_reply(self, start_router, authority, said):
        """The last of these differs from a complete one only by the missing end of TLS."""

        async def handler(reader, writer):
            await read_request(reader)
            writer.write(said)
            await writer.drain()
            await asyncio.sleep(0.02)  # so that it is read before the end
            writer.transport.abort()

        async with secured(handler, authority.issue_cert("127.0.0.1")) as (url, _):
            router = await start_router(url)
            answer = await ask(router.port, get("/v1/x"))
        assert (answer.status, answer.complete) == (200, False)
        assert router.total("failed") == 1

    async def test_the_end_of_a_body_until_close(self, start_router, authority):
        async def handler(reader, writer):
            await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nDate: x\r\n\r\nall of it")

        async with secured(handler, authority.issue_cert("127.0.0.1")) as (url, _):
            router = await start_router(url)
            reply = await router.ask(get("/v1/x"))
        assert reply.endswith(b"all of it")
        assert router.total("finished_2xx") == 1

    async def test_a_connection_the_server_ended_while_idle(self, start_router, authority):
        dice = iter([True, False] * 50)

        async def handler(reader, writer):
            while True:
                await read_request(reader)
                writer.write(OK)
                if next(dice):
                    return

        async with secured(handler, authority.issue_cert("127.0.0.1")) as (url, _):
            router = await start_router(url)
            async with client(router.port) as connection:
                for _ in range(50):
                    connection.send(get("/v1/x"))
                    assert (await connection.receive()).body == b"ok"
        assert router.total("finished_2xx") == 50
