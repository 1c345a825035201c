"""Rates and latencies of each server over the last seconds.

Workers only count. Once a second the supervisor reads their counters, subtracts the values of a few
seconds ago, and publishes the differences in the score table. So every client gets the same numbers
from every worker.
"""

import time
from collections import deque
from collections.abc import Callable

import msgspec

from fastroute.ipc.messages import Unrouted
from fastroute.ipc.score_table import ScoreTable
from fastroute.ipc.table_layout import RECENT_COUNTS, RecentColumns
from fastroute.rules.server_state import ServerState

RATE_WINDOW_NS = 5_000_000_000
"""Period of rates: long enough for rare requests, short enough to be current."""

FIRST_BYTE_WINDOW_NS = 30_000_000_000
"""Period of latencies; longer, because a p99 needs many requests."""

SAMPLE_GAP_NS = 1_000_000_000
"""Time between two samples."""

STALE_AFTER = 2
"""Number of missed scrapes after which the token rate of a server is unknown."""

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000


class Sample(msgspec.Struct, frozen=True, gc=False):
    """Counters of one server at one time."""

    at_ns: int
    generation: int
    started: int
    errors: int
    scraped_at_ns: int
    tokens: int
    first_byte: tuple[int, ...]


class Recent:
    """Publishes the rates of the last seconds.

    Attributes:
        unrouted: Rate of requests for which no server was usable, as a message for workers.
    """

    __slots__ = (
        "_clock_ns",
        "_counted",
        "_due_ns",
        "_samples",
        "_table",
        "_unrouted_cells",
        "_unrouted_counts",
        "unrouted",
    )

    def __init__(self, table: ScoreTable, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        """Start without samples.

        Args:
            table: The score table to read and write.
            clock_ns: Returns the time, like time.monotonic_ns.
        """
        self._table = table
        self._clock_ns = clock_ns
        workers = [table.worker_cells(index) for index in range(table.workers)]
        self._counted = [
            (cells.started, cells.finished_5xx, cells.failed, *cells.first_byte.buckets)
            for cells in workers
        ]
        self._unrouted_cells = [cells.process.unrouted_503 for cells in workers]
        self._unrouted_counts: deque[tuple[int, int]] = deque()
        self.unrouted = Unrouted()
        self._due_ns = 0
        self._samples: dict[int, deque[Sample]] = {}

    def tick(self) -> None:
        """Take a sample if one is due; call this several times a second."""
        now = self._clock_ns()
        if now < self._due_ns:
            return
        self._due_ns = now + SAMPLE_GAP_NS
        read = self._read(now)
        for row in [row for row in self._samples if row not in read]:
            del self._samples[row]
        for row, sample in read.items():
            samples = self._samples.setdefault(row, deque())
            _take(samples, sample)
            _publish(samples, self._table.recent, row)
        self._count_unrouted(now)

    def _count_unrouted(self, now: int) -> None:
        counts = self._unrouted_counts
        counts.append((now, sum(cell[0] for cell in self._unrouted_cells)))
        # Keep one sample that is as old as the window.
        while len(counts) > 2 and now - counts[1][0] >= RATE_WINDOW_NS:
            counts.popleft()
        (before, first), (after, last) = counts[0], counts[-1]
        if after > before:
            self.unrouted = Unrouted((last - first) * NS_PER_S / (after - before))

    def _read(self, now: int) -> dict[int, Sample]:
        """Return a sample of each row in use. A snapshot of the table takes 5 times as long."""
        states = self._table.servers.state.tolist()
        used = [row for row, state in enumerate(states) if state != ServerState.FREE]
        count = used[-1] + 1 if used else 0
        # Column by column, summed over the workers.
        columns = [
            list(map(sum, zip(*(column[:count].tolist() for column in same), strict=True)))
            for same in zip(*self._counted, strict=True)
        ]
        counted = list(zip(*columns, strict=True))
        return {row: self._sample(row, counted[row], now) for row in used}

    def _sample(self, row: int, counted: tuple[int, ...], now: int) -> Sample:
        servers = self._table.servers
        started, finished_5xx, failed, *first_byte = counted
        return Sample(
            at_ns=now,
            generation=servers.generation[row],
            started=started,
            errors=finished_5xx + failed,
            scraped_at_ns=servers.scraped_at_ns[row],
            tokens=servers.generation_tokens[row],
            first_byte=tuple(first_byte),
        )


def forget(columns: RecentColumns[memoryview], row: int) -> None:
    """Clear the columns of a row that gets another server."""
    for name in RECENT_COUNTS:
        getattr(columns, name)[row] = 0
    for bucket in columns.first_byte:
        bucket[row] = 0


def _take(samples: deque[Sample], sample: Sample) -> None:
    """Append a sample; drop samples that are too old or belong to another server."""
    if samples and not _continues(samples[-1], sample):
        samples.clear()
    samples.append(sample)
    # Keep one sample that is as old as the window.
    while len(samples) > 2 and sample.at_ns - samples[1].at_ns >= FIRST_BYTE_WINDOW_NS:
        samples.popleft()


def _continues(before: Sample, after: Sample) -> bool:
    # Each worker clears the counters of a row when it receives the new server, so `started` may
    # decrease within a generation.
    return before.generation == after.generation and before.started <= after.started


def _publish(samples: deque[Sample], columns: RecentColumns[memoryview], row: int) -> None:
    now = samples[-1]
    before = _counted_before(samples)
    columns.milliseconds[row] = (now.at_ns - before.at_ns) // NS_PER_MS
    columns.started[row] = now.started - before.started
    columns.errors[row] = max(0, now.errors - before.errors)
    scraped = _scraped_before(samples)
    elapsed = now.scraped_at_ns - scraped.scraped_at_ns
    if now.at_ns - now.scraped_at_ns > STALE_AFTER * elapsed:
        elapsed = 0
    columns.tokens_milliseconds[row] = elapsed // NS_PER_MS
    columns.tokens[row] = now.tokens - scraped.tokens
    counts = zip(columns.first_byte, now.first_byte, samples[0].first_byte, strict=True)
    for bucket, after, earlier in counts:
        bucket[row] = max(0, after - earlier)


def _counted_before(samples: deque[Sample]) -> Sample:
    """Return the latest sample that is older than the window, or the oldest sample."""
    now = samples[-1]
    old = (s for s in reversed(samples) if now.at_ns - s.at_ns >= RATE_WINDOW_NS)
    return next(old, samples[0])


def _scraped_before(samples: deque[Sample]) -> Sample:
    """Return the sample from which tokens are counted.

    It is the latest one scraped a window earlier, or the first one since the server's restart.
    """
    now = found = samples[-1]
    for sample in reversed(samples):
        if not sample.scraped_at_ns or sample.tokens > found.tokens:
            break
        found = sample
        if now.scraped_at_ns - sample.scraped_at_ns >= RATE_WINDOW_NS:
            break
    return found
