"""`python -m fastroute.demo.traffic`: clients of a router, more and fewer of them in turn.

They are as users of a chat are: a question, an answer read as it comes, a pause; now and then one
goes away before the end. Each request has a connection of its own, so that all of the answer is
what comes until its end.
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
"""Seconds from one peak to the next: long enough to be followed with the eye."""

QUIETEST = 0.3
"""The share of the clients that are there between two peaks."""

PAUSE = 0.3
"""Seconds between an answer and the next question, on average."""

AWAY = 0.5
"""Seconds after which a client that is not there looks whether it is its time."""

STREAMED_SHARE = 0.8
LEAVING_SHARE = 0.05
PROMPT_WORDS = (100, 2_000)
ANSWER_TOKENS = (20, 160)

HEAD = (
    "POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    "Connection: close\r\nContent-Length: {length}\r\n\r\n"
)


def clients_at(seconds: float, clients: int) -> int:
    """Return how many of `clients` are there so many seconds after the start.

    It begins in the middle, and goes up and down evenly.
    """
    there = abs((seconds / WAVE + 0.75) % 1 * 2 - 1)  # 0 to 1 and back
    return round(clients * (QUIETEST + (1 - QUIETEST) * there))


class Client:
    """One of the clients."""

    def __init__(self, router: ServerAddress, dice: random.Random) -> None:
        """Prepare.

        Args:
            router: Whom to ask.
            dice: Decides what is asked.
        """
        self._router = router
        self._dice = dice

    async def ask(self) -> None:
        """Ask once and read the answer; what fails, fails: the monitor shows it.

        Raises:
            OSError: The router is gone, or was for a moment.
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
        """Think about the answer."""
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
    """Ask until standard input ends.

    Args:
        router: Whom to ask.
        clients: How many there are at the peak.
    """
    loop = asyncio.get_running_loop()
    begun = loop.time()
    ended = asyncio.Event()
    # The demo holds the other end of this pipe, and the kernel closes it however it dies.
    loop.add_reader(0, lambda: None if os.read(0, 4096) else ended.set())

    async def live(index: int) -> None:
        client = Client(router, random.Random(index))
        while True:
            if index >= clients_at(loop.time() - begun, clients):
                await asyncio.sleep(AWAY)
                continue
            with contextlib.suppress(OSError):
                await client.ask()
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
