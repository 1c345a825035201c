"""Requests and expected responses of the comparison, shared by both ends."""

import re
import time
import zlib

import orjson

MODEL = "bench"
CHAT_PATH = "/v1/chat/completions"
REPLY_BYTES = 800
EVENT_BYTES = 200
HEAD_END = b"\r\n\r\n"
EVENT_START = b"data: "
LAST_CHUNK = b"0\r\n\r\n"
# Position of the sending time in a stamped event, in microseconds of the monotonic clock.
NO_STAMP = b"@00000000000000@"
STAMP = re.compile(rb"@(\d{14})@")

_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)[ \t]*\r\n", re.IGNORECASE)


def content_length(head: bytes) -> int | None:
    """Return the Content-Length in the headers, in bytes; None if there is none.

    `head` must include its last line's CRLF.
    """
    match = _CONTENT_LENGTH.search(head)
    return int(match[1]) if match else None


def chat_request(size: int, *, events: int = 0) -> bytes:
    """Return a chat request body of exactly `size` bytes.

    It requests one JSON response if `events` is 0, otherwise a stream of that length. The `user`
    field contains a checksum of the prompt, with which a stand-in server verifies it.

    Raises:
        ValueError: `size` is too small for the fields around the prompt.
    """
    filler = size - len(_request_json("", events))
    if filler < 0:
        raise ValueError(f"a request body needs at least {size - filler} bytes, not {size}")
    words = "the quick brown fox jumps over the lazy dog "
    return _request_json((words * (filler // len(words) + 1))[:filler], events)


def _request_json(prompt: str, events: int) -> bytes:
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": max(events, 1),
        "temperature": 0.7,
        "stream": events > 0,
        "user": prompt_checksum(prompt),
    }
    return orjson.dumps(body)


def prompt_checksum(prompt: str) -> str:
    return f"crc32-{zlib.crc32(prompt.encode()):08x}"


def request_head(authority: str, body: bytes) -> bytes:
    """Return the headers of a chat request, similar to those of the official openai client."""
    return (
        f"POST {CHAT_PATH} HTTP/1.1\r\n"
        f"Host: {authority}\r\n"
        "Accept-Encoding: gzip, deflate\r\n"
        "Connection: keep-alive\r\n"
        "Accept: application/json\r\n"
        "Content-Type: application/json\r\n"
        "User-Agent: OpenAI/Python 2.8.1\r\n"
        "Authorization: Bearer sk-benchmark-0123456789abcdef\r\n"
        f"Content-Length: {len(body)}\r\n"
        "\r\n"
    ).encode()


def chat_reply() -> bytes:
    """Return the JSON response body, REPLY_BYTES long."""
    return _padded(_reply_json, REPLY_BYTES)


def _reply_json(content: str) -> bytes:
    return orjson.dumps(
        {
            "id": "chatcmpl-9ca98533b4a6b926",
            "object": "chat.completion",
            "created": 1795426989,
            "model": MODEL,
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": content, "refusal": None},
                    "logprobs": None,
                    "finish_reason": "length",
                    "stop_reason": None,
                }
            ],
            "usage": {"prompt_tokens": 230, "total_tokens": 330, "completion_tokens": 100},
        }
    )


def sse_event(index: int, *, stamped: bool = False) -> bytes:
    """Return event number `index` of a stream, EVENT_BYTES long; all events differ.

    A stamped one has NO_STAMP in its id, which `stamp` replaces.
    """
    identity = NO_STAMP.decode() if stamped else "96aceebf980cbf8e"
    return _padded(lambda content: _event_json(index, content, identity), EVENT_BYTES)


def now_us() -> int:
    """Return the time for stamping an event; all processes share the clock."""
    return time.monotonic_ns() // 1000


def stamp(event: bytes, sent_us: int) -> bytes:
    """Write the sending time into a stamped event, without changing its length."""
    return event.replace(NO_STAMP, b"@%014d@" % sent_us, 1)


def stamps(data: bytes) -> list[int]:
    """Return the sending times, in microseconds, of the events in a piece of a stream."""
    return [int(digits) for digits in STAMP.findall(data)]


def unstamped(data: bytes) -> bytes:
    """Return a body without the stamps of its events."""
    return STAMP.sub(NO_STAMP, data)


def _event_json(index: int, content: str, identity: str) -> bytes:
    event = {
        "id": f"chatcmpl-{identity}",
        "object": "chat.completion.chunk",
        "created": 1795426990,
        "model": MODEL,
        "choices": [
            {"index": 0, "delta": {"content": f" {index}{content}"}, "finish_reason": None}
        ],
    }
    return b"data: " + orjson.dumps(event) + b"\n\n"


def _padded(render, size: int) -> bytes:
    filler = size - len(render(""))
    assert filler >= 0, f"the fields alone are longer than {size} bytes"
    return render("x" * filler)


def sse_end() -> bytes:
    return b"data: [DONE]\n\n"


def sse_body(events: int, *, stamped: bool = False) -> bytes:
    """Return the whole body of a stream, without any chunk framing."""
    return b"".join(sse_event(index, stamped=stamped) for index in range(events)) + sse_end()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)
