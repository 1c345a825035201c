"""A raw HTTP/1.1 client that records every byte and its arrival."""

import json
import re
import socket
import struct
import time
from dataclasses import dataclass, field
from typing import Any

TIMEOUT = 60.0
# Differences between two responses to the same request: random ids, and the time.
VOLATILE = re.compile(
    rb'"created(?:_at)?":\d+(?:\.\d+)?|"completed_at":\d+(?:\.\d+)?|'
    rb'"(?:[a-z]+_)?id":"(?:chatcmpl|cmpl|resp|msg|modelperm|modelcmpl|rs|call|fc)[-_][^"]*"'
)


class BrokenReply(Exception):
    """The connection ended before the response; `raw` contains the received bytes."""

    def __init__(self, raw: bytes) -> None:
        super().__init__(f"ended after {len(raw)} bytes: {raw[-80:]!r}")
        self.raw = raw


@dataclass(slots=True)
class WireReply:
    """One response as received."""

    head: bytes
    body: bytearray = field(default_factory=bytearray)
    # With chunked coding: each chunk's data, and the arrival of its last byte.
    chunks: list[bytes] = field(default_factory=list)
    chunk_times: list[float] = field(default_factory=list)

    @property
    def status(self) -> int:
        return int(self.head.split(b" ", 2)[1])

    @property
    def status_line(self) -> bytes:
        return self.head.split(b"\r\n", 1)[0]

    @property
    def fields(self) -> list[tuple[bytes, bytes]]:
        """Return names and values, in order, with the original spelling."""
        lines = self.head.split(b"\r\n")[1:-2]
        return [
            (name, value.strip()) for name, _, value in (line.partition(b":") for line in lines)
        ]

    def value(self, name: bytes) -> bytes | None:
        """Return the value of the first header with this name (lower case)."""
        return next((v for n, v in self.fields if n.lower() == name), None)

    @property
    def content(self) -> bytes:
        """Return the body without its framing."""
        return b"".join(self.chunks) if self.chunks else bytes(self.body)

    def stable(self) -> tuple[bytes, list[tuple[bytes, bytes]], list[bytes]]:
        """Return status line, headers and body without the parts that always differ."""
        fields = [(n, b"*" if n.lower() == b"date" else v) for n, v in self.fields]
        parts = self.chunks or [bytes(self.body)]
        return self.status_line, fields, [VOLATILE.sub(b"*", part) for part in parts]


class WireConnection:
    """A blocking connection; use as a context manager."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), TIMEOUT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""

    def __enter__(self) -> "WireConnection":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def close(self) -> None:
        """Close like a client that disconnects (FIN)."""
        self.socket.close()

    def reset(self) -> None:
        """Close like a client that crashed (RST)."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def read_reply(self, *, until_chunks: int | None = None, has_body: bool = True) -> WireReply:
        """Read one response, or its headers and a number of chunks.

        Raises:
            BrokenReply: The connection ended, or was reset, before that.
        """
        reply = WireReply(self._take_through(b"\r\n\r\n", b""))
        if not has_body or reply.status < 200 or reply.status in (204, 304):
            return reply
        if (reply.value(b"transfer-encoding") or b"").lower() == b"chunked":
            self.read_chunks(reply, until_chunks)
        elif (length := reply.value(b"content-length")) is not None:
            reply.body += self._take(int(length), reply.head)
        else:
            reply.body += self._read_to_end()
        return reply

    def read_chunks(self, reply: WireReply, until_chunks: int | None = None) -> None:
        """Continue reading a response whose headers, and perhaps some chunks, were read.

        Raises:
            BrokenReply: The connection ended, or was reset, before the last chunk.
        """
        while until_chunks is None or len(reply.chunks) < until_chunks:
            size_line = self._take_through(b"\r\n", reply.head + reply.body)
            size = int(size_line.split(b";")[0], 16)
            data = self._take(size + 2, reply.head + reply.body + size_line)
            reply.body += size_line + data
            if size == 0:
                assert data == b"\r\n", "trailers are not expected here"
                return
            reply.chunks.append(data[:-2])
            reply.chunk_times.append(time.monotonic())

    def _take_through(self, end: bytes, before: bytes) -> bytes:
        while end not in self._buffer:
            self._fill(before)
        taken, _, self._buffer = self._buffer.partition(end)
        return taken + end

    def _take(self, count: int, before: bytes) -> bytes:
        while len(self._buffer) < count:
            self._fill(before)
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    def _read_to_end(self) -> bytes:
        while data := self.socket.recv(65536):
            self._buffer += data
        taken, self._buffer = self._buffer, b""
        return taken

    def _fill(self, before: bytes) -> None:
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            raise BrokenReply(before + self._buffer)
        self._buffer += data


def request_bytes(
    method: str, path: str, body: bytes | None = None, fields: tuple[str, ...] = ()
) -> bytes:
    """Return a request in the form of an ordinary client."""
    lines = [f"{method} {path} HTTP/1.1", "Host: model.example", "Accept: */*", *fields]
    if body is not None:
        if not any(line.lower().startswith("content-type:") for line in fields):
            lines.append("Content-Type: application/json")
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


def post(path: str, payload: dict[str, Any], *fields: str) -> bytes:
    """Return a POST request with a JSON object."""
    return request_bytes("POST", path, json.dumps(payload).encode(), fields)


def completion(tokens: int, *, stream: bool = True, prompt: str = "Once upon a time") -> bytes:
    """Return a POST to /v1/completions that runs for exactly this number of tokens."""
    payload = {"model": "tiny", "prompt": prompt, "max_tokens": tokens, "temperature": 0}
    return post("/v1/completions", {**payload, "stream": stream})


def stream_text(chunks: list[bytes]) -> str:
    """Return the text of a /v1/completions stream."""
    events = [chunk.removeprefix(b"data: ").strip() for chunk in chunks]
    documents = [json.loads(event) for event in events if event != b"[DONE]"]
    return "".join(c["text"] for document in documents for c in document["choices"])


def exchange(port: int, request: bytes, *, has_body: bool = True) -> WireReply:
    """Send one request on a separate connection and return its response."""
    with WireConnection(port) as connection:
        connection.send(request)
        return connection.read_reply(has_body=has_body)
