"""Headers that explain the choice of the server."""

import pytest

from tests.support.endings import refusing_url
from tests.support.standin_client import ask, post
from tests.support.standins import standin, standins, until

CHAT = post("/v1/chat/completions", {"model": "standin", "messages": [], "max_tokens": 1})
STREAM = post("/v1/chat/completions", {"model": "standin", "max_tokens": 3, "stream": True})


def why(answer) -> dict[str, str]:
    return {
        name.removeprefix("x-fastroute-"): value
        for name, value in answer.fields
        if name.startswith("x-fastroute-")
    }


@pytest.mark.parametrize("request_", [CHAT, STREAM], ids=["json", "stream"])
async def test_a_server_of_several(start_router, request_):
    async with standins(3) as servers:
        router = await start_router(*(each.url for each in servers), explain=True)
        router.table.servers.foreign_milli[0] = 4000
        router.table.servers.foreign_milli[1] = 8000
        router.table.servers.foreign_milli[2] = 8000
        answer = await ask(router.port, request_)
        assert answer.complete
        assert why(answer) == {
            "server": servers[0].url,
            "score": "0.5",
            "attempts": "1",
            "reason": "lowest of 3",
        }


async def test_the_only_one_with_the_model(start_router):
    async with standins(2) as servers:
        router = await start_router(*(each.url for each in servers), explain=True)
        router.configure({"models": ("standin",)}, {"models": ("other",)})
        assert why(await ask(router.port, CHAT))["reason"] == "only usable server with the model"


async def test_after_a_retry(start_router):
    async with standin() as server:
        with refusing_url() as refusing:
            router = await start_router(refusing, server.url, explain=True, access_log="json")
            router.table.servers.foreign_milli[1] = 8000
            assert why(await ask(router.port, CHAT)) == {
                "server": server.url,
                "score": "1",
                "attempts": "2",
                "reason": f"retry after connect failure at {refusing}",
            }
            [record] = router.records()
            assert (record.attempts, record.status) == (2, 200)


async def test_switched_in_flight(start_router):
    async with standin() as server:
        router = await start_router(server.url)
        assert why(await ask(router.port, CHAT)) == {}
        router.configure(explain=True)
        assert why(await ask(router.port, CHAT))["reason"] == "only usable server"
        router.configure(explain=False)
        assert why(await ask(router.port, CHAT)) == {}
        await until(lambda: not router.state.settings.traces)
