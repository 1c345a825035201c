"""Responses that take time, seen by a client."""

import asyncio

import pytest

from fastroute.standin.answers import BLOCK
from tests.support.standin_client import ask, chat, client, get, post
from tests.support.standins import until


async def test_stream_has_one_event_a_chunk(server):
    answer = await ask(server.port, chat(stream=True, max_tokens=5))
    assert answer.fields[1:] == [
        ("server", "uvicorn"),
        ("content-type", "text/event-stream; charset=utf-8"),
        ("vary", "Origin"),
        ("transfer-encoding", "chunked"),
    ]
    *chunks, done, terminal = answer.chunks
    assert (done, terminal) == (b"data: [DONE]\n\n", b"")
    assert len(chunks) == 6
    assert all(chunk.startswith(b"data: {") and chunk.endswith(b"}\n\n") for chunk in chunks)
    role, *tokens, _ = answer.events()
    assert role["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert [event["choices"][0]["finish_reason"] for event in tokens] == [None] * 4 + ["length"]


async def test_completions_stream_has_no_role_event(server):
    answer = await ask(
        server.port, post("/v1/completions", {"prompt": "a", "max_tokens": 3, "stream": True})
    )
    assert len(answer.events()) == 4
    assert all(event["object"] == "text_completion" for event in answer.events()[:-1])


async def test_two_choices_of_a_stream(server):
    answer = await ask(server.port, chat(stream=True, n=2, max_tokens=3))
    choices = [event["choices"][0] for event in answer.events()[:-1]]
    assert [choice["index"] for choice in choices[:2]] == [0, 1]
    assert all("role" in choice["delta"] for choice in choices[:2])
    assert [choice["index"] for choice in choices if choice["finish_reason"]] == [0, 1]
    assert len(choices) == 8


async def test_usage_of_a_stream(server):
    options = {"include_usage": True}
    answer = await ask(server.port, chat(stream=True, max_tokens=8, stream_options=options))
    assert answer.events()[-2]["usage"] == {
        "prompt_tokens": 7,
        "total_tokens": 15,
        "completion_tokens": 8,
    }


async def test_whole_answer_of_several_prompts(server):
    answer = await ask(server.port, post("/v1/completions", {"prompt": ["a", "b"], "n": 2}))
    body = answer.json()
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2, 3]
    assert body["usage"]["completion_tokens"] == 64
    assert body["usage"]["prompt_tokens"] == 2
    assert answer["content-length"] == str(len(answer.body))


async def test_headers_are_sent_before_the_first_token_even_of_a_waiting_stream(server):
    server.settings.slots = 1
    slow = chat(stream=True, max_tokens=2, standin={"ttft": 60})
    async with client(server.port) as first, client(server.port) as second:
        first.send(slow)
        await until(lambda: server.engine.running == 1)
        second.send(chat(stream=True, max_tokens=2))
        for connection in (first, second):
            await connection.read_some()
            assert connection.wire.startswith(b"HTTP/1.1 200 OK\r\n")
            assert connection.wire.endswith(b"\r\n\r\n")
        assert (server.engine.running, server.engine.waiting) == (1, 1)
        first.writer.close()
        answer = await second.receive()
        assert answer.complete


async def test_the_first_token_comes_after_ttft(server):
    loop = asyncio.get_running_loop()
    begin = loop.time()
    async with client(server.port) as connection:
        override = {"ttft": 0.05, "token_interval": 0.01}
        connection.send(chat(stream=True, max_tokens=3, standin=override))
        await connection.read_some()
        first_byte = loop.time() - begin
        await connection.read_some()
        first_token = loop.time() - begin
        await connection.receive()
        end = loop.time() - begin
    assert first_byte < 0.04
    assert 0.045 < first_token < end
    assert end > 0.065


@pytest.mark.parametrize("stream", [True, False])
async def test_drop_after(server, stream):
    async with client(server.port) as connection:
        connection.send(chat(stream=stream, max_tokens=9, n=2, standin={"drop_after": 3}))
        answer = await connection.receive()
    assert not answer.complete
    assert len(answer.chunks) == (5 if stream else 0)
    assert (server.engine.running, server.engine.waiting) == (0, 0)
    assert server.counters.aborted == 1


async def test_slow_reader_stops_the_generation(server):
    async with client(server.port) as connection:
        connection.writer.transport.pause_reading()
        connection.send(chat(stream=True, max_tokens=1_000_000))
        await until(lambda: any(sequence.held for sequence in server.engine._running))
        made = server.engine.generation_tokens
        assert made < 100_000
        connection.writer.transport.resume_reading()

        async def read_on():
            while await connection.reader.read(1 << 20):
                pass

        reading = asyncio.create_task(read_on())
        await until(lambda: server.engine.generation_tokens > made + 1000)
        reading.cancel()
    await until(lambda: server.engine.running == 0)


@pytest.mark.parametrize("size", [0, 1, len(BLOCK), 5_000_001])
async def test_bytes(server, size):
    answer = await ask(server.port, get(f"/standin/bytes?size={size}"))
    assert answer["content-length"] == str(size)
    assert len(answer.body) == size
    assert answer.body[:300] == BLOCK[: min(300, size)]


async def test_bytes_to_a_slow_reader_need_little_memory(server):
    async with client(server.port) as connection:
        connection.writer.transport.pause_reading()
        connection.send(get("/standin/bytes?size=1000000000"))
        [one] = await until_connected(server)
        await until(lambda: one.is_paused)
        assert one._transport.get_write_buffer_size() < 3 * len(BLOCK)
        connection.writer.transport.abort()
    await until(lambda: server.counters.connections_open == 0)


async def until_connected(server):
    await until(lambda: server._connections)
    return list(server._connections)


async def test_metrics_follow_the_load(server):
    server.settings.slots = 2
    async with client(server.port) as connection:
        connection.send(chat(n=5, max_tokens=3, standin={"ttft": 60}))
        await until(lambda: server.engine.running == 2)
        text = (await ask(server.port, get("/metrics"))).body.decode()
    labels = '{engine="0",model_name="tiny"}'
    assert f"vllm:num_requests_running{labels} 2.0\n" in text
    assert f"vllm:num_requests_waiting{labels} 3.0\n" in text
    await until(lambda: server.engine.running + server.engine.waiting == 0)
    assert server.engine.finished == {}
