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
        seconds: Time to wait, not negative.
        wake: Set it to start the next round immediately.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await wake.wait()
    wake.clear()


async def keep_on(what: str, loop: Callable[[], Awaitable[None]], delay: float) -> None:
    """Run an endless loop until cancelled, and restart it after a failure.

    Routing continues without it meanwhile; and the cause of the failure, such as an unexpected
    response of a server, may not occur again.

    Args:
        what: Description of the loop, for the log.
        loop: Starts the loop.
        delay: Seconds from a failure to the restart.
    """
    while True:
        try:
            await loop()
        except Exception:
            log.exception("%s failed; restarting in %g s", what, delay)
        await asyncio.sleep(delay)


class Coalesced:
    """An action that is throttled: requests for it are merged, with at least `gap` between runs.

    The action runs in the loop's next iteration, so that all requests of one iteration are merged.
    """

    __slots__ = ("_done_at", "_gap", "_handle", "_loop", "_runion")

    def __init__(self, action: Callable[[], None], gap: float) -> None:
        """Prepare.

        Args:
            action: The action.
            gap: Minimum seconds between two runs.
        """
        self._runion = action
        self._gap = gap
        self._loop = asyncio.get_running_loop()
        self._done_at = float("-inf")
        self._handle: asyncio.Handle | None = None

    def request(self) -> None:
        """Request the action."""
        if self._handle is not None:
            return
        wait = self._done_at + self._gap - self._loop.time()
        if wait > 0:
            self._handle = self._loop.call_later(wait, self._run)
        else:
            self._handle = self._loop.call_soon(self._run)

    def cancel(self) -> None:
        """Drop a pending request."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _run(self) -> None:
        self._handle = None
        self._done_at = self._loop.time()
        self._runion()
