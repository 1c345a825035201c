import asyncio
import contextlib

import pytest

from fastroute.errors import ConfigError
from fastroute.monitor.poller import NoResponse, Poller, target
from tests.support.reports import EXAMPLE
from tests.support.standins import standin


@pytest.mark.parametrize(
    ("url", "full"),
    [
        ("http://router:8888", "http://router:8888"),
        ("router:8888", "http://router:8888"),
        ("https://router/", "https://router"),
        ("[::1]:8888", "http://[::1]:8888"),
    ],
)
def test_target(url, full):
    assert target(url)[0] == full


@pytest.mark.parametrize("url", ["", "ftp://x", "http://x/load-stats", "http://x:99999", "a b"])
def test_wrong_target(url):
    with pytest.raises(ConfigError, match="must be"):
        target(url)


@contextlib.contextmanager
def poller_of(port: int):
    poller = Poller(*target(f"127.0.0.1:{port}"))
    try:
        yield poller
    finally:
        poller.close()


async def test_a_fastroute(start_router):
    async with standin() as server:
        router = await start_router(server.url)
        with poller_of(router.port) as poller:
            await poller.poll()
            await poller.poll()
            data = poller.data(["line"])
    assert [each.url for each in data.report.servers] == [server.url]
    assert (data.error, list(data.log)) == ("", ["line"])
    assert poller.body.startswith(b'{"servers":')


async def test_a_failed_poll_sets_the_error():
    with poller_of(1) as poller:
        with pytest.raises(NoResponse, match="Connection refused"):
            await poller.poll()
        assert poller.data().error == "cannot connect: Connection refused"
        assert poller.data().report is None


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        pytest.param(
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
            "not a fastroute: /load-stats returned status 404; if admin_port is set, use that port",
            id="404",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
            "not a fastroute: /load-stats returned an unknown body",
            id="other-json",
        ),
        pytest.param(b"SSH-2.0-OpenSSH\r\n", "the response breaks HTTP", id="no-http"),
    ],
)
async def test_another_program(reply, message):
    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        with poller_of(server.sockets[0].getsockname()[1]) as poller:
            with pytest.raises(NoResponse, match=message):
                await poller.poll()


def test_the_example_has_servers():
    assert EXAMPLE["servers"]
