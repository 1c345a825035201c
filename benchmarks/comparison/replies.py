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
    while True:
        line_end = data.find(b"\r\n", position)
        if line_end < 0:
            return None
        size = int(data[position:line_end], 16)
        start = line_end + 2
        position = start + size + 2
        if len(data) < position:
            return None
        if data[position - 2 : position] != b"\r\n":
            raise ValueError("a chunk that does not end where it says")
        if size == 0:
            return Reply(status, b"".join(parts), position)
        parts.append(data[start : start + size])


def why_wrong(reply: Reply, expected_body: bytes) -> str | None:
    """Return what is wrong with an answer in a few words, None when it is right."""
    if reply.status != 200:
        return f"status {reply.status}: {reply.body[:80].decode(errors='replace')}"
    if len(reply.body) != len(expected_body):
        return f"{len(reply.body)} body bytes instead of {len(expected_body)}"
    if reply.body != expected_body:
        return "a body of the right length but with other bytes"
    return None
