"""Lag of a worker's event loop, and its slowest steps: how long a stream had to wait for the loop.

A timer that is late by a second says that all streams stood still for a second. The slowest steps
say why. Both are in the score table, for /metrics.
"""

import asyncio
from time import monotonic
from typing import Final

from fastroute.ipc.table_layout import LOOP_LAG_BOUNDS, ProcessCells
from fastroute.proxy.ledger import bucket_of

INTERVAL_S: Final = 0.1
"""Time between two measurements; each takes 10 us."""


class LoopLag:
    """Measures the lag of one event loop.

    Attributes:
        cells: The worker's cells.
    """

    __slots__ = ("_due", "_loop", "_timer", "cells")

    def __init__(self, loop: asyncio.AbstractEventLoop, cells: ProcessCells[memoryview]) -> None:
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self.cells = cells

    def start(self) -> None:
        """Measure from now on."""
        self._due = monotonic() + INTERVAL_S
        self._timer = self._loop.call_later(INTERVAL_S, self._measure)

    def stop(self) -> None:
        """Measure no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _measure(self) -> None:
        self.count(max(0.0, monotonic() - self._due))
        self.start()

    def count(self, seconds: float) -> None:
        """Count one measurement."""
        lag = self.cells.loop_lag
        lag.buckets[bucket_of(LOOP_LAG_BOUNDS, seconds)][0] += 1
        lag.sum_us[0] += int(seconds * 1e6)


def note_step(slowest: memoryview, seconds: float) -> None:
    """Note the duration of a step if it is the longest so far.

    Args:
        slowest: Cell of the kind of step, such as `cells.slowest_read_us`.
        seconds: Duration.
    """
    micros = int(seconds * 1e6)
    if micros > slowest[0]:
        slowest[0] = micros
