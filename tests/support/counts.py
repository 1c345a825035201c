"""A worker's counts, with the totals that views make of several columns."""

from fastroute.ipc.score_table import WorkerCells

SUMS = {
    "retries": ("retries_connect", "retries_reset", "retries_busy", "retries_failed"),
    "aborted": ("aborts_waiting", "aborts_replying"),
}
ENDINGS = (
    *("finished_2xx", "finished_3xx", "finished_4xx", "finished_5xx"),
    *("failed", "aborted"),
)
"""Each attempt is counted in one of them."""


def counts(cells: WorkerCells, counter: str) -> list[int]:
    """A counter of all servers, by row."""
    columns = [getattr(cells, name).tolist() for name in SUMS.get(counter, (counter,))]
    return list(map(sum, zip(*columns, strict=True)))
