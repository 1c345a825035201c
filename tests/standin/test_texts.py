"""Events and bodies have the fields of vLLM 0.32, in its order."""

import json

import pytest

from fastroute.standin.texts import (
    DONE,
    ChatTexts,
    CompletionTexts,
    GenerationBody,
    Usage,
    text_of,
)


def data_of(chunk: bytes) -> dict:
    size, _, rest = chunk.partition(b"\r\n")
    assert int(size, 16) == len(rest) - 2, "the chunk has exactly one event"
    assert rest.startswith(b"data: ")
    assert rest.endswith(b"\n\n\r\n")
    return json.loads(rest[6:])


OPEN = ["id", "object", "created", "model", "choices"]


@pytest.mark.parametrize(
    ("texts_class", "object_", "id_start"),
    [
        pytest.param(ChatTexts, "chat.completion.chunk", "chatcmpl-", id="chat"),
        pytest.param(CompletionTexts, "text_completion", "cmpl-", id="completion"),
    ],
)
def test_start_of_a_token_event(texts_class, object_, id_start):
    data = data_of(texts_class("tiny", None, with_usage=False).token_event(1, 0, None))
    assert list(data) == OPEN
    assert data["object"] == object_
    assert data["model"] == "tiny"
    assert data["id"].startswith(id_start)
    assert len(data["id"]) == len(id_start) + 16
    assert data["choices"][0]["index"] == 1
    assert data["choices"][0]["finish_reason"] is None


def test_chat_events():
    texts = ChatTexts("tiny", "my-id", with_usage=False)
    role = data_of(texts.first_event(0))
    assert role["id"] == "chatcmpl-my-id"
    assert list(role) == [*OPEN, "prompt_token_ids", "prompt_text"]
    assert role["choices"] == [
        {
            "index": 0,
            "delta": {"role": "assistant", "content": ""},
            "logprobs": None,
            "finish_reason": None,
        }
    ]
    [choice] = data_of(texts.token_event(0, 0, None))["choices"]
    assert list(choice) == ["index", "delta", "logprobs", "finish_reason", "token_ids"]
    last = data_of(texts.token_event(0, 1, "length"))
    assert list(last) == [*OPEN, "system_fingerprint"]
    [choice] = last["choices"]
    assert list(choice) == [
        "index",
        "delta",
        "logprobs",
        "finish_reason",
        "stop_reason",
        "token_ids",
    ]
    assert choice["finish_reason"] == "length"


def test_completion_events():
    texts = CompletionTexts("tiny", None, with_usage=False)
    members = ["index", "text", "logprobs", "finish_reason", "stop_reason"]
    members += ["prompt_token_ids", "token_ids"]
    assert texts.first_event(0) == b""
    for reason in (None, "length"):
        [choice] = data_of(texts.token_event(0, 0, reason))["choices"]
        assert list(choice) == members


def test_usage_event_takes_the_fingerprint():
    texts = ChatTexts("tiny", None, with_usage=True)
    assert list(data_of(texts.token_event(0, 0, "length"))) == OPEN
    end = texts.end(Usage(23, 8))
    assert end.endswith(DONE)
    last = data_of(end.removesuffix(DONE))
    assert list(last) == [*OPEN, "usage", "system_fingerprint"]
    assert last["choices"] == []
    assert last["usage"] == {"prompt_tokens": 23, "total_tokens": 31, "completion_tokens": 8}


def test_events_make_the_whole_text():
    texts = ChatTexts("tiny", None, with_usage=False)
    streamed = "".join(
        data_of(texts.token_event(2, at, None))["choices"][0]["delta"]["content"]
        for at in range(40)
    )
    whole = json.loads(texts.whole([("x", "length"), (text_of(2, 40), "length")], Usage(1, 40)))
    assert whole["choices"][1]["message"]["content"] == streamed
    assert not streamed.isascii(), "bytes beyond ASCII are worth proxying"


@pytest.mark.parametrize(
    ("body", "prompts"),
    [
        pytest.param({"prompt": "a"}, ["a"], id="one-text"),
        pytest.param({"prompt": ["a", "b"]}, ["a", "b"], id="texts"),
        pytest.param({"prompt": [7, 8]}, [[7, 8]], id="token-ids"),
        pytest.param({"prompt": [[7], [8, 9]]}, [[7], [8, 9]], id="lists-of-token-ids"),
        pytest.param({"messages": [{"content": "a"}, {"content": "b"}]}, ["a b"], id="chat"),
    ],
)
def test_prompts(body, prompts):
    assert GenerationBody(**body).prompts() == prompts
