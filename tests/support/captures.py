"""Captured responses of real vLLM servers, split into single ones, and the expected output."""

from pathlib import Path
from typing import NamedTuple

DIRECTORY = Path(__file__).parent.parent / "captures"
HOP_BY_HOP = {b"connection", b"keep-alive", b"proxy-connection", b"te", b"upgrade"}


class Capture(NamedTuple):
    """One captured exchange.

    Attributes:
        name: Name of the files.
        request: All bytes that the client sent; empty if not captured.
        replies: The responses in order, each with the informational ones before it.
        methods: Methods of their requests.
    """

    name: str
    request: bytes
    replies: list[bytes]
    methods: list[bytes]


def load_captures() -> list[Capture]:
    """Read all captures."""
    captures = []
    for path in sorted(DIRECTORY.glob("*.res")):
        request = path.with_suffix(".req")
        sent = request.read_bytes() if request.exists() else b""
        method = b"HEAD" if sent.startswith(b"HEAD ") else b"POST"
        replies = _cut(path.read_bytes(), method)
        captures.append(Capture(path.stem, sent, replies, [method] * len(replies)))
    return captures


def expected(reply: bytes) -> bytes:
    """Return what an HTTP/1.1 client must get: no hop-by-hop headers, buffering disabled."""
    head, end, body = reply.partition(b"\r\n\r\n")
    status_line, *lines = head.split(b"\r\n")
    if status_line.split(b" ")[1].startswith(b"1"):
        return reply[: len(head) + 4] + expected(body)
    kept = [line for line in lines if line.partition(b":")[0].lower() not in HOP_BY_HOP]
    if any(line.startswith(b"content-type: text/event-stream") for line in lines):
        kept.append(b"x-accel-buffering: no")
    return b"\r\n".join((status_line, *kept)) + end + body


def _cut(raw: bytes, method: bytes) -> list[bytes]:
    """Split the bytes of a connection into responses; the last may be truncated or empty."""
    replies = []
    while True:
        end = _end(raw, 0, method)
        replies.append(raw[:end])
        raw = raw[end:]
        if not raw:
            return replies


def _end(raw: bytes, start: int, method: bytes) -> int:
    """Return the end of the response that starts at `start`."""
    head, blank, _ = raw[start:].partition(b"\r\n\r\n")
    end = start + len(head) + len(blank)
    if not blank or method == b"HEAD":
        return end
    status = int(head.split(b" ")[1])
    if status < 200:
        return _end(raw, end, method)
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    if fields.get(b"transfer-encoding") != b"chunked":
        return end + int(fields[b"content-length"])
    while True:
        line_end = raw.find(b"\r\n", end)
        if line_end < 0:
            return len(raw)
        size = int(raw[end:line_end], 16)
        end = line_end + 2 + size + 2
        if size == 0 or end > len(raw):
            return min(end, len(raw))
