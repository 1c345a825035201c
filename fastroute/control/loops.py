"""Control loops: waiting between rounds, restarting after a failure, coalescing requests."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

RESTART_DELAY = 5.0
"""Seconds from the failure of a loop to its next start."""

log = logging.getLogger("supervisor")


async def pause(seconds: float, wake: asyncio.Event) -> None:
    """Wait for a time or for an event, whichever comes first; then clear the event.

    Args:
        seconds: Not below 0.
        wake: Set it to have the next round at once.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await wake.wait()
    wake.clear()


async def keep_on(what: str, loop: Callable[[], Awaitable[None]], delay: float) -> None:
    """Run a loop that never ends, again should it fail, until cancelled.

    Routing goes on without it meanwhile; and what it stumbled upon, such as a strange answer of a
    server, may not come again.

    Args:
        what: What it does, for the log.
        loop: Starts it.
        delay: Seconds from a failure to the next start.
    """
    while True:
        try:
            await loop()
        except Exception:
            log.exception("%s failed; it is tried again in %g s", what, delay)
        await asyncio.sleep(delay)


class Coalesced:
    """An action that follows a request for it soon, but never sooner after the last one than `gap`.

    The first request is followed in the next turn of the loop, so all requests of one turn are one.
    """

    __slots__ = ("_action", "_done_at", "_gap", "_handle", "_loop")

    def __init__(self, action: Callable[[], None], gap: float) -> None:
        """Prepare.

        Args:
            action: What to do.
            gap: Seconds from one time to the next, at least.
        """
        self._action = action
        self._gap = gap
        self._loop = asyncio.get_running_loop()
        self._done_at = float("-inf")
        self._handle: asyncio.Handle | None = None

    def request(self) -> None:
        """Ask for the action."""
        if self._handle is not None:
            return
        wait = self._done_at + self._gap - self._loop.time()
        if wait > 0:
            self._handle = self._loop.call_later(wait, self._act)
        else:
            self._handle = self._loop.call_soon(self._act)

    def cancel(self) -> None:
        """Forget a request that was not followed yet."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _act(self) -> None:
        self._handle = None
        self._done_at = self._loop.time()
        self._action()
