"""Reading a whole HTTP/1.1 reply out of bytes, to check what a proxy made of the stand-in's."""

from typing import NamedTuple

from benchmarks.comparison import traffic


class Reply(NamedTuple):
    status: int
    body: bytes
    end: int
    """Where the reply ends in the bytes it was read from."""


def read_reply(data: bytes) -> Reply | None:
    """Return the reply that `data` begins with, None while more bytes are needed.

    Raises:
        ValueError: when the bytes are no reply with a length or with chunked coding.
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
    """Return what has come of a chunked reply that goes on; None before its head is whole.

    Only whole chunks count; `end` is where the first one that is not whole begins.

    Raises:
        ValueError: when the bytes are no chunked reply.
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
    """Return the chunk that begins there and where the next one does; None if it is not whole."""
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
    """Return what is wrong with an answer in a few words, None when it is right."""
    if reply.status != 200:
        return f"status {reply.status}: {reply.body[:80].decode(errors='replace')}"
    if len(reply.body) != len(expected_body):
        return f"{len(reply.body)} body bytes instead of {len(expected_body)}"
    if reply.body != expected_body:
        return "a body of the right length but with other bytes"
    return None
