"""A client that talks HTTP/1.1 by hand, and keeps every byte and when it came."""

import json
import re
import socket
import struct
import time
from dataclasses import dataclass, field
from typing import Any

TIMEOUT = 60.0
# What differs between two answers to the same request: ids the server draws, and the time.
VOLATILE = re.compile(
    rb'"created(?:_at)?":\d+(?:\.\d+)?|"completed_at":\d+(?:\.\d+)?|'
    rb'"(?:[a-z]+_)?id":"(?:chatcmpl|cmpl|resp|msg|modelperm|modelcmpl|rs|call|fc)[-_][^"]*"'
)


class BrokenReply(Exception):
    """The connection ended before the reply did; `raw` holds what came."""

    def __init__(self, raw: bytes) -> None:
        super().__init__(f"ended after {len(raw)} bytes: {raw[-80:]!r}")
        self.raw = raw


@dataclass(slots=True)
class WireReply:
    """One reply as it was on the wire."""

    head: bytes
    body: bytearray = field(default_factory=bytearray)
    # With chunked coding: each chunk's data, and when its last byte was here.
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
        """Names and values, in order, spelt as they came."""
        lines = self.head.split(b"\r\n")[1:-2]
        return [
            (name, value.strip()) for name, _, value in (line.partition(b":") for line in lines)
        ]

    def value(self, name: bytes) -> bytes | None:
        """The value of the first field of that name (lower case)."""
        return next((v for n, v in self.fields if n.lower() == name), None)

    @property
    def content(self) -> bytes:
        """The body without its framing."""
        return b"".join(self.chunks) if self.chunks else bytes(self.body)

    def stable(self) -> tuple[bytes, list[tuple[bytes, bytes]], list[bytes]]:
        """Status line, fields and body without what differs between two equal answers."""
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
        """Close as a client does that goes away (FIN)."""
        self.socket.close()

    def reset(self) -> None:
        """Close as a client does that died (RST)."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def read_reply(self, *, until_chunks: int | None = None, has_body: bool = True) -> WireReply:
        """Read one reply, or its head and so many chunks.

        Raises:
            BrokenReply: the connection ended, or was reset, before that.
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
        """Go on reading a reply of which the head, and perhaps some chunks, were read.

        Raises:
            BrokenReply: the connection ended, or was reset, before the last chunk.
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
    """A request as an ordinary client would write it."""
    lines = [f"{method} {path} HTTP/1.1", "Host: model.example", "Accept: */*", *fields]
    if body is not None:
        if not any(line.lower().startswith("content-type:") for line in fields):
            lines.append("Content-Type: application/json")
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


def post(path: str, payload: dict[str, Any], *fields: str) -> bytes:
    """A POST of a JSON object."""
    return request_bytes("POST", path, json.dumps(payload).encode(), fields)


def completion(tokens: int, *, stream: bool = True, prompt: str = "Once upon a time") -> bytes:
    """A POST to /v1/completions that runs for exactly so many tokens."""
    payload = {"model": "tiny", "prompt": prompt, "max_tokens": tokens, "temperature": 0}
    return post("/v1/completions", {**payload, "stream": stream})


def stream_text(chunks: list[bytes]) -> str:
    """The text a /v1/completions stream carried."""
    events = [chunk.removeprefix(b"data: ").strip() for chunk in chunks]
    documents = [json.loads(event) for event in events if event != b"[DONE]"]
    return "".join(c["text"] for document in documents for c in document["choices"])


def exchange(port: int, request: bytes, *, has_body: bool = True) -> WireReply:
    """One request and its reply on a connection of its own."""
    with WireConnection(port) as connection:
        connection.send(request)
        return connection.read_reply(has_body=has_body)
