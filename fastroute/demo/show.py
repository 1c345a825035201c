"""What goes on in `fastroute demo` beside the router: clients, and a server that dies."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import msgspec

from fastroute.demo.companion import Companion
from fastroute.demo.servers import DemoServer
from fastroute.errors import ConfigError

DOWN_SHARE = 1 / 3
"""Of the time from one death to the next, the server is gone for so much."""

CLIENTS_SHARE = 1.3
"""Clients at the peak for each place of the servers: a little more than they can take."""

AGAIN = 1.0
"""Seconds until a server that did not start is started again."""

BODY = '{"model": "standin", "stream": true, "messages": [{"role": "user", "content": "Hello"}]}'

log = logging.getLogger("demo")


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What the user wants to see."""

    with_traffic: bool = True
    outage_every: float = 30.0
    """Seconds from one death of the server to the next; 0: it lives."""


class Show:
    """One performance, in front of a router that runs.

    It tells what it does in the log, and in `caption` what comes next.
    """

    def __init__(self, servers: Sequence[DemoServer], plan: Plan) -> None:
        """Prepare.

        Args:
            servers: Those behind the router; they run.
            plan: What is to be seen.
        """
        self._servers = servers
        self._plan = plan
        # The second is neither the fastest, without which little works, nor the slowest.
        self._victim = servers[min(1, len(servers) - 1)]
        self._coming = ""
        self._coming_at = 0.0

    def caption(self) -> str:
        """Return what comes next, and when, in one line; empty if nothing does."""
        if not self._coming:
            return ""
        left = max(0.0, self._coming_at - asyncio.get_running_loop().time())
        return f"demo: {self._victim.address} {self._coming} in {left:.0f} s"

    def invitation(self, url: str) -> str:
        """Return a command line to try.

        Args:
            url: The router's.
        """
        return (
            f"Try it in another terminal:\n\n  curl -N {url}/v1/chat/completions "
            f"-H 'Content-Type: application/json' -d '{BODY}'\n"
        )

    async def play(self, url: str) -> None:
        """Go on until cancelled.

        Args:
            url: The router's.
        """
        traffic = self._traffic(url) if self._plan.with_traffic else None
        try:
            await self._outages()
        finally:
            if traffic is not None:
                traffic.stop()

    def _traffic(self, url: str) -> Companion:
        places = sum(server.speed.slots for server in self._servers)
        clients = str(round(places * CLIENTS_SHARE))
        return Companion("fastroute.demo.traffic", url, "--clients", clients)

    async def _outages(self) -> None:
        every = self._plan.outage_every
        victim = self._victim
        if not every:
            await asyncio.Event().wait()
        while True:
            await self._wait("will be killed", every * (1 - DOWN_SHARE))
            victim.kill()
            gone = every * DOWN_SHARE
            log.info("%s was killed; it comes back in %.0f s", victim.address, gone)
            await self._wait("was killed and comes back", gone)
            await self._start_again()
            log.info("%s was started again", victim.address)

    async def _wait(self, coming: str, seconds: float) -> None:
        self._coming = coming
        self._coming_at = asyncio.get_running_loop().time() + seconds
        await asyncio.sleep(seconds)

    async def _start_again(self) -> None:
        victim = self._victim
        while True:
            victim.start()
            try:
                await asyncio.to_thread(victim.wait_listening)
            except ConfigError:
                # Somebody has taken its port meanwhile.
                victim.stop()
                await asyncio.sleep(AGAIN)
            else:
                return


async def with_show(
    router: Coroutine[Any, Any, int],
    ready: asyncio.Event,
    stopping: asyncio.Event,
    play: Callable[[], Coroutine[Any, Any, None]],
) -> int:
    """Run the router, and a show from the time it is ready until it stops.

    Args:
        router: The supervisor at work.
        ready: Set when it accepts clients.
        stopping: Set when it no longer does; with its clients gone it has nothing to wait for.
        play: Of a Show.

    Returns:
        What `router` returned.
    """
    showing = asyncio.get_running_loop().create_task(_perform(ready, stopping, play))
    try:
        return await router
    finally:
        showing.cancel()
        await asyncio.wait((showing,))


async def _perform(
    ready: asyncio.Event, stopping: asyncio.Event, play: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    await ready.wait()
    loop = asyncio.get_running_loop()
    playing = loop.create_task(play())
    stopped = loop.create_task(stopping.wait())
    try:
        done, _ = await asyncio.wait((playing, stopped), return_when="FIRST_COMPLETED")
        if playing in done:
            # It plays on until it is stopped, so this was a mistake of ours.
            log.error("the show has ended", exc_info=playing.exception())
    finally:
        stopped.cancel()
        playing.cancel()
        await asyncio.wait((playing,))
