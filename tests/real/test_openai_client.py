"""The official client gets the same through fastroute as directly from vLLM."""

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any

import openai
import pytest

from tests.real.router_process import RouterProcess
from tests.real.vllm_server import MODEL_NAME, VllmServer

pytestmark = pytest.mark.real

# Ids are random, and times change.
DRAWN = re.compile(r"(chatcmpl-tool|chatcmpl|cmpl|resp|msg|call|fc)[-_][0-9a-f-]{8,}")
TIMES = {"created", "created_at", "completed_at"}

MESSAGES = [{"role": "user", "content": "Tell me a story."}]
CHAT = {"model": MODEL_NAME, "messages": MESSAGES, "max_tokens": 24, "temperature": 0}
COMPLETION = {"model": MODEL_NAME, "prompt": "Once", "max_tokens": 24, "temperature": 0}
RESPONSE = {"model": MODEL_NAME, "input": "Hello", "max_output_tokens": 24, "temperature": 0}
SCHEMA = {
    "type": "object",
    "properties": {"unit": {"enum": ["celsius", "kelvin"]}, "sure": {"type": "boolean"}},
    "required": ["unit", "sure"],
    "additionalProperties": False,
}
# Noise would put any number of blanks where JSON allows them: space, tab, LF and CR.
NO_BLANKS = {"logit_bias": {"225": -100, "202": -100, "203": -100, "206": -100}}
JSON_SCHEMA = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}
# With `strict` the arguments follow the schema, so even noise becomes a call of this tool.
TOOL = {"name": "weather", "strict": True, "parameters": SCHEMA}
TOOLS = {
    "tools": [{"type": "function", "function": TOOL}],
    "tool_choice": "required",
    "parallel_tool_calls": False,
    "max_tokens": 200,
    **NO_BLANKS,
}
SHAPED = {"response_format": JSON_SCHEMA, "max_tokens": 200, **NO_BLANKS}
USAGE = {"stream": True, "stream_options": {"include_usage": True}}

CALLS = [
    pytest.param("chat.completions", CHAT, id="chat"),
    pytest.param("chat.completions", CHAT | {"temperature": 1, "seed": 7}, id="chat-seed"),
    pytest.param("chat.completions", CHAT | {"n": 2, "temperature": 1, "seed": 7}, id="chat-n2"),
    pytest.param("chat.completions", CHAT | {"logprobs": True, "top_logprobs": 3}, id="logprobs"),
    pytest.param("chat.completions", CHAT | {"stop": ["i"]}, id="chat-stop"),
    pytest.param("chat.completions", CHAT | TOOLS, id="chat-tools"),
    pytest.param("chat.completions", CHAT | SHAPED, id="chat-json-schema"),
    pytest.param(
        "chat.completions", CHAT | {"response_format": {"type": "json_object"}}, id="chat-json"
    ),
    pytest.param("completions", COMPLETION, id="completion"),
    pytest.param("completions", COMPLETION | {"logprobs": 2, "echo": True}, id="completion-echo"),
    pytest.param("completions", COMPLETION | {"prompt": ["One", "Two"]}, id="completion-batch"),
    pytest.param("responses", RESPONSE, id="responses"),
]

STREAMS = [
    pytest.param("chat.completions", CHAT, id="chat"),
    pytest.param("chat.completions", CHAT | USAGE, id="chat-usage"),
    pytest.param("chat.completions", CHAT | {"n": 2, "temperature": 1, "seed": 7}, id="chat-n2"),
    pytest.param("chat.completions", CHAT | TOOLS, id="chat-tools"),
    pytest.param("chat.completions", CHAT | {"logprobs": True, "top_logprobs": 3}, id="logprobs"),
    pytest.param("completions", COMPLETION, id="completion"),
    pytest.param("completions", COMPLETION | USAGE, id="completion-usage"),
    pytest.param("responses", RESPONSE, id="responses"),
]


def method_of(client: openai.OpenAI, name: str) -> Callable[..., Any]:
    for part in name.split("."):
        client = getattr(client, part)
    return client.create


def stable(value: Any) -> Any:
    """Return the document without ids and times."""
    if isinstance(value, dict):
        return {k: "*" if k in TIMES else stable(v) for k, v in value.items()}
    if isinstance(value, list):
        return [stable(item) for item in value]
    return DRAWN.sub("*", value) if isinstance(value, str) else value


