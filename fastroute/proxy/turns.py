"""Turns of the event loop, in which the costly work of clients has a limited share.

A worker's streams stand still while it works for one client. So work that a client can make costly
is measured: large reads, pipelined requests, and fastroute's own endpoints. When such work has
taken `TURN_S` in one turn of the event loop, the connections that have more of it wait for the next
turn, in order, and are not read meanwhile. Work for ordinary requests is not measured.
"""

from collections import deque
from collections.abc import Callable
from typing import Protocol

TURN_S = 0.005
"""Seconds of measured work in one turn, beyond which none is started."""


class Waiting(Protocol):
    """A connection that waits."""

    def take_turn(self) -> None:
        """Continue; it may wait again."""


class Turns:
    """The measured work of one worker.

    Attributes:
        is_over: True if no more measured work may start in this turn.
        spent: Seconds of measured work in this turn.
    """

    __slots__ = ("_call_soon", "_is_scheduled", "_waiting", "is_over", "spent")

    def __init__(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        """Start without any.

        Args:
            call_soon: Calls a function in the next turn of the event loop.
        """
        self._call_soon = call_soon
        self._is_scheduled = False
        self._waiting: deque[Waiting] = deque()
        self.is_over = False
        self.spent = 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    def charge(self, seconds: float) -> None:
        """Count measured work."""
        self.spent += seconds
        self.is_over = self.spent >= TURN_S
        self._schedule()

    def wait(self, connection: Waiting) -> None:
        """Continue with a connection in another turn."""
        self._waiting.append(connection)
        self._schedule()

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            self._call_soon(self._begin)

    def _begin(self) -> None:
        """Begin a turn with those that wait; those that wait again come last."""
        self._is_scheduled = False
        self.spent = 0.0
        self.is_over = False
        for _ in range(len(self._waiting)):
            self._waiting.popleft().take_turn()
            if self.is_over:
                break
        if self._waiting:
            self._schedule()
