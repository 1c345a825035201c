"""`python -m fastroute.demo.traffic`: simulated clients of a router, in varying numbers.

They behave like users of a chat: a question, a streamed answer, a pause. Occasionally one
disconnects before the end. Each request has its own connection, so that the response ends with the
connection.
"""

import argparse
import asyncio
import contextlib
import os
import random

import orjson

from fastroute.server_address import ServerAddress
from fastroute.standin.texts import STORY

WAVE = 40.0
"""Seconds from one peak to the next: slow enough to watch."""

QUIETEST = 0.3
"""Share of the clients that are active between two peaks."""

PAUSE = 0.3
"""Average seconds between a response and the client's next request."""

AWAY = 0.5
"""Seconds between checks of an inactive client whether it should become active."""

STREAMED_SHARE = 0.8
LEAVING_SHARE = 0.05
PROMPT_WORDS = (100, 2_000)
ANSWER_TOKENS = (20, 160)

HEAD = (
    "POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    "Connection: close\r\nContent-Length: {length}\r\n\r\n"
)


def clients_at(seconds: float, clients: int) -> int:
    """Return the number of active clients, of `clients`, `seconds` after the start.

    It follows a sine wave that starts in the middle.
    """
    there = abs((seconds / WAVE + 0.75) % 1 * 2 - 1)  # 0 to 1 and back
    return round(clients * (QUIETEST + (1 - QUIETEST) * there))


class Client:
    """A simulated client."""

    def __init__(self, router: ServerAddress, dice: random.Random) -> None:
        """Prepare.

        Args:
            router: Address of the router.
            dice: Source of random requests.
        """
        self._router = router
        self._dice = dice

    async def send_request(self) -> None:
        """Send one request and read the response. Errors are ignored; the monitor shows them.

        Raises:
            OSError: The router cannot be reached.
        """
        reader, writer = await asyncio.open_connection(self._router.host, self._router.port)
        try:
            writer.write(self._request())
            async with asyncio.timeout(self._patience()):
                while await reader.read(65536):
                    pass
        except TimeoutError:
            pass
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def pause(self) -> None:
        """Wait like a user who reads the answer."""
        await asyncio.sleep(self._dice.expovariate(1 / PAUSE))

    def _patience(self) -> float | None:
        leaves = self._dice.random() < LEAVING_SHARE
        return self._dice.uniform(0.1, 1.0) if leaves else None

    def _request(self) -> bytes:
        dice = self._dice
        words = STORY.split()
        prompt = " ".join(dice.choices(words, k=dice.randint(*PROMPT_WORDS)))
        body = orjson.dumps(
            {
                "model": "standin",
                "stream": dice.random() < STREAMED_SHARE,
                "max_tokens": dice.randint(*ANSWER_TOKENS),
                "messages": [{"role": "user", "content": prompt}],
            }
        )
        return HEAD.format(host=self._router.authority, length=len(body)).encode() + body


async def send_traffic(router: ServerAddress, clients: int) -> None:
    """Send requests until standard input ends.

    Args:
        router: Address of the router.
        clients: Number of clients at the peak.
    """
    loop = asyncio.get_running_loop()
    begun = loop.time()
    ended = asyncio.Event()
    # The demo holds the other end of this pipe; the kernel closes it however the demo ends.
    loop.add_reader(0, lambda: None if os.read(0, 4096) else ended.set())

    async def live(index: int) -> None:
        client = Client(router, random.Random(index))
        while True:
            if index >= clients_at(loop.time() - begun, clients):
                await asyncio.sleep(AWAY)
                continue
            with contextlib.suppress(OSError):
                await client.send_request()
            await client.pause()

    lives = [loop.create_task(live(index)) for index in range(clients)]
    await ended.wait()
    for life in lives:
        life.cancel()


def main() -> None:
    """Send requests until standard input ends."""
    parser = argparse.ArgumentParser(prog="python -m fastroute.demo.traffic", description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--clients", type=int, default=8)
    options = parser.parse_args()
    asyncio.run(send_traffic(ServerAddress.from_url(options.url), options.clients))


if __name__ == "__main__":
    main()
