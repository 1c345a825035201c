"""Views for tests, and the example in docs/endpoints.md."""

from typing import Any

from fastroute.ipc.messages import (
    ConfigState,
    FollowedName,
    RoutedServer,
    ServerHealth,
    StateReason,
)
from fastroute.ipc.score_table import ServerSnapshot, TableSnapshot, WorkerSnapshot
from fastroute.ipc.table_layout import (
    COUNTERS,
    DURATION_BOUNDS,
    FIRST_BYTE_BOUNDS,
    LOOP_LAG_BOUNDS,
    MODEL_COUNTERS,
    MODEL_SLOTS,
    PROCESS_CELLS,
    RECENT_COUNTS,
    SERVER_COLUMNS,
    Histogram,
    ModelCounters,
    RecentColumns,
)
from fastroute.rules.server_state import ServerState
from fastroute.views.view import View

SECOND_NS = 1_000_000_000
NOW_NS = 5_000 * SECOND_NS
NOW_UNIX = 1_767_225_600.25  # 2026-01-01T00:00:00.25Z


def histogram(bounds: tuple[float, ...], **counts: Any) -> Histogram[int]:
    """Return a histogram with counts by bucket, such as `at_3=2`, and `sum_us`."""
    buckets = tuple(counts.get(f"at_{i}", 0) for i in range(len(bounds) + 1))
    return Histogram(buckets=buckets, sum_us=counts.get("sum_us", 0))


def recent(first_byte: Histogram[int] | None = None, **counts: int) -> RecentColumns[int]:
    """Return recent figures; those not given are zero."""
    buckets = (first_byte or histogram(FIRST_BYTE_BOUNDS)).buckets
    return RecentColumns(**(dict.fromkeys(RECENT_COUNTS, 0) | counts), first_byte=buckets)


def row(number: int, state: ServerState = ServerState.UP, **cells: Any) -> ServerSnapshot:
    """Return a row of generation 1, scraped a second ago, with counters at zero."""
    values: dict[str, Any] = dict.fromkeys((*SERVER_COLUMNS, *COUNTERS), 0)
    values |= {
        "generation": 1,
        "capacity": 8,
        "scraped_at_ns": NOW_NS - SECOND_NS,
        "state_since_ns": NOW_NS - 60 * SECOND_NS,
        "first_byte": histogram(FIRST_BYTE_BOUNDS),
        "duration": histogram(DURATION_BOUNDS),
        "recent": recent(),
    }
    return ServerSnapshot(row=number, **(values | {"state": state} | cells))


def routed(number: int, url: str | None = None, **fields: Any) -> RoutedServer:
    values: dict[str, Any] = {"generation": 1, "max_concurrent_requests": 8}
    return RoutedServer(row=number, url=url or f"http://gpu-{number}:8000", **(values | fields))


def model_counters(**counts: int) -> ModelCounters[int]:
    return ModelCounters(**(dict.fromkeys(MODEL_COUNTERS, 0) | counts))


def worker(index: int, **cells: Any) -> WorkerSnapshot:
    values: dict[str, Any] = dict.fromkeys(PROCESS_CELLS, 0)
    values["loop_lag"] = histogram(LOOP_LAG_BOUNDS)
    return WorkerSnapshot(index=index, **(values | cells))


def table(
    *rows: ServerSnapshot,
    workers: tuple[WorkerSnapshot, ...] = (),
    models: tuple[ModelCounters[int], ...] = (),
) -> TableSnapshot:
    missing = (model_counters(),) * (MODEL_SLOTS - len(models))
    return TableSnapshot(servers=rows, workers=workers, models=models + missing)


def view(
    *rows: ServerSnapshot, servers: tuple[RoutedServer, ...] | None = None, **fields: Any
) -> View:
    """Return a view of rows, by default with one server per row."""
    values: dict[str, Any] = {
        "table": table(*rows),
        "servers": tuple(routed(r.row) for r in rows) if servers is None else servers,
        "health": {},
        "config_state": ConfigState(),
        "now_ns": NOW_NS,
        "now_unix": NOW_UNIX,
        "started_at_unix": NOW_UNIX - 4_000,
        "version": "1.2.3",
    }
    return View(**(values | fields))


def view_of_states(*states: ServerState) -> View:
    return view(*(row(number, state) for number, state in enumerate(states)))


def example_view() -> View:
    """Return a view of two servers with all fields set; the second is down and never scraped."""
    busy = row(
        0,
        capacity=8,
        foreign_milli=1500,
        running=4,
        waiting=1,
        kv_cache_ppm=312_500,
        generation_tokens=481_516,
        prefix_queries=90_000,
        prefix_hits=61_000,
        preemptions=2,
        scraped_at_ns=NOW_NS - SECOND_NS // 4,
        in_flight=3,
        started=1204,
        finished_2xx=1190,
        finished_4xx=7,
        finished_5xx=1,
        aborts_waiting=1,
        aborts_replying=2,
        connections_new=12,
        connections_reused=1192,
        bytes_in=1_843_200,
        bytes_out=98_304_000,
        events=402_711,
        retries_connect=2,
        first_byte=histogram(
            FIRST_BYTE_BOUNDS, at_3=700, at_4=400, at_7=98, at_8=3, sum_us=71_000_000
        ),
        duration=histogram(DURATION_BOUNDS, at_4=900, at_6=280, at_9=21, sum_us=912_000_000),
        recent=recent(
            histogram(FIRST_BYTE_BOUNDS, at_3=70, at_4=40, at_7=12, at_8=1),
            milliseconds=5_000,
            started=21,
            tokens_milliseconds=5_000,
            tokens=1_050,
        ),
    )
    down = row(
        1,
        ServerState.DOWN,
        capacity=4,
        scraped_at_ns=0,
        scrape_failures=17,
        state_since_ns=NOW_NS - 20 * SECOND_NS,
        started=2,
        failed=2,
        kv_cache_ppm=-1,
    )
    servers = (
        routed(0, "http://gpu-server-1:8081", models=("llama3.1:8b", "sql-lora")),
        routed(
            1,
            "https://gpu-server-2:8088",
            max_concurrent_requests=4,
        ),
    )
    health = {
        servers[0].url: ServerHealth(
            last_check=NOW_UNIX - 4,
            avg_response_time=0.0031,
            last_response_time=0.0029,
            total_checks=400,
            models_last_updated=NOW_UNIX - 11,
        ),
        servers[1].url: ServerHealth(
            last_check=NOW_UNIX - 1.5, consecutive_failures=12, success_rate=0.0, total_checks=12
        ),
    }
    return view(
        servers=servers,
        table=table(
            busy,
            down,
            workers=(
                worker(0, pid=4711, client_connections=5, requests_local=88, requests_refused=1),
            ),
            models=(
                model_counters(finished_2xx=90, finished_4xx=7),
                model_counters(finished_2xx=1100, finished_5xx=1, failed=2, aborted=3),
            ),
        ),
        health=health,
        reasons=(
            StateReason(
                row=1,
                since_ns=down.state_since_ns,
                text="connecting failed: Connection refused",
            ),
        ),
        config_state=ConfigState(
            source="servers.toml",
            loaded_at=NOW_UNIX - 300,
            sha256="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            reloads=1,
            failures=1,
            error="servers.toml: health_check_interval must be a number of seconds from 0.001",
        ),
        names=(
            FollowedName(
                url="http+dns://vllm-headless:8000",
                warning="it cannot be resolved: Temporary failure in name resolution",
            ),
        ),
        model_slots=("llama3.1:8b",),
        unrouted_per_second=0.0,
        aliases={"gpt-4o": "llama3.1:8b"},
    )
