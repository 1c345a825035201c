"""Rendering /load-stats, which shares a loop with the streams of a worker."""

from collections.abc import Iterator

import orjson
import pytest

from benchmarks.comparison import traffic
from fastroute.ipc.messages import ConfigState, RoutedServer
from fastroute.ipc.score_table import ScoreTable
from fastroute.rules.server_state import ServerState
from fastroute.views.load_stats import load_stats
from fastroute.views.view import View

NOW_NS = 5_000_000_000_000


@pytest.fixture
def table() -> Iterator[ScoreTable]:
    """Return an empty table for the maximum number of servers here."""
    made = ScoreTable.create(256, 1)
    yield made
    made.close()


def fill(table: ScoreTable, servers: int) -> tuple[RoutedServer, ...]:
    """Fill the table with servers, as the supervisor and a worker would."""
    columns, cells = table.servers, table.worker_cells(0)
    for row in range(servers):
        columns.state[row] = ServerState.UP
        columns.generation[row] = 1
        columns.capacity[row] = 64
        columns.running[row] = row % 5
        columns.scraped_at_ns[row] = NOW_NS - 1_000_000
        cells.in_flight[row] = row % 7
    return tuple(
        RoutedServer(
            row=row,
            generation=1,
            url=f"http://gpu-{row}:8000",
            max_concurrent_requests=64,
            models=(traffic.MODEL,),
        )
        for row in range(servers)
    )


def view_of(table: ScoreTable, servers: tuple[RoutedServer, ...]) -> View:
    return View(
        table=table.snapshot(),
        servers=servers,
        health={},
        config_state=ConfigState(),
        model_slots=(traffic.MODEL,),
        now_ns=NOW_NS,
        now_unix=1_767_225_600.25,
        started_at_unix=1_767_221_600.25,
        version="1.2.3",
    )


@pytest.mark.parametrize("servers", [8, 200])
def test_load_stats_render(benchmark, table, servers):
    routed = fill(table, servers)
    reply = benchmark(lambda: load_stats(view_of(table, routed)))
    assert [each["in_flight"] for each in orjson.loads(reply.body)["servers"]] == [
        row % 7 for row in range(servers)
    ]
