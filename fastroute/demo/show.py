"""The scenario of `fastroute demo`: simulated clients, and a server that is killed repeatedly."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import msgspec

from fastroute.demo.companion import Companion
from fastroute.demo.servers import DemoServer
from fastroute.errors import ConfigError

DOWN_SHARE = 1 / 3
"""Share of the time between two kills for which the server is down."""

CLIENTS_SHARE = 1.3
"""Clients per slot of the servers at the peak: slightly more than their capacity."""

RESTART_DELAY = 1.0
"""Seconds between two attempts to restart a server."""

BODY = '{"model": "standin", "stream": true, "messages": [{"role": "user", "content": "Hello"}]}'

log = logging.getLogger("demo")


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The user's choices for the demo."""

    with_traffic: bool = True
    outage_every: float = 30.0
    """Seconds between two kills of the server; 0 for never."""


class Show:
    """Runs the scenario against a running router.

    It logs its actions; `caption` announces the next one.
    """

    def __init__(self, servers: Sequence[DemoServer], plan: Plan) -> None:
        """Prepare.

        Args:
            servers: The running servers behind the router.
            plan: The user's choices.
        """
        self._servers = servers
        self._plan = plan
        # The second is neither the fastest, which serves most requests, nor the slowest.
        self._victim = servers[min(1, len(servers) - 1)]
        self._next_action = ""
        self._next_action_at = 0.0

    def caption(self) -> str:
        """Return the next action and its time in one line; empty if there is none."""
        if not self._next_action:
            return ""
        left = max(0.0, self._next_action_at - asyncio.get_running_loop().time())
        return f"demo: {self._victim.address} {self._next_action} in {left:.0f} s"

    def invitation(self, url: str) -> str:
        """Return a command line to try.

        Args:
            url: URL of the router.
        """
        return (
            f"Try it in another terminal:\n\n  curl -N {url}/v1/chat/completions "
            f"-H 'Content-Type: application/json' -d '{BODY}'\n"
        )

    async def play(self, url: str) -> None:
        """Run until cancelled.

        Args:
            url: URL of the router.
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
            log.info("%s killed; it restarts in %.0f s", victim.address, gone)
            await self._wait("was killed; restart", gone)
            await self._restart()
            log.info("%s restarted", victim.address)

    async def _wait(self, next_action: str, seconds: float) -> None:
        self._next_action = next_action
        self._next_action_at = asyncio.get_running_loop().time() + seconds
        await asyncio.sleep(seconds)

    async def _restart(self) -> None:
        victim = self._victim
        while True:
            victim.start()
            try:
                await asyncio.to_thread(victim.wait_listening)
            except ConfigError:
                # Another program has taken its port.
                victim.stop()
                await asyncio.sleep(RESTART_DELAY)
            else:
                return


async def with_show(
    router: Coroutine[Any, Any, int],
    ready: asyncio.Event,
    stopping: asyncio.Event,
    play: Callable[[], Coroutine[Any, Any, None]],
) -> int:
    """Run the router, with the scenario from the time it is ready until it stops.

    Args:
        router: The running supervisor.
        ready: Set when the router accepts clients.
        stopping: Set when it stops; ending the clients then lets it drain quickly.
        play: `Show.play`.

    Returns:
        The result of `router`.
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
            # It runs until it is cancelled, so reaching this line is a bug.
            log.error("the demo's scenario ended unexpectedly", exc_info=playing.exception())
    finally:
        stopped.cancel()
        playing.cancel()
        await asyncio.wait((playing,))