def folded(events: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a stream as one document: texts joined, every other value in a list.

    How many tokens share an event depends on how far the engine is ahead of its HTTP side, so
    two streams of the same response may be split differently; only their sum is the same.
    """
    result: dict[str, Any] = {}
    for event in events:
        _fold(stable(event), "", result)
    return result


PIECES = ("delta.content", "function.arguments", "text", "delta")


def _fold(value: Any, path: str, result: dict[str, Any]) -> None:
    if isinstance(value, dict):
        # Interleaved parts of a response are distinguished by their index.
        path = f"{path}[{value['index']}]" if "index" in value else path
        for key, item in value.items():
            _fold(item, f"{path}.{key}", result)
    elif isinstance(value, list) and not path.endswith("logprobs.content"):
        for item in value:
            _fold(item, path, result)
    elif isinstance(value, list):
        result.setdefault(path, []).extend(value)
    elif path.endswith(PIECES) and isinstance(value, str | None):
        result[path] = result.get(path, "") + (value or "")
    elif value not in result.setdefault(path, []) and "sequence_number" not in path:
        result[path].append(value)


@pytest.mark.parametrize(("name", "arguments"), CALLS)
def test_answer_is_the_same(direct, through, name, arguments):
    expected = method_of(direct, name)(**arguments)
    assert stable(method_of(through, name)(**arguments).to_dict()) == stable(expected.to_dict())


@pytest.mark.parametrize(("name", "arguments"), STREAMS)
def test_stream_is_the_same(direct, through, name, arguments):
    arguments = {**arguments, "stream": True}
    expected = [event.to_dict() for event in method_of(direct, name)(**arguments)]
    seen = [event.to_dict() for event in method_of(through, name)(**arguments)]
    assert len(seen) > 2
    assert folded(seen) == folded(expected)


def test_tools_and_json_are_what_was_asked_for(through):
    """Ensures that the two comparisons above do not compare equal errors."""
    called = through.chat.completions.create(**CHAT | TOOLS).choices[0]
    assert called.finish_reason == "tool_calls"
    assert called.message.tool_calls[0].function.name == "weather"
    assert json.loads(called.message.tool_calls[0].function.arguments).keys() == {"unit", "sure"}
    shaped = through.chat.completions.create(**CHAT | SHAPED).choices[0]
    assert json.loads(shaped.message.content).keys() == {"unit", "sure"}


ERRORS = [
    pytest.param("chat.completions", CHAT | {"model": "absent"}, 404, id="unknown-model"),
    pytest.param("chat.completions", CHAT | {"max_tokens": 99999}, 400, id="too-many-tokens"),
    pytest.param("chat.completions", CHAT | {"messages": "no list"}, 400, id="wrong-type"),
    pytest.param("chat.completions", CHAT | {"temperature": -1}, 400, id="wrong-value"),
    pytest.param("chat.completions", CHAT | {"model": "absent", "stream": True}, 404, id="stream"),
    pytest.param("completions", COMPLETION | {"prompt": "x" * 9000}, 400, id="prompt-too-long"),
    pytest.param("embeddings", {"model": MODEL_NAME, "input": "x"}, 404, id="no-embeddings"),
]


@pytest.mark.parametrize(("name", "arguments", "status"), ERRORS)
def test_error_is_the_same(direct, through, name, arguments, status):
    caught = []
    for client in (direct, through):
        with pytest.raises(openai.APIStatusError) as info:
            method_of(client, name)(**arguments)
        caught.append(info.value)
    expected, seen = caught
    assert seen.status_code == expected.status_code == status
    assert type(seen) is type(expected)
    assert seen.response.content == expected.response.content
    assert str(seen) == str(expected)


def test_models_are_listed(through):
    assert [model.id for model in through.models.list()] == [MODEL_NAME]


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_64_streams_at_once(spawn_router, servers: list[VllmServer], measured, workers):
    """All succeed, and both servers are used; 16 slots each, so that half of them wait."""
    urls = [word for server in servers for word in ("--server", server.url)]
    router: RouterProcess = spawn_router(*urls, "--max-load", "16", "--workers", workers)
    before = [server.finished() for server in servers]
    client = openai.AsyncOpenAI(
        base_url=f"{router.url}/v1", api_key="none", max_retries=0, timeout=120
    )

    async def stream(number: int) -> tuple[str, str | None]:
        text, reason = "", None
        arguments = {**CHAT, "temperature": 1, "seed": number, "stream": True}
        async for chunk in await client.chat.completions.create(**arguments):
            text += chunk.choices[0].delta.content or ""
            reason = chunk.choices[0].finish_reason or reason
        return text, reason

    async with client:
        results = await asyncio.gather(*(stream(number) for number in range(64)))
    # One token is one character in this model.
    assert [(len(text), reason) for text, reason in results] == [(24, "length")] * 64
    shares = [server.finished() - was for server, was in zip(servers, before, strict=True)]
    measured(f"64 streams were shared {shares[0]} : {shares[1]}")
    assert sum(shares) == 64
    assert min(shares) >= 24
