"""Stop, drain and kill, as seen by clients."""

import asyncio

import pytest

from tests.support.standin_client import ask, chat, client, get
from tests.support.standins import until


async def test_stop_ends_responses_well_formed(server):
    server.settings.token_interval = 60
    async with client(server.port) as stream, client(server.port) as whole:
        stream.send(chat(stream=True, max_tokens=9))
        whole.send(chat(max_tokens=9))
        await until(lambda: server.engine.running == 2)
        await server.stop()
        answer = await stream.receive()
        assert answer.complete
        *_, last, done = answer.events()
        assert (last["choices"][0]["finish_reason"], done) == ("abort", "[DONE]")
        body = (await whole.receive()).json()
        assert body["choices"][0]["finish_reason"] == "abort"
        assert body["usage"]["completion_tokens"] == 1
        assert await stream.is_closed()
        assert await whole.is_closed()


async def test_stop_ends_waiting_and_idle_connections_too(server):
    server.settings.slots = 1
    server.settings.ttft = 60
    async with client(server.port) as idle, client(server.port) as waiting:
        waiting.send(chat(stream=True, n=2))
        idle.send(get("/health"))
        await idle.receive()
        await until(lambda: server.engine.waiting == 1)
        await server.stop()
        assert (await waiting.receive()).complete
        assert await idle.is_closed()
    assert server.counters.connections_open == 0


async def test_drain_finishes_running_requests_and_rejects_new_ones(server):
    server.settings.token_interval = 0.01
    async with client(server.port) as stream, client(server.port) as late:
        stream.send(chat(stream=True, max_tokens=20))
        await until(lambda: server.engine.running == 1)
        stopping = asyncio.create_task(server.stop(grace=10))
        await until(lambda: not server.engine.accepts_work)
        late.send(chat())
        answer = await late.receive()
        assert answer.status == 500
        assert answer.json()["error"]["message"] == "cannot schedule new futures after shutdown"
        assert answer.json()["error"]["type"] == "InternalServerError"
        assert (await ask(server.port, get("/health"))).status == 200
        events = (await stream.receive()).events()
        assert events[-2]["choices"][0]["finish_reason"] == "length"
        await stopping


async def test_drain_has_a_time_limit(server):
    server.settings.token_interval = 60
    async with client(server.port) as stream:
        stream.send(chat(stream=True))
        await until(lambda: server.engine.running == 1)
        await server.stop(grace=0.02)
        assert (await stream.receive()).events()[-2]["choices"][0]["finish_reason"] == "abort"


async def test_a_killed_server_truncates_responses(server):
    server.settings.token_interval = 60
    async with client(server.port) as stream:
        stream.send(chat(stream=True))
        await stream.read_some()
        server.kill()
        assert not (await stream.receive()).complete
    with pytest.raises(ConnectionRefusedError):
        await ask(server.port, get("/health"))
    await until(lambda: server.counters.connections_open == 0)
    assert server.engine.running == 0
