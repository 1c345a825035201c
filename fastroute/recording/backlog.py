"""A bounded queue of records for the thread that writes them; it counts the records it drops."""

import threading
from collections import deque
from collections.abc import Iterable

from fastroute.ipc.request_record import RequestRecord


class Backlog:
    """A queue from the supervisor's loop to one thread. `put` never waits.

    Attributes:
        lost: Number of records that were dropped because the queue was full, or that the thread
            gave up.
    """

    def __init__(self, limit: int) -> None:
        """Start with an empty queue.

        Args:
            limit: Maximum number of records in the queue.
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
        """Add records; count those beyond the limit as lost."""
        with self._changed:
            for record in records:
                if len(self._waiting) < self._limit:
                    self._waiting.append(record)
                else:
                    self.lost += 1
            self._changed.notify()

    def take(self, most: int) -> list[RequestRecord]:
        """Wait for records and remove some from the queue.

        Args:
            most: Maximum number of records to return.

        Returns:
            One or more records, oldest first; none after `end` or `wake`.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ended or self._woken)
            self._woken = False
            return [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]

    def give_up(self, records: int) -> None:
        """Count records as lost that were taken and could not be written."""
        with self._changed:
            self.lost += records

    def wake(self) -> None:
        """Make a waiting `take` or `pause` return."""
        with self._changed:
            self._woken = True
            self._changed.notify()

    def pause(self, seconds: float) -> None:
        """Wait before the next attempt; return early after `wake` or `end`."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._woken, seconds)
            self._woken = False

    def end(self) -> None:
        """Declare that no more records will be added."""
        with self._changed:
            self._ended = True
            self._changed.notify()

    @property
    def has_ended(self) -> bool:
        """True after `end`."""
        return self._ended
