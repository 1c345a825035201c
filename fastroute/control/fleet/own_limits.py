"""Log lines about limits of the supervisor itself, which say nothing about any server."""

import logging
from collections.abc import Callable

LOG_INTERVAL = 60.0
"""Seconds between two lines, however many servers could not be asked."""

log = logging.getLogger("supervisor")


class OwnLimits:
    """Notes that fastroute itself is out of descriptors, ports or memory."""

    __slots__ = ("_clock", "_next")

    def __init__(self, clock: Callable[[], float]) -> None:
        """Begin without a problem.

        Args:
            clock: Like time.monotonic.
        """
        self._clock = clock
        self._next = clock()

    def note(self, reason: str) -> None:
        """Log that a server could not be asked, at most once per `LOG_INTERVAL`."""
        now = self._clock()
        if now < self._next:
            return
        self._next = now + LOG_INTERVAL
        log.error(
            "servers cannot be asked now, because fastroute itself has reached a limit (%s): their "
            "states stay as they are; raise the limit (ulimit -n, LimitNOFILE=)",
            reason,
        )
