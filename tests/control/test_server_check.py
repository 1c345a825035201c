import pytest

from fastroute.config import ServerConfig
from fastroute.control.server_check import check_server, check_servers
from fastroute.rules.load import NAMES
from tests.support.scripted import replies, scripted
from tests.support.standins import standin

NOT_FOUND = b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}"


async def check(url: str, **fields):
    return await check_server(ServerConfig(url=url, **fields))


async def test_a_good_server():
    async with standin() as server:
        found = await check(server.url)
    assert (found.error, found.version, found.models) == (None, "0.32.0", ("standin",))
    assert "vllm:num_requests_running" in found.metrics
    assert set(found.metrics) <= set(NAMES)
    assert found.problems == []


async def test_one_that_is_not_there():
    found = await check("http://127.0.0.1:9")
    assert found.error == "cannot connect: Connection refused"
    assert found.problems == []


async def test_one_that_is_no_vllm():
    async with scripted(replies(NOT_FOUND)) as server:
        found = await check(server.url)
    assert (found.error, found.version, found.models, found.metrics) == (None, None, None, ())
    assert found.problems == [
        "/health answers 404",
        "its models are not known: /v1/models answered 404",
        "its load is not known: /metrics answers 404",
    ]


async def test_one_that_is_ill():
    async with standin(healthy=False) as server:
        found = await check(server.url)
    assert found.problems == ["/health answers 503"]


async def test_metrics_of_something_else():
    text = b'go_goroutines 7\nvllm:cache_config_info{a="b"} 1\n'
    reply = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(text), text)
    async with scripted(replies(reply)) as server:
        found = await check(server.url)
    assert found.metrics == ()
    assert found.problems[-1] == "its load is not known: vllm:num_requests_running is missing"


@pytest.mark.parametrize(
    ("pinned", "problems"),
    [(("standin",), []), (("standin", "m", "n"), ["it does not list m, n"])],
    ids=["listed", "not-listed"],
)
async def test_pinned_models(pinned, problems):
    async with standin() as server:
        found = await check(server.url, models=pinned)
    assert found.problems == problems


async def test_all_at_once_in_their_order():
    answered = []
    async with standin(models=["a"]) as first, standin(models=["b"]) as second:
        servers = [ServerConfig(url=url) for url in (first.url, "http://127.0.0.1:9", second.url)]
        checks = await check_servers(servers, lambda: answered.append(1))
    assert [found.models for found in checks] == [("a",), None, ("b",)]
    assert len(answered) == 3
