"""vLLM's JSON: events and bodies of chat and plain completions, with made-up text."""

import random
import time
from typing import Annotated, ClassVar

import msgspec
import orjson

from fastroute.standin.message import chunk

FINGERPRINT = b"vllm-0.32.0-standin"
DONE = chunk(b"data: [DONE]\n\n")
# A few are not ASCII, because a proxy must forward any bytes.
STORY = (
    "the river carries small boats past naïve towns 東京 and quiet fields while a lamp burns 🙂"
    " over open books until the cold morning comes with rain"
)
WORDS = tuple(f" {word}" for word in STORY.split())
JSON_WORDS = tuple(orjson.dumps(word) for word in WORDS)
Prompt = str | list[int]
Count = Annotated[int, msgspec.Meta(ge=1)]


class StreamOptions(msgspec.Struct, gc=False):
    include_usage: bool = False


class Override(msgspec.Struct, gc=False):
    """The field `standin` of a request body: settings for this request only.

    Attributes:
        ttft: Seconds to the first token.
        token_interval: Seconds between tokens.
        drop_after: Number of tokens after which to close the connection, like a killed server.
    """

    ttft: float | None = None
    token_interval: float | None = None
    drop_after: int | None = None


class GenerationBody(msgspec.Struct):
    """The fields of a chat or completions body that the stand-in reads."""

    model: str | None = None
    messages: list[dict[str, object]] | None = None
    prompt: str | list[str | int | list[int]] | None = None
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    n: Count | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    standin: Override = msgspec.field(default_factory=Override)

    @property
    def length(self) -> int:
        """Number of tokens to generate; 16 by default (vLLM's default for completions)."""
        return self.max_completion_tokens or self.max_tokens or 16

    def prompts(self) -> list[Prompt]:
        """Separate prompts; a chat is one, and so is a single list of token ids."""
        if self.messages is not None:
            return [" ".join([str(message.get("content")) for message in self.messages])]
        if not isinstance(self.prompt, list):
            return [self.prompt or ""]
        several: list[Prompt] = [one for one in self.prompt if not isinstance(one, int)]
        return several or [[one for one in self.prompt if isinstance(one, int)]]


class Usage(msgspec.Struct, gc=False):
    """Token counts of one request."""

    prompt_tokens: int
    completion_tokens: int

    def as_dict(self) -> dict[str, int]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "completion_tokens": self.completion_tokens,
        }


def count_tokens(prompt: Prompt) -> int:
    """Return an approximate token count: real tokenizers need about one token for four letters."""
    return len(prompt) if isinstance(prompt, list) else len(prompt) // 4 + 1


def text_of(index: int, length: int) -> str:
    """Return the first `length` tokens of choice number `index`."""
    return "".join([WORDS[(index + position) % len(WORDS)] for position in range(length)])


