"""The stand-in as a process, and its speed."""

import asyncio
import signal
import time

import httptools
import pytest

from tests.support.standin_client import ask, chat, client, get
from tests.support.standins import StandInProcess, standin_process, until


@pytest.fixture
def process():
    with standin_process("--model", "tiny", "--model", "other", "--slots", "3") as process:
        yield process


def test_options_take_effect(process):
    assert process.state()["name"] == "standin"
    assert process.state()["pid"] == process.pid
    assert process.stop() == 0


def test_several_in_one_process():
    with standin_process("--count", "3", "--name", "s") as process:
        lines = [process.read_line() for _ in range(2)]
        assert process.state()["name"] == "s-1"
        urls = {process.url, *(line.split()[-1] for line in lines)}
        assert len(urls) == 3


def test_port_in_use_is_an_error(process):
    with pytest.raises(RuntimeError, match="exit code 1"):
        StandInProcess("--port", str(process.port))


async def test_sigterm_ends_streams_well_formed(process):
    async with client(process.port) as stream:
        stream.send(chat(stream=True, standin={"token_interval": 60}))
        await stream.read_some()
        assert await asyncio.to_thread(process.stop) == 0
        assert (await stream.receive()).events()[-2]["choices"][0]["finish_reason"] == "abort"


async def test_sigterm_with_a_shutdown_timeout_lets_streams_finish():
    with standin_process("--shutdown-timeout", "20") as process:
        async with client(process.port) as stream:
            stream.send(chat(stream=True, max_tokens=10, standin={"token_interval": 0.03}))
            await stream.read_some()
            process.signal(signal.SIGTERM)
            events = (await stream.receive()).events()
            assert events[-2]["choices"][0]["finish_reason"] == "length"
        assert await asyncio.to_thread(process.wait, 10) == 0


async def test_second_sigterm_does_not_wait():
    with standin_process("--shutdown-timeout", "60") as process:
        async with client(process.port) as stream:
            stream.send(chat(stream=True, standin={"token_interval": 60}))
            await stream.read_some()
            process.signal(signal.SIGTERM)
            async with asyncio.timeout(5):
                while (await ask(process.port, chat())).status != 500:
                    pass
            process.signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, 10) == -signal.SIGTERM


async def test_sigkill_breaks_streams(process):
    async with client(process.port) as stream:
        stream.send(chat(stream=True, standin={"token_interval": 60}))
        await stream.read_some()
        process.kill()
        assert not (await stream.receive()).complete


def test_exits_with_its_parent(process):
    process.close_stdin()
    assert process.wait(10) == 0


async def test_a_large_body_needs_little_memory(process):
    def rss() -> int:
        with open(f"/proc/{process.pid}/statm") as statm:
            return int(statm.read().split()[1]) * 4096

    before = rss()
    async with client(process.port) as connection:
        connection.send(get("/standin/bytes?size=300000000"))
        left = 300_000_000
        while left > 0:
            left -= len(await connection.reader.read(1 << 20))
    assert rss() - before < 8_000_000


class Asker(asyncio.Protocol):
    """Sends a new request as soon as it gets a response."""

    def __init__(self, count: int, done: asyncio.Future) -> None:
        self.left = count
        self.done = done
        self.request = chat(max_tokens=4)

    def connection_made(self, transport):
        self.transport = transport
        self.parser = httptools.HttpResponseParser(self)
        transport.write(self.request)

    def data_received(self, data):
        self.parser.feed_data(data)

    def on_message_complete(self):
        self.left -= 1
        if self.left:
            self.transport.write(self.request)
        else:
            self.transport.close()
            self.done.set_result(None)


@pytest.mark.alone
async def test_serves_thousands_of_requests_a_second(process):
    """The limit only detects gross regressions; it is far below the speed of an idle machine."""
    loop = asyncio.get_running_loop()
    dones = [loop.create_future() for _ in range(16)]
    begin = time.perf_counter()
    for done in dones:
        await loop.create_connection(lambda done=done: Asker(250, done), "127.0.0.1", process.port)
    await asyncio.gather(*dones)
    rate = 4000 / (time.perf_counter() - begin)
    print(f"{rate:.0f} requests/s")
    await until(lambda: process.state()["running"] == 0)
    assert process.state()["served"] == 4000
    assert rate > 500
