"""Parsing of complete HTTP/1.1 responses, to check what a proxy forwarded."""

from typing import NamedTuple

from benchmarks.comparison import traffic


class Reply(NamedTuple):
    status: int
    body: bytes
    end: int
    """End of the response in the bytes."""


def read_reply(data: bytes) -> Reply | None:
    """Return the response at the start of `data`, None while more bytes are needed.

    Raises:
        ValueError: The bytes are not a response with a length or with chunked coding.
    """
    head_end = data.find(traffic.HEAD_END)
    if head_end < 0:
        return None
    head = data[: head_end + 2]
    if not head.startswith(b"HTTP/1.1 "):
        raise ValueError("not an HTTP/1.1 reply")
    status = int(head[9:12])
    length = traffic.content_length(head)
    if length is None:
        if b"\r\ntransfer-encoding: chunked\r\n" not in head.lower():
            raise ValueError("a reply without Content-Length or chunked coding")
        return _read_chunked(data, status, head_end + 4)
    end = head_end + 4 + length
    if len(data) < end:
        return None
    return Reply(status, data[head_end + 4 : end], end)


def _read_chunked(data: bytes, status: int, position: int) -> Reply | None:
    parts = []
    while (chunk := _chunk_at(data, position)) is not None:
        part, position = chunk
        if not part:
            return Reply(status, b"".join(parts), position)
        parts.append(part)
    return None


def read_beginning(data: bytes) -> Reply | None:
    """Return the received part of an unfinished chunked response; None before its headers end.

    Only complete chunks count; `end` is the start of the first incomplete one.

    Raises:
        ValueError: The bytes are not a chunked response.
    """
    head_end = data.find(traffic.HEAD_END)
    if head_end < 0:
        return None
    head = data[: head_end + 2]
    if not head.startswith(b"HTTP/1.1 "):
        raise ValueError("not an HTTP/1.1 reply")
    status = int(head[9:12])
    if b"\r\ntransfer-encoding: chunked\r\n" not in head.lower():
        return Reply(status, data[head_end + 4 :], len(data))
    parts = []
    position = head_end + 4
    while (chunk := _chunk_at(data, position)) is not None and chunk[0]:
        parts.append(chunk[0])
        position = chunk[1]
    return Reply(status, b"".join(parts), position)


def _chunk_at(data: bytes, position: int) -> tuple[bytes, int] | None:
    """Return the chunk at `start` and the start of the next one; None if it is incomplete."""
    line_end = data.find(b"\r\n", position)
    if line_end < 0:
        return None
    start = line_end + 2
    end = start + int(data[position:line_end], 16)
    if len(data) < end + 2:
        return None
    if data[end : end + 2] != b"\r\n":
        raise ValueError("a chunk that does not end where it says")
    return data[start:end], end + 2


def why_wrong(reply: Reply, expected_body: bytes) -> str | None:
    """Return the error of a response in a few words, None if it is correct."""
    if reply.status != 200:
        return f"status {reply.status}: {reply.body[:80].decode(errors='replace')}"
    if len(reply.body) != len(expected_body):
        return f"{len(reply.body)} body bytes instead of {len(expected_body)}"
    if reply.body != expected_body:
        return "a body of the right length but with other bytes"
    return None
