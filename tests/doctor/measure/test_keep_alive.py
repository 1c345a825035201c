import pytest

from fastroute.doctor.measure import keep_alive as module
from fastroute.doctor.measure.keep_alive import idle_wait
from tests.support.doctored import measured
from tests.support.ports import free_port
from tests.support.scripted import replies, scripted
from tests.support.standins import standin


async def keep_alive(url: str, **options):
    return (await measured(module.measure_keep_alive, url, **options)).keep_alive


async def test_closed_in_time():
    async with standin(keep_alive=0.3) as server:
        kept = await keep_alive(server.url)
        assert server.counters.connections_accepted == 1
    assert 0.2 <= kept.closed_after < 4
    assert kept.error == ""


async def test_closed_at_once():
    reply = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

    async def handler(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply)

    async with scripted(handler) as server:
        assert (await keep_alive(server.url)).closed_after < 4


async def test_kept_longer_than_relevant(monkeypatch):
    monkeypatch.setattr(module, "VLLM_KEEP_ALIVE", 0.1)
    monkeypatch.setattr(module, "MARGIN", 0.2)
    async with standin(keep_alive=60) as server:
        kept = await keep_alive(server.url, settings={"pool_idle_timeout": 0})
    assert kept.closed_after is None
    assert 0.29 <= kept.waited < 4


@pytest.mark.parametrize(
    ("ours", "expected"), [(4.0, 6.0), (0.0, 6.0), (30.0, 31.0), (3600.0, 60.0)]
)
def test_idle_wait(ours, expected):
    assert idle_wait(ours) == expected


async def test_not_measured(monkeypatch):
    monkeypatch.setattr(module, "ANSWER_TIMEOUT", 0.1)
    gone = await keep_alive(f"http://127.0.0.1:{free_port()}")
    assert gone.error == "cannot connect: Connection refused"
    async with scripted(replies()) as server:
        assert (await keep_alive(server.url)).error == "no response within 0.1 s"
