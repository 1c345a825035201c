"""Waiting between two rounds of a control loop, cut short when there is reason to."""

import asyncio
import contextlib


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
