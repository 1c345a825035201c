"""Keeping a loop going although it has a mistake."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

RESTART_DELAY = 5.0
"""Seconds."""

log = logging.getLogger("supervisor")


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
