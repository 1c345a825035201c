"""The first request to real sockets, and the step at which it fails."""

from datetime import UTC, datetime, timedelta

import pytest

from fastroute.doctor.facts import Reach, Step
from fastroute.doctor.judge.connection import CLOCK_TOLERANCE
from fastroute.doctor.measure import bench
from fastroute.doctor.measure import reach as module
from tests.support.doctored import healthy, measured, silent
from tests.support.ports import free_port
from tests.support.scripted import read_request, replies, scripted
from tests.support.standins import standin
from tests.support.tls import Authority


async def reach(url: str, **options) -> Reach:
    facts = await measured(module.measure_reach, url, **options)
    assert facts.reach is not None
    return facts.reach


async def test_a_good_server():
    async with standin() as server:
        found = await reach(server.url)
    assert (found.step, found.error, found.status) == (Step.DONE, "", 200)
    assert found.addresses == ("127.0.0.1",)
    assert found.clock_ahead == 0.0
    assert 0 <= found.lookup < 5
    assert 0 < found.connect < 5
    assert 0 < found.answer < 5
    assert found.certificate is None


async def test_an_unhealthy_server():
    async with standin(healthy=False) as server:
        assert (await reach(server.url)).status == 503


async def test_the_key_is_sent():
    heads = []

    async def handler(reader, writer):
        heads.append((await read_request(reader))[0])
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with scripted(handler) as server:
        await reach(server.url, entry={"api_key": "sekret"})
    assert b"authorization: bearer sekret\r\n" in heads[0].lower()


async def test_refused():
    found = await reach(f"http://127.0.0.1:{free_port()}")
    assert (found.step, found.error) == (Step.CONNECT, "cannot connect: Connection refused")


async def test_an_unknown_name():
    found = await reach("http://nosuch.invalid")
    assert found.step is Step.NAME
    assert found.error.startswith("cannot connect: ")
    assert "ame" in found.error


@pytest.fixture(name="impatient")
def impatient_fixture(monkeypatch):
    for each in (bench, module):
        monkeypatch.setattr(each, "ANSWER_TIMEOUT", 0.2)


@pytest.fixture(autouse=True)
def no_handshake_fixture(monkeypatch):
    """Scripted servers do not support TLS, and need not be waited for."""
    monkeypatch.setattr(module, "HANDSHAKE_TIMEOUT", 0.3)


@pytest.mark.usefixtures("impatient")
async def test_a_server_that_hangs():
    async with scripted(silent) as server:
        found = await reach(server.url)
    assert (found.step, found.error) == (Step.ANSWER, "no response within 0.2 s")
    assert found.connect is not None
    assert not found.speaks_tls


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        pytest.param(b"", "the connection was closed without a response", id="nothing"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", "the response breaks HTTP", id="another-protocol"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Le", "the response breaks HTTP", id="half-a-head"
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx",
            "the response breaks",
            id="half-a-body",
        ),
    ],
)
async def test_broken_replies(reply, error):
    async def handler(reader, writer):
        await read_request(reader)
        writer.write(reply)

    async with scripted(handler) as server:
        found = await reach(server.url)
    assert found.step is Step.ANSWER
    assert found.error.startswith(error)


@pytest.mark.parametrize("ahead", [-3600.0, -60.0, 60.0, 86_400.0])
async def test_a_different_clock(ahead):
    async with scripted(healthy(ahead=ahead)) as server:
        found = await reach(server.url)
    assert abs(found.clock_ahead - ahead) <= 2.0


@pytest.mark.parametrize("ahead", [-1.0, 0.0, 1.0])
async def test_nearly_the_same_clock(ahead):
    """A Date has whole seconds; a fraction is no clock skew."""
    async with scripted(healthy(ahead=ahead)) as server:
        found = await reach(server.url)
    assert abs(found.clock_ahead) <= CLOCK_TOLERANCE


@pytest.mark.parametrize("date", [b"", b"Date: yesterday\r\n", b"Date: \xff\r\n"])
async def test_an_invalid_date(date):
    async with scripted(
        replies(b"HTTP/1.1 200 OK\r\n%bContent-Length: 0\r\n\r\n" % date)
    ) as server:
        found = await reach(server.url)
    assert (found.step, found.clock_ahead) == (Step.DONE, None)


# TLS.


async def test_a_certificate():
    authority, expires = Authority(), datetime.now(UTC) + timedelta(days=3)
    async with scripted(healthy(), tls=authority.of_server("127.0.0.1", expires)) as server:
        found = await reach(server.url, tls=authority.trusting())
    assert found.step is Step.DONE
    assert abs(found.certificate.expires_at - expires.timestamp()) <= 2
    assert found.certificate.issuer.startswith("trustme")
    assert found.certificate.protocol.startswith("TLSv1.")


@pytest.mark.parametrize(
    ("name", "days", "trusted", "error"),
    [
        pytest.param("127.0.0.1", 1, False, "unable to get local issuer", id="unknown-authority"),
        pytest.param("other.example", 1, True, "IP address mismatch", id="another-name"),
        pytest.param("127.0.0.1", -1, True, "certificate has expired", id="expired"),
    ],
)
async def test_not_trusted(name, days, trusted, error):
    authority = Authority()
    theirs = authority.of_server(name, datetime.now(UTC) + timedelta(days=days))
    async with scripted(healthy(), tls=theirs) as server:
        found = await reach(server.url, tls=authority.trusting() if trusted else None)
    assert found.step is Step.TLS
    assert found.error.startswith("cannot connect: its certificate is not trusted: ")
    assert error in found.error


async def test_https_to_a_server_without():
    async with standin() as server:
        found = await reach(server.url.replace("http:", "https:"))
    assert found.step is Step.TLS
    assert "wrong" in found.error.lower()


async def test_http_to_a_server_with_tls():
    async with scripted(healthy(), tls=Authority().of_server("127.0.0.1")) as server:
        found = await reach(server.url.replace("https:", "http:"))
    assert found.step is Step.ANSWER
    assert found.speaks_tls
