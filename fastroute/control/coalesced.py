"""Doing once what was asked for many times."""

import asyncio
from collections.abc import Callable


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
