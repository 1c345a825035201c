"""The layout of the score table: which cells there are, and where they lie.

    header | server columns, recent columns (supervisor) | worker 0: process, models, servers | ...

A column is a run of `rows` cells, one per server, so one counter of all servers is contiguous.
To add a column, add a field to one of the structs below: the layout follows from them.

They are dataclasses because a row as a reader sees it (`score_table.ServerSnapshot`) has the fields
of two of them; a msgspec struct has one base with fields only.
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Generic, NamedTuple, TypeVar

Cell = TypeVar("Cell")
"""`memoryview` where a struct says where the cells are, `int` where it holds their values."""
Grid = memoryview
"""Cells with two indices; a name of its own, since compiled code reads them without Python."""
Column = memoryview
"""Cells with one index, for the same reason."""

CELL_BYTES = 8
CACHE_LINE_CELLS = 8
"""Blocks of different writers start on their own cache line, or cores would fight over it."""

MAGIC = int.from_bytes(b"fastrt\0\0", "little")
HEADER_CELLS = CACHE_LINE_CELLS
STATES_VERSION = 4
"""Cell of the header that the supervisor raises after each change of a server's state."""


FIRST_BYTE_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Seconds from the end of a request to the first byte of its reply."""
DURATION_BOUNDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Seconds from the end of a request to the end of its reply."""


@dataclass(kw_only=True, eq=False)
class Histogram(Generic[Cell]):
    """How often a duration fell into each bucket, as in Prometheus but not cumulative."""

    buckets: tuple[Cell, ...]
    """One for each bound, up to and including it, and one for all above."""
    sum_us: Cell
    """Sum of the durations, in microseconds."""


class Parts(NamedTuple):
    """The columns that one field stands for."""

    names: tuple[str, ...]
    join: Callable[[Sequence[Any]], Any]
    """Makes the field's value of its columns."""


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
    """Per server, written by the supervisor."""

    state: Cell
    """A ServerState."""
    generation: Cell
    """Rises each time the row is given to another server."""
    capacity: Cell
    """max_concurrent_requests."""
    foreign_milli: Cell
    """Requests that did not come through us, in thousandths (rules.load.foreign)."""
    running: Cell
    """As last scraped, as are the next."""
    waiting: Cell
    kv_cache_ppm: Cell
    """KV cache in use, in millionths; -1 where it is not known."""
    generation_tokens: Cell
    prefix_queries: Cell
    prefix_hits: Cell
    preemptions: Cell
    scraped_at_ns: Cell
    """time.monotonic_ns() of the last good scrape; 0 for never."""
    scrape_failures: Cell
    state_since_ns: Cell
    """time.monotonic_ns() of the last change of state."""


@dataclass(kw_only=True, eq=False)
class RecentColumns(Generic[Cell]):
    """Per server, written by the supervisor: what happened in the last seconds."""

    milliseconds: Cell
    """In which `started` and `errors` were counted, over all workers; 0: not known (yet)."""
    started: Cell
    errors: Cell
    tokens_milliseconds: Cell
    """Between the two scrapes that `tokens` is the difference of; 0: not known (yet)."""
    tokens: Cell
    first_byte: tuple[Cell, ...] = field(metadata=_buckets(FIRST_BYTE_BOUNDS))
    """The buckets of a histogram, over a longer time: a quantile needs more than a rate does."""


@dataclass(kw_only=True, eq=False)
class ProcessCells(Generic[Cell]):
    """Per worker, written by that worker; as views they are one cell long."""

    pid: Cell
    beat_ns: Cell
    """time.monotonic_ns() of its last look at its deadlines; one that hangs looks no more."""
    client_connections: Cell
    """Open now."""
    requests_local: Cell
    """Answered by fastroute itself, as /health is."""
    requests_refused: Cell
    """Broken requests and those beyond max_connections, answered with an error of our own."""
    unrouted_503: Cell
    """No server was usable."""
    unknown_models: Cell
    """404 of our own: no server has the model."""
    draining: Cell
    """1 from the Drain message on."""
    records_lost: Cell
    """Ended requests that the supervisor could not be told of: it was too far behind."""


@dataclass(kw_only=True, eq=False)
class OutcomeCounters(Generic[Cell]):
    """How requests ended."""

    finished_2xx: Cell
    finished_3xx: Cell
    finished_4xx: Cell
    finished_5xx: Cell
    failed: Cell
    """The server gave no whole reply: connecting failed, EOF, silence."""


@dataclass(kw_only=True, eq=False)
class ServerCounters(OutcomeCounters[Cell]):
    """Per worker and server, written by that worker. All but `in_flight` only rise."""

    in_flight: Cell
    counted_generation: Cell
    """The generation of the server that the others count; the worker clears them for a new one."""
    started: Cell
    retries_connect: Cell
    """Attempts at this server that another attempt caused, because connecting failed there."""
    retries_reset: Cell
    """Because the connection ended without a byte of reply."""
    retries_busy: Cell
    """Because of a 429 or 503."""
    retries_failed: Cell
    """Because of a 502 or 504, or of a 500 while it stopped."""
    aborts_waiting: Cell
    """The client went away before the first byte of a reply."""
    aborts_replying: Cell
    connections_new: Cell
    connections_reused: Cell
    bytes_in: Cell
    """To the server."""
    bytes_out: Cell
    """To the client."""
    events: Cell
    """Segments of replies that were relayed."""
    first_byte: Histogram[Cell] = field(metadata=_histogram(FIRST_BYTE_BOUNDS))
    duration: Histogram[Cell] = field(metadata=_histogram(DURATION_BOUNDS))


@dataclass(kw_only=True, eq=False)
class ModelCounters(OutcomeCounters[Cell]):
    """Per worker and model, written by that worker, in `MODEL_SLOTS` cells each."""

    aborted: Cell
    """The client went away."""


MODEL_SLOTS = 64
"""Models that are counted apart; slot 0 is all others together, and requests that name none."""


class Block:
    """The columns of one of the structs above.

    Attributes:
        cells: Names of the fields that are one column each.
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
        """Return the values of the struct's fields by name, from those of its columns in order."""
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
WORKER_COLUMNS = COUNTED.columns
"""The per-server columns of a worker, in order."""


def _whole_lines(cells: int) -> int:
    return -(-cells // CACHE_LINE_CELLS) * CACHE_LINE_CELLS


# Within a worker's cells: those of the process come first, then the models', then the servers'.
MODELS_OFFSET = _whole_lines(len(PROCESS.columns))
COLUMNS_OFFSET = MODELS_OFFSET + _whole_lines(len(MODEL.columns) * MODEL_SLOTS)

_NAMES = [block.columns for block in (SERVER, RECENT, PROCESS, MODEL, COUNTED)]
CHECKSUM = zlib.crc32(repr((MODEL_SLOTS, _NAMES)).encode())
"""Differs between two fastroute versions whose tables have other columns."""


def total_cells(rows: int, workers: int) -> int:
    """Return the size of a table in cells."""
    return worker_start(rows, workers)


def recent_start(rows: int) -> int:
    """Return the cell at which the recent columns begin."""
    return HEADER_CELLS + len(SERVER.columns) * rows


def worker_start(rows: int, worker: int) -> int:
    """Return the cell at which those of a worker begin."""
    supervisor_block = _whole_lines((len(SERVER.columns) + len(RECENT.columns)) * rows)
    worker_block = COLUMNS_OFFSET + _whole_lines(len(COUNTED.columns) * rows)
    return HEADER_CELLS + supervisor_block + worker * worker_block
