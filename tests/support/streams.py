"""Clients that stream one response after another while something happens to the servers."""

import asyncio
import json
import random


def chat(tokens: int, *, stream: bool) -> bytes:
    body = json.dumps(
        {
            "model": "standin",
            "max_tokens": tokens,
            "stream": stream,
            "messages": [{"role": "user", "content": "Hi"}],
        }
    ).encode()
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n\r\n%b" % (len(body), body)
    )


class Stream:
    """A client that streams one response after another."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.answers = 0
        self.errors: list[str] = []

    async def run(self, ended: asyncio.Event) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=2**20)
        try:
            while not ended.is_set() and not self.errors:
                writer.write(chat(random.randint(1, 12), stream=True))
                async with asyncio.timeout(30):
                    head = await reader.readuntil(b"\r\n\r\n")
                    if not head.startswith(b"HTTP/1.1 200 OK\r\n"):
                        self.errors.append(head.decode())
                        break
                    body = await reader.readuntil(b"\r\n0\r\n\r\n")
                if b"data: [DONE]\n\n" not in body:
                    self.errors.append(body.decode())
                self.answers += 1
        except (OSError, EOFError, TimeoutError) as error:
            self.errors.append(repr(error))
        finally:
            writer.close()
