"""The layout of the score table: its cells and their positions.

    header | server columns, recent columns (supervisor) | worker 0: process, models, servers,
    proofs | ...

A column is a run of `rows` cells, one per server, so one counter of all servers is contiguous.
To add a column, add a field to one of the structs below: the layout derives from them.

They are dataclasses because a row as a reader sees it (`score_table.ServerSnapshot`) inherits the
fields of two of them; a msgspec struct can inherit fields from one base only.
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Generic, NamedTuple, TypeVar

Cell = TypeVar("Cell")
"""`memoryview` if a struct refers to the cells, `int` if it holds their values."""
Grid = memoryview
"""Cells with two indices; a separate name, because compiled code accesses them without Python."""
Column = memoryview
"""Cells with one index; a separate name for the same reason."""

CELL_BYTES = 8
CACHE_LINE_CELLS = 8
"""Cells of a cache line. Blocks of different writers share no line, to avoid false sharing."""

MAGIC = int.from_bytes(b"fastrt\0\0", "little")
HEADER_CELLS = CACHE_LINE_CELLS
STATES_VERSION = 4
"""Cell of the header that the supervisor increments after each change of a server's state."""


FIRST_BYTE_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Seconds from the end of a request to the first byte of its response."""
DURATION_BOUNDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Seconds from the end of a request to the end of its response."""

LOOP_LAG_BOUNDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Seconds by which a timer of a worker's event loop was late."""


@dataclass(kw_only=True, eq=False)
class Histogram(Generic[Cell]):
    """Counts of durations per bucket, as in Prometheus but not cumulative."""

    buckets: tuple[Cell, ...]
    """One count for each bound, up to and including it, and one for all durations above."""
    sum_us: Cell
    """Sum of the durations, in microseconds."""


class Parts(NamedTuple):
    """The columns of one field."""

    names: tuple[str, ...]
    join: Callable[[Sequence[Any]], Any]
    """Makes the field's value from its columns."""


def _buckets(bounds: tuple[float, ...]) -> dict[str, Parts]:
    """Return the metadata of a field that holds a histogram's buckets."""
    return {"parts": Parts(tuple(map(str, range(len(bounds) + 1))), tuple)}


def _histogram(bounds: tuple[float, ...]) -> dict[str, Parts]:
    """Return the metadata of a field that holds a histogram."""

    def join(columns: Sequence[Any]) -> Histogram[Any]:
        return Histogram(buckets=tuple(columns[:-1]), sum_us=columns[-1])

    names = (*map(str, range(len(bounds) + 1)), "sum_us")
    return {"parts": Parts(names, join)}


@dataclass(kw_only=True, eq=False)
class ServerColumns(Generic[Cell]):
    """Columns per server, written by the supervisor."""

    state: Cell
    """A ServerState."""
    generation: Cell
    """Number that increases each time the row gets another server."""
    capacity: Cell
    """max_concurrent_requests."""
    foreign_milli: Cell
    """Requests that did not come through fastroute, in thousandths (rules.load.foreign_load)."""
    running: Cell
    """Requests that ran at the last scrape; the following columns are of that scrape, too."""
    waiting: Cell
    kv_cache_ppm: Cell
    """KV cache in use, in millionths; -1 if unknown."""
    generation_tokens: Cell
    prefix_queries: Cell
    prefix_hits: Cell
    preemptions: Cell
    scraped_at_ns: Cell
    """time.monotonic_ns() of the last successful scrape; 0 for never."""
    scrape_failures: Cell
    state_since_ns: Cell
    """time.monotonic_ns() of the last change of state."""
    trial_beside: Cell
    """Most requests in flight, over all workers, beside which one more may be sent on trial."""


@dataclass(kw_only=True, eq=False)
class RecentColumns(Generic[Cell]):
    """Columns per server about the last seconds, written by the supervisor."""

    milliseconds: Cell
    """Period in which `started` and `errors` were counted, over all workers; 0 if unknown."""
    started: Cell
    errors: Cell
    tokens_milliseconds: Cell
    """Time between the two scrapes of which `tokens` is the difference; 0 if unknown."""
    tokens: Cell
    first_byte: tuple[Cell, ...] = field(metadata=_buckets(FIRST_BYTE_BOUNDS))
    """Buckets of a histogram over a longer period: a quantile needs more samples than a rate."""


@dataclass(kw_only=True, eq=False)
class ProcessCells(Generic[Cell]):
    """Cells per worker, written by that worker; each view has one cell."""

    pid: Cell
    beat_ns: Cell
    """Heartbeat: time.monotonic_ns() of its last timer tick."""
    client_connections: Cell
    """Client connections that are open now."""
    requests_local: Cell
    """Requests for fastroute's own endpoints, such as /health."""
    requests_refused: Cell
    """Invalid requests and connections beyond max_connections, refused with an error."""
    unrouted_503: Cell
    """Requests answered with 503 because no server was usable."""
    unknown_models: Cell
    """Requests answered with 404 because no server has the model."""
    draining: Cell
    """1 from the Drain message on, else 0."""
    records_lost: Cell
    """Records that were dropped because the supervisor was too far behind."""
    models_unsearched: Cell
    """Requests in which the search for the model reached its limit."""
    slowest_read_us: Cell
    """Longest time for one large read of a client or one pipelined request, in microseconds."""
    slowest_endpoint_us: Cell
    """Longest time for one of fastroute's own endpoints."""
    slowest_message_us: Cell
    """Longest time for one message of the supervisor."""
    slowest_timer_us: Cell
    """Longest time for one timer tick, in which all deadlines are checked."""
    loop_lag: Histogram[Cell] = field(metadata=_histogram(LOOP_LAG_BOUNDS))
    """Lateness of a timer of the event loop."""


