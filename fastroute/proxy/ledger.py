"""The counts of requests that a worker keeps in the score table, and its retry budget.

Only this file knows the columns. A counter is a field of a struct in `ipc/table_layout.py` and the
line here that counts it, or the row of `ENDINGS` that names it.
"""

from typing import Final

from fastroute.ipc.score_table import WorkerCells
from fastroute.ipc.table_layout import (
    DURATION_BOUNDS,
    FIRST_BYTE_BOUNDS,
    MODEL_COUNTERS,
    MODEL_SLOTS,
    WORKER_COLUMNS,
    Column,
    Grid,
)
from fastroute.rules.outcome import ENDINGS, Outcome
from fastroute.rules.retry import RetryBudget

# Columns of a server that are counted per request or event; access by name takes 10 ns more.
IN_FLIGHT: Final = WORKER_COLUMNS.index("in_flight")
EXCUSED: Final = WORKER_COLUMNS.index("excused")
STARTED: Final = WORKER_COLUMNS.index("started")
CONNECTIONS_NEW: Final = WORKER_COLUMNS.index("connections_new")
CONNECTIONS_REUSED: Final = WORKER_COLUMNS.index("connections_reused")
BYTES_IN: Final = WORKER_COLUMNS.index("bytes_in")
BYTES_OUT: Final = WORKER_COLUMNS.index("bytes_out")
FIRST_BYTE: Final = WORKER_COLUMNS.index("first_byte_0")
FIRST_BYTE_SUM: Final = WORKER_COLUMNS.index("first_byte_sum_us")
DURATION: Final = WORKER_COLUMNS.index("duration_0")
DURATION_SUM: Final = WORKER_COLUMNS.index("duration_sum_us")
# The columns of the status classes are adjacent, here and among a model's counters.
FINISHED_2XX: Final = WORKER_COLUMNS.index("finished_2xx")
TO_MODEL: Final = FINISHED_2XX - MODEL_COUNTERS.index("finished_2xx")
# All, by name.
COLUMNS: Final = {name: column for column, name in enumerate(WORKER_COLUMNS)}


class Ledger:
    """The counts of one worker.

    Attributes:
        cells: The worker's cells.
        events: Column of forwarded segments of good responses, by row. Callers increment it
            directly, because a call would take a tenth of the time of an event.
        requests: Number of requests for servers; with `retries`, the base of the retry budget.
        retries: Number of attempts at another server than before.
    """

    __slots__ = (
        "_budget", "_counts", "_model_counts", "_proofs", "cells", "events", "requests", "retries",
    )  # fmt: skip

    def __init__(self, cells: WorkerCells) -> None:
        self.cells = cells
        self.events: Column = cells.events
        self._counts: Grid = cells.grid
        self._model_counts: Grid = cells.model_grid
        self._proofs: Grid = cells.proofs
        self._budget = RetryBudget()
        self.requests = 0
        self.retries = 0

    # An attempt

    def start(self, row: int) -> None:
        """Count an attempt at the server of a row."""
        counts = self._counts
        counts[STARTED, row] += 1
        counts[IN_FLIGHT, row] += 1

    def excuse(self, row: int, change: int) -> None:
        """Count a request in flight that does not wait for its server (1), or does again (-1)."""
        self._counts[EXCUSED, row] += change

    def send(self, row: int, size: int, reused: bool) -> None:
        """Count a request of `size` bytes, and the kind of its connection."""
        counts = self._counts
        counts[CONNECTIONS_REUSED if reused else CONNECTIONS_NEW, row] += 1
        counts[BYTES_IN, row] += size

    def first_byte(self, row: int, seconds: float) -> None:
        """Count the first byte of a response and the time until it."""
        counts = self._counts
        counts[FIRST_BYTE + bucket_of(FIRST_BYTE_BOUNDS, seconds), row] += 1
        counts[FIRST_BYTE_SUM, row] += int(seconds * 1e6)

    def retry(self, outcome: Outcome, row: int, status: int, next_row: int) -> None:
        """Count the end of an attempt and the cause of the one that follows it.

        Args:
            outcome: How it ended.
            row: Of its server.
            status: Of the server's response; 0 if there was none. The client got nothing of it.
            next_row: Of the server that is tried next.
        """
        name = ENDINGS[outcome].counter
        self._release(row, status_column(status) if name is None else COLUMNS[name], 0)
        self._counts[COLUMNS[ENDINGS[outcome].retry_counter], next_row] += 1

    # A request

    def prove(self, row: int, slot: int) -> None:
        """Count a good response to an inference request."""
        self._proofs[slot, row] += 1

    def answer(self, row: int, slot: int, status: int, seconds: float, bytes_out: int) -> None:
        """Count a request, and its last attempt, that the server answered.

        Args:
            row: Of the server.
            slot: Of the model.
            status: Of the response.
            seconds: Since the first attempt was started.
            bytes_out: Length of the response.
        """
        counts = self._counts
        column: int = FINISHED_2XX if status < 300 else status_column(status)
        counts[IN_FLIGHT, row] -= 1
        counts[BYTES_OUT, row] += bytes_out
        counts[column, row] += 1
        self._model_counts[column - TO_MODEL, slot] += 1
        counts[DURATION + bucket_of(DURATION_BOUNDS, seconds), row] += 1
        counts[DURATION_SUM, row] += int(seconds * 1e6)

    def fail(self, outcome: Outcome, row: int, slot: int, bytes_out: int) -> None:
        """Count a request, and its last attempt, that ended in another way."""
        ending = ENDINGS[outcome]
        assert ending.counter, f"{outcome} has no counter"
        assert ending.model_counter, f"{outcome} has no counter of a model"
        self._release(row, COLUMNS[ending.counter], bytes_out)
        self._model_counts[MODEL_COUNTERS.index(ending.model_counter), slot] += 1

    def own(self, outcome: Outcome) -> None:
        """Count a request that fastroute answered without a server."""
        name = ENDINGS[outcome].counter
        assert name, f"{outcome} has no counter"
        getattr(self.cells.process, name)[0] += 1

    # Retries, and servers that come and go

    def allows_retry(self) -> bool:
        """Return True if the retry budget allows one more."""
        return self._budget.allows(self.requests, self.retries)

    def sample(self, now: float) -> None:
        """Note the totals at `now`, in seconds, for the retry budget."""
        self._budget.sample(now, self.requests, self.retries)

    def clear(self, row: int, generation: int) -> bool:
        """Reset the counters of a row that has a new server.

        Requests in flight stay, because those of the previous server still end.

        Returns:
            True if the row has a new server.
        """
        if self.cells.counted_generation[row] == generation:
            return False
        for column in range(len(WORKER_COLUMNS)):
            if column not in (IN_FLIGHT, EXCUSED):
                self._counts[column, row] = 0
        for slot in range(MODEL_SLOTS):
            self._proofs[slot, row] = 0
        self.cells.counted_generation[row] = generation
        return True

    def _release(self, row: int, column: int, bytes_out: int) -> None:
        counts = self._counts
        counts[IN_FLIGHT, row] -= 1
        counts[BYTES_OUT, row] += bytes_out
        counts[column, row] += 1


def status_column(status: int) -> int:
    """Return the column that counts responses of this status."""
    if status < 300:
        return FINISHED_2XX
    return FINISHED_2XX + min(status // 100, 5) - 2


def bucket_of(bounds: tuple[float, ...], value: float) -> int:
    """Return the index of the first bound that is not below a value; their number if all are.

    Most are found at once: `bisect` costs more for the call alone.
    """
    index: int = 0
    bound: float
    for bound in bounds:
        if value <= bound:
            break
        index += 1
    return index
