import pytest

from fastroute.control.fleet.rates import FIRST_BYTE_WINDOW_NS, Recent, forget
from fastroute.ipc.score_table import ScoreTable
from fastroute.ipc.table_layout import RECENT_COUNTS
from fastroute.rules.server_state import ServerState

SECOND_NS = 1_000_000_000
NOTHING = dict.fromkeys(RECENT_COUNTS, 0)


class Watched:
    """A table with one server, two workers that count, and time that passes as told."""

    def __init__(self, table: ScoreTable) -> None:
        self.table = table
        self.now_ns = 1000 * SECOND_NS
        self.workers = [table.worker_cells(index) for index in range(2)]
        table.servers.state[0] = ServerState.UP
        table.servers.generation[0] = 1
        self.recent = Recent(table, lambda: self.now_ns)
        self.recent.tick()

    def second(self, *, started: int = 0, failed: int = 0, tokens: int | None = None) -> None:
        """Let a second pass in which each worker counts these; with tokens, it was scraped."""
        for cells in self.workers:
            cells.started[0] += started
            cells.failed[0] += failed
            cells.first_byte.buckets[3][0] += started
        if tokens is not None:
            self.table.servers.generation_tokens[0] += tokens
            self.table.servers.scraped_at_ns[0] = self.now_ns + SECOND_NS // 2
        self.now_ns += SECOND_NS
        self.recent.tick()

    def counts(self) -> dict[str, int]:
        return {name: getattr(self.table.recent, name)[0] for name in RECENT_COUNTS}

    def first_bytes(self) -> int:
        return sum(bucket[0] for bucket in self.table.recent.first_byte)


@pytest.fixture(name="watched")
def watched_fixture():
    table = ScoreTable.create(rows=2, workers=2)
    yield Watched(table)
    table.close()


def test_nothing_is_known_at_first(watched):
    assert watched.counts() == NOTHING


def test_all_workers_are_counted_from_the_first_second_on(watched):
    watched.second(started=3, failed=1)
    assert watched.counts() == NOTHING | {"milliseconds": 1000, "started": 6, "errors": 2}
    watched.second(started=3)
    assert watched.counts() == NOTHING | {"milliseconds": 2000, "started": 12, "errors": 2}


def test_rates_are_of_five_seconds(watched):
    watched.second(started=50, failed=9)
    for _ in range(5):
        watched.second(started=1)
    assert watched.counts() == NOTHING | {"milliseconds": 5000, "started": 10}


def test_first_bytes_are_of_thirty_seconds(watched):
    watched.second(started=50)
    for _ in range(29):
        watched.second(started=1)
    assert watched.first_bytes() == 2 * 79
    watched.second(started=1)
    assert watched.first_bytes() == 2 * 30


def test_ticks_between_two_seconds_change_nothing(watched):
    watched.second(started=1)
    watched.now_ns += SECOND_NS // 2
    watched.workers[0].started[0] += 7
    watched.recent.tick()
    assert watched.counts()["started"] == 2


def test_after_a_pause_it_is_compared_with_what_was_before(watched):
    watched.second(started=1)
    watched.now_ns += 60 * SECOND_NS
    watched.second(started=1)
    assert watched.counts() == NOTHING | {"milliseconds": 61_000, "started": 2}


class TestUnrouted:
    def second(self, watched, *counts: int) -> float | None:
        """Let a second pass in which the workers count these; return the rate then."""
        for cells, count in zip(watched.workers, counts, strict=True):
            cells.process.unrouted_503[0] += count
        watched.second()
        return watched.recent.unrouted.per_second

    def test_of_five_seconds_and_all_workers(self, watched):
        assert watched.recent.unrouted.per_second is None
        assert self.second(watched, 1, 3) == 4.0
        assert self.second(watched, 0, 2) == 3.0
        assert [self.second(watched, 0, 0) for _ in range(5)] == [2.0, 1.5, 1.2, 0.4, 0.0]


class TestTokens:
    def test_between_scrapes(self, watched):
        for _ in range(9):
            watched.second(tokens=100)
        counts = watched.counts()
        assert (counts["tokens"], counts["tokens_milliseconds"]) == (500, 5000)

    def test_not_known_with_one_scrape(self, watched):
        watched.second(tokens=100)
        assert watched.counts()["tokens_milliseconds"] == 0

    def test_rare_scrapes(self, watched):
        for second in range(41):
            watched.second(tokens=1000 if second % 10 == 0 else None)
        counts = watched.counts()
        assert (counts["tokens"], counts["tokens_milliseconds"]) == (1000, 10_000)

    def test_a_server_started_anew_counts_from_there(self, watched):
        for tokens in (100, 100, 100, -290, 30, 30):
            watched.second(tokens=tokens)
        counts = watched.counts()
        assert (counts["tokens"], counts["tokens_milliseconds"]) == (60, 2000)

    def test_not_known_when_scrapes_have_ended(self, watched):
        for _ in range(6):
            watched.second(tokens=100)
        for _ in range(11):
            watched.second()
        assert watched.counts()["tokens_milliseconds"] == 0


class TestRows:
    def test_another_server_in_the_row_begins_anew(self, watched):
        for _ in range(3):
            watched.second(started=5)
        watched.table.servers.generation[0] += 1
        for cells in watched.workers:
            cells.started[0] = 0
        watched.second(started=1)
        assert watched.counts() == NOTHING
        assert watched.first_bytes() == 0
        watched.second(started=1)
        assert watched.counts() == NOTHING | {"milliseconds": 1000, "started": 2}

    def test_cleared_late_by_a_worker(self, watched):
        watched.second(started=5)
        for cells in watched.workers:
            cells.started[0] = 0
        watched.second()
        assert watched.counts() == NOTHING

    def test_a_server_that_is_gone_is_forgotten(self, watched):
        watched.second(started=5)
        watched.table.servers.state[0] = ServerState.FREE
        watched.second()
        watched.table.servers.state[0] = ServerState.UP
        watched.second(started=1)
        assert watched.counts() == NOTHING

    def test_forget(self, watched):
        watched.second(started=5, failed=1, tokens=3)
        watched.second(started=5, failed=1, tokens=3)
        assert all(watched.counts().values())
        forget(watched.table.recent, 0)
        assert watched.counts() == NOTHING
        assert watched.first_bytes() == 0


def test_samples_are_bounded(watched):
    for _ in range(200):
        watched.second(started=1, tokens=1)
    (samples,) = watched.recent._samples.values()
    assert len(samples) == FIRST_BYTE_WINDOW_NS // SECOND_NS + 1