@dataclass(kw_only=True, eq=False)
class OutcomeCounters(Generic[Cell]):
    """Counters of requests by their ending."""

    finished_2xx: Cell
    finished_3xx: Cell
    finished_4xx: Cell
    finished_5xx: Cell
    failed: Cell
    """Requests without a complete response: connecting failed, EOF, timeout."""


@dataclass(kw_only=True, eq=False)
class ServerCounters(OutcomeCounters[Cell]):
    """Counters per worker and server, written by that worker; only `OPEN_COUNTS` decrease."""

    in_flight: Cell
    excused: Cell
    """Those of `in_flight` that do not wait for the server: their client does not read, or their
    path is not one of inference. An engine may be idle while it has them."""
    counted_generation: Cell
    """Generation of the counted server; the worker clears the counters for a new server."""
    started: Cell
    retries_connect: Cell
    """Retries at this server after another server could not be connected."""
    retries_reset: Cell
    """Retries after a connection that ended without a byte of the response."""
    retries_busy: Cell
    """Retries after a 429 or 503."""
    retries_failed: Cell
    """Retries after a 502 or 504, or after a 500 of a server that was stopping."""
    aborts_waiting: Cell
    """Requests whose client disconnected before the first byte of the response."""
    aborts_replying: Cell
    """Requests whose client disconnected later."""
    connections_new: Cell
    connections_reused: Cell
    bytes_in: Cell
    """Bytes sent to the server."""
    bytes_out: Cell
    """Bytes sent to clients."""
    events: Cell
    """Segments of good responses to inference requests that were forwarded."""
    first_byte: Histogram[Cell] = field(metadata=_histogram(FIRST_BYTE_BOUNDS))
    duration: Histogram[Cell] = field(metadata=_histogram(DURATION_BOUNDS))


@dataclass(kw_only=True, eq=False)
class ModelCounters(OutcomeCounters[Cell]):
    """Counters per worker and model, written by that worker, `MODEL_SLOTS` cells each."""

    aborted: Cell
    """Requests whose client disconnected."""


MODEL_SLOTS = 64
"""Number of model slots; slot 0 counts all other models and requests without a model."""


class Block:
    """The columns of one of the structs above.

    Attributes:
        cells: Names of the fields that have one column each.
        columns: Names of all columns, in order: `cells`, then the parts of each histogram.
    """

    __slots__ = ("_histograms", "cells", "columns")

    def __init__(self, struct: type) -> None:
        """Read the fields of a struct."""
        parts = {each.name: each.metadata.get("parts") for each in fields(struct)}
        self.cells = tuple(name for name, several in parts.items() if several is None)
        self.columns = self.cells
        self._histograms: list[tuple[str, slice, Callable[[Sequence[Any]], Any]]] = []
        for name, several in parts.items():
            if several is not None:
                start = len(self.columns)
                self.columns += tuple(f"{name}_{part}" for part in several.names)
                self._histograms.append((name, slice(start, len(self.columns)), several.join))

    def group(self, columns: Sequence[Any]) -> dict[str, Any]:
        """Return the values of the struct's fields by name, given the values of its columns."""
        values = dict(zip(self.cells, columns, strict=False))
        for name, parts, join in self._histograms:
            values[name] = join(columns[parts])
        return values


SERVER = Block(ServerColumns)
RECENT = Block(RecentColumns)
PROCESS = Block(ProcessCells)
MODEL = Block(ModelCounters)
COUNTED = Block(ServerCounters)

SERVER_COLUMNS = SERVER.columns
RECENT_COUNTS = RECENT.cells
PROCESS_CELLS = PROCESS.cells
MODEL_COUNTERS = MODEL.cells
COUNTERS = COUNTED.cells
OPEN_COUNTS = ("in_flight", "excused")
"""Those of `COUNTERS` that count what is open now, and end with their worker."""
WORKER_COLUMNS = COUNTED.columns
"""Per-server columns of a worker, in order."""


def _whole_lines(cells: int) -> int:
    return -(-cells // CACHE_LINE_CELLS) * CACHE_LINE_CELLS


# Order of a worker's cells: process cells, model counters, server counters, proofs.
MODELS_OFFSET = _whole_lines(len(PROCESS.columns))
COLUMNS_OFFSET = MODELS_OFFSET + _whole_lines(len(MODEL.columns) * MODEL_SLOTS)


def proofs_offset(rows: int) -> int:
    """Return the first of the cells of a worker that count proofs.

    They have two indices, model slot and row: good responses (2xx, 3xx) to inference requests.
    """
    return COLUMNS_OFFSET + _whole_lines(len(COUNTED.columns) * rows)


_NAMES = [block.columns for block in (SERVER, RECENT, PROCESS, MODEL, COUNTED)]
CHECKSUM = zlib.crc32(repr((MODEL_SLOTS, _NAMES, "proofs")).encode())
"""Checksum of the layout; it differs between fastroute versions with different columns."""


def total_cells(rows: int, workers: int) -> int:
    """Return the size of a table in cells."""
    return worker_start(rows, workers)


def recent_start(rows: int) -> int:
    """Return the first cell of the recent columns."""
    return HEADER_CELLS + len(SERVER.columns) * rows


def worker_start(rows: int, worker: int) -> int:
    """Return the first cell of a worker."""
    supervisor_block = _whole_lines((len(SERVER.columns) + len(RECENT.columns)) * rows)
    worker_block = proofs_offset(rows) + _whole_lines(MODEL_SLOTS * rows)
    return HEADER_CELLS + supervisor_block + worker * worker_block