class Texts:
    """Renders one request's events and bodies; subclasses define the place of the text."""

    __slots__ = ("_created", "_id", "_model", "_open", "_with_usage")

    id_prefix: ClassVar[str]
    whole_object: ClassVar[str]
    event_object: ClassVar[str]
    before_text: ClassVar[bytes]
    after_text: ClassVar[bytes]
    choice_end: ClassVar[bytes]
    reason_end: ClassVar[bytes]

    def __init__(self, model: str, request_id: str | None, *, with_usage: bool) -> None:
        """Store the common values of all events of a response.

        Args:
            model: The requested model name.
            request_id: X-Request-Id of the request; part of the response's id, as in vLLM.
            with_usage: True to report the usage in a last event.
        """
        self._id = f"{self.id_prefix}-{request_id or f'{random.getrandbits(64):016x}'}"
        self._created = int(time.time())
        self._model = model
        self._with_usage = with_usage
        base = {
            "id": self._id,
            "object": self.event_object,
            "created": self._created,
            "model": model,
        }
        self._open = b"data: " + orjson.dumps(base)[:-1] + b',"choices":['

    def first_event(self, index: int) -> bytes:
        """Return the chunk before the first token; only chat has one."""
        return b""

    def token_event(self, index: int, position: int, finish_reason: str | None) -> bytes:
        """Return the chunk with one token.

        Args:
            index: Index of the choice.
            position: Index of the token; -1 for an end without a token.
            finish_reason: Set on the last token.
        """
        word = JSON_WORDS[(index + position) % len(WORDS)] if position >= 0 else b'""'
        start = b'%b{"index":%d,%b%b%b' % (
            self._open,
            index,
            self.before_text,
            word,
            self.after_text,
        )
        if finish_reason is None:
            return chunk(b"%bnull%b]}\n\n" % (start, self.choice_end))
        # If a usage event follows, that one contains the fingerprint.
        last = b"]}" if self._with_usage else b'],"system_fingerprint":"%b"}' % FINGERPRINT
        return chunk(b'%b"%b"%b%b\n\n' % (start, finish_reason.encode(), self.reason_end, last))

    def end(self, usage: Usage) -> bytes:
        """Return the chunks after the last token."""
        if not self._with_usage:
            return DONE
        last = {"usage": usage.as_dict(), "system_fingerprint": FINGERPRINT.decode()}
        return chunk(self._open + b"]," + orjson.dumps(last)[1:] + b"\n\n") + DONE

    def whole(self, choices: list[tuple[str, str]], usage: Usage) -> bytes:
        """Return the body of a response that is not streamed.

        Args:
            choices: Text and finish reason of each choice.
            usage: The request's token counts.
        """
        return orjson.dumps(
            {
                "id": self._id,
                "object": self.whole_object,
                "created": self._created,
                "model": self._model,
                "choices": [
                    self._choice(index, text, reason)
                    for index, (text, reason) in enumerate(choices)
                ],
                "service_tier": None,
                "system_fingerprint": FINGERPRINT.decode(),
                "usage": {
                    **usage.as_dict(),
                    "prompt_tokens_details": None,
                    "completion_tokens_details": None,
                },
                **self._tail(),
            }
        )

    def _choice(self, index: int, text: str, finish_reason: str) -> dict[str, object]:
        raise NotImplementedError

    def _tail(self) -> dict[str, None]:
        return {"kv_transfer_params": None, "ec_transfer_params": None, "metrics": None}


class ChatTexts(Texts):
    __slots__ = ()

    id_prefix = "chatcmpl"
    whole_object = "chat.completion"
    event_object = "chat.completion.chunk"
    before_text = b'"delta":{"content":'
    after_text = b'},"logprobs":null,"finish_reason":'
    choice_end = b',"token_ids":null}'
    reason_end = b',"stop_reason":null,"token_ids":null}'

    def first_event(self, index: int) -> bytes:
        return chunk(
            b'%b{"index":%d,"delta":{"role":"assistant","content":""},"logprobs":null,'
            b'"finish_reason":null}],"prompt_token_ids":null,"prompt_text":null}\n\n'
            % (self._open, index)
        )

    def _choice(self, index: int, text: str, finish_reason: str) -> dict[str, object]:
        return {
            "index": index,
            "message": {
                "role": "assistant",
                "content": text,
                "refusal": None,
                "annotations": None,
                "audio": None,
                "function_call": None,
                "reasoning": None,
            },
            "logprobs": None,
            "finish_reason": finish_reason,
            "stop_reason": None,
            "token_ids": None,
            "routed_experts": None,
        }

    def _tail(self) -> dict[str, None]:
        prompt = {"prompt_logprobs": None, "prompt_token_ids": None, "prompt_text": None}
        return {**prompt, **super()._tail()}


class CompletionTexts(Texts):
    __slots__ = ()

    id_prefix = "cmpl"
    whole_object = "text_completion"
    event_object = "text_completion"
    before_text = b'"text":'
    after_text = b',"logprobs":null,"finish_reason":'
    choice_end = b',"stop_reason":null,"prompt_token_ids":null,"token_ids":null}'
    reason_end = choice_end

    def _choice(self, index: int, text: str, finish_reason: str) -> dict[str, object]:
        return {
            "index": index,
            "text": text,
            "logprobs": None,
            "finish_reason": finish_reason,
            "stop_reason": None,
            "token_ids": None,
            "prompt_logprobs": None,
            "prompt_token_ids": None,
            "routed_experts": None,
        }
