"""Records that wait for the thread that tells of them: bounded, and what has no room is counted."""

import threading
from collections import deque
from collections.abc import Iterable

from fastroute.ipc.request_record import RequestRecord


class Backlog:
    """A queue from the supervisor's loop to one thread. Putting something in never waits.

    Attributes:
        lost: How many records there was no room for, or the thread gave up.
    """

    def __init__(self, limit: int) -> None:
        """Begin empty.

        Args:
            limit: How many records may wait.
        """
        self.lost = 0
        self._limit = limit
        self._waiting: deque[RequestRecord] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._woken = False

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, records: Iterable[RequestRecord]) -> None:
        """Add records, as far as there is room."""
        with self._changed:
            for record in records:
                if len(self._waiting) < self._limit:
                    self._waiting.append(record)
                else:
                    self.lost += 1
            self._changed.notify()

    def take(self, most: int) -> list[RequestRecord]:
        """Wait for records and take some out.

        Args:
            most: How many to take.

        Returns:
            One or more, oldest first; none when the backlog has ended or `wake` was called.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ended or self._woken)
            self._woken = False
            return [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]

    def give_up(self, records: int) -> None:
        """Count records that were taken out and could not be told of."""
        with self._changed:
            self.lost += records

    def wake(self) -> None:
        """Have a waiting `take` return."""
        with self._changed:
            self._woken = True
            self._changed.notify()

    def pause(self, seconds: float) -> None:
        """Wait before another try; shorter where `wake` or `end` is called."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._woken, seconds)
            self._woken = False

    def end(self) -> None:
        """Say that nothing more will be put in."""
        with self._changed:
            self._ended = True
            self._changed.notify()

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will be put in."""
        return self._ended
