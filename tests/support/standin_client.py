"""A minimal HTTP client for tests of the stand-in: raw requests, parsed responses."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httptools


@dataclass
class Answer:
    """One response as received; `chunks` ends with the empty terminal chunk."""

    status: int = 0
    fields: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    chunks: list[bytes] = field(default_factory=list)
    complete: bool = False

    def json(self):
        return json.loads(self.body)

    def __getitem__(self, name: str) -> str:
        return dict(self.fields)[name]

    def events(self) -> list:
        """Return the data of each server-sent event; JSON is decoded."""
        texts = [part.removeprefix("data: ") for part in self.body.decode().split("\n\n")[:-1]]
        return [text if text == "[DONE]" else json.loads(text) for text in texts]


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._parser = httptools.HttpResponseParser(self)
        self._answers: list[Answer] = [Answer()]
        self.wire = b""

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def receive(self) -> Answer:
        """Return the next response, or its received part (`complete` is False)."""
        async with asyncio.timeout(10):
            while not self._answers[0].complete:
                if not await self.read_some():
                    break
        return self._answers.pop(0)

    async def read_some(self) -> bytes:
        """Read once and feed the parser; the data is empty at the end, also after a reset."""
        try:
            data = await self.reader.read(65536)
        except ConnectionError:
            return b""
        self.wire += data
        if data:
            self._parser.feed_data(data)
        return data

    async def is_closed(self, within: float = 5.0) -> bool:
        """Return True if the server closes without sending more."""
        async with asyncio.timeout(within):
            return await self.reader.read() == b""

    # httptools callbacks

    def on_header(self, name: bytes, value: bytes) -> None:
        self._answers[-1].fields.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        self._answers[-1].status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        answer = self._answers[-1]
        answer.body += body
        if answer.chunks:
            answer.chunks[-1] += body

    def on_chunk_header(self) -> None:
        self._answers[-1].chunks.append(b"")

    def on_message_complete(self) -> None:
        self._answers[-1].complete = True
        self._answers.append(Answer())


@contextlib.asynccontextmanager
async def client(port: int) -> AsyncIterator[Client]:
    """Open a connection to 127.0.0.1 that is closed at the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def ask(port: int, request: bytes) -> Answer:
    """Send one request on a separate connection."""
    async with client(port) as connection:
        connection.send(request)
        return await connection.receive()


def get(target: str, method: str = "GET", fields: str = "") -> bytes:
    """Return a request without a body; `fields` are complete lines."""
    return f"{method} {target} HTTP/1.1\r\nHost: x\r\n{fields}\r\n".encode()


def post(target: str, body: object, fields: str = "") -> bytes:
    """Return a request with a JSON body (bytes are unchanged); `fields` are complete lines."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    if "content-type" not in fields.lower():
        fields += "Content-Type: application/json\r\n"
    head = f"POST {target} HTTP/1.1\r\nHost: x\r\n{fields}Content-Length: {len(data)}\r\n\r\n"
    return head.encode() + data


def chat(target: str = "/v1/chat/completions", fields: str = "", **body) -> bytes:
    """Return a chat request of a few tokens."""
    body.setdefault("messages", [{"role": "user", "content": "hello there, how are you?"}])
    body.setdefault("max_tokens", 4)
    return post(target, body, fields)
