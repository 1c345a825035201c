"""One server's row of the score table, as the supervisor writes it."""

from fastroute.control.fleet.rates import forget
from fastroute.ipc.score_table import ScoreTable
from fastroute.ipc.table_layout import SERVER_COLUMNS
from fastroute.rules.load import LoadReport
from fastroute.rules.server_state import ServerState

MILLI = 1000
MICRO = 1_000_000
NANO = 1_000_000_000


class PublishedRow:
    """The row of one server, from taking it to giving it up.

    Attributes:
        number: Of the row.
        generation: Tells the server from others that had the row before.
    """

    __slots__ = ("_columns", "_events", "_excused", "_in_flight", "_table", "generation",
                 "number")  # fmt: skip

    def __init__(self, table: ScoreTable, number: int) -> None:
        """Take a free row; it is invisible before its state is published."""
        self.number = number
        self._table = table
        self._columns = columns = table.servers
        self._in_flight = table.in_flight_columns
        self._excused = table.excused_columns
        self._events = [table.worker_cells(index).events for index in range(table.workers)]
        self.generation = columns.generation[number] + 1
        for name in SERVER_COLUMNS:
            if name not in ("state", "generation"):
                getattr(columns, name)[number] = 0
        forget(table.recent, number)
        columns.kv_cache_ppm[number] = -1
        columns.generation[number] = self.generation

    @property
    def state_since_ns(self) -> int:
        """When its state began, of time.monotonic_ns()."""
        return self._columns.state_since_ns[self.number]

    def count_in_flight(self) -> int:
        """Return the requests in flight, over all workers."""
        return sum(column[self.number] for column in self._in_flight)

    def count_waiting(self) -> int:
        """Return the requests in flight that wait for the server, over all workers."""
        # The workers may write between two readings.
        return max(0, self.count_in_flight() - sum(column[self.number] for column in self._excused))

    def count_events(self) -> int:
        """Return the segments of good responses that were relayed, over all workers."""
        return sum(column[self.number] for column in self._events)

    def count_proofs(self, slot: int) -> int:
        """Return the good responses to inference requests for a model, over all workers."""
        return self._table.count_proofs(slot, self.number)

    def admit_one_more(self) -> None:
        """Let a server on trial have one request more than it has."""
        self._columns.trial_beside[self.number] = self.count_in_flight()

    def publish_state(self, state: ServerState, now: float) -> None:
        """Publish the state, and since when if it is another one (seconds)."""
        if self._columns.state[self.number] != state:
            self._columns.state_since_ns[self.number] = int(now * NANO)
            self._table.set_state(self.number, state)

    def publish_capacity(self, requests: int) -> None:
        """Publish how many requests the server can work on at once."""
        self._columns.capacity[self.number] = requests

    def publish_foreign(self, requests: float) -> None:
        """Publish how many of its requests did not come through us."""
        self._columns.foreign_milli[self.number] = round(requests * MILLI)

    def publish_report(self, report: LoadReport, at_ns: int) -> None:
        """Publish the metrics of a server as scraped at a moment, of time.monotonic_ns()."""
        columns, row = self._columns, self.number
        usage = report.kv_cache_usage
        columns.running[row] = report.running
        columns.waiting[row] = report.waiting
        columns.kv_cache_ppm[row] = -1 if usage is None else round(usage * MICRO)
        columns.generation_tokens[row] = report.generation_tokens or 0
        columns.prefix_queries[row] = report.prefix_queries or 0
        columns.prefix_hits[row] = report.prefix_hits or 0
        columns.preemptions[row] = report.preemptions or 0
        columns.scraped_at_ns[row] = at_ns

    def count_scrape_failure(self) -> None:
        """Count a scrape that failed."""
        self._columns.scrape_failures[self.number] += 1

    def release(self) -> None:
        """Give the row up; the server has nothing in flight."""
        self._table.set_state(self.number, ServerState.FREE)
