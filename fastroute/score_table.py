"""The score table: counters and server states in memory that supervisor and workers share.

A fixed grid of 8-byte signed cells in an anonymous memory file. Each cell has one writer, so there
are no locks: a count is `cells.in_flight[row] += 1` and a reader sums over the workers. Aligned
8-byte loads and stores do not tear on the machines we run on.

    header | server columns (supervisor) | worker 0: process cells, counters | worker 1: ...

A column is a run of `rows` cells, one per server, so one counter of all servers is contiguous.
To add a column, add a field to one of the three structs below: the layout follows from them.
"""

import enum
import mmap
import os
import zlib
from typing import Generic, Self, TypeVar

import msgspec

Cell = TypeVar("Cell")
"""`memoryview` where a struct says where the cells are, `int` where it holds their values."""

CELL_BYTES = 8
CACHE_LINE_CELLS = 8
"""Blocks of different writers start on their own cache line, or cores would fight over it."""

MAGIC = int.from_bytes(b"fastrt\0\0", "little")
HEADER_CELLS = CACHE_LINE_CELLS


class ServerState(enum.IntEnum):
    """What the supervisor says of a row; only UP and TRIAL rows get new requests."""

    FREE = 0
    UP = 1
    DOWN = 2
    DRAINING = 3
    TRIAL = 4


class ServerColumns(msgspec.Struct, Generic[Cell], kw_only=True, eq=False):
    """Per server, written by the supervisor."""

    state: Cell
    """A ServerState."""
    generation: Cell
    """Rises each time the row is given to another server."""
    capacity: Cell
    """max_concurrent_requests."""


class ProcessCells(msgspec.Struct, Generic[Cell], kw_only=True, eq=False):
    """Per worker, written by that worker; as views they are one cell long."""

    pid: Cell
    client_connections: Cell
    """Open now."""
    requests_local: Cell
    """Answered by fastroute itself, as /health is."""
    requests_refused: Cell
    """Broken requests, answered with a 4xx of our own."""
    unrouted_503: Cell
    """No server was usable."""
    draining: Cell
    """1 from the Drain message on."""


class ServerCounters(msgspec.Struct, Generic[Cell], kw_only=True, eq=False):
    """Per worker and server, written by that worker. All but `in_flight` only rise."""

    in_flight: Cell
    started: Cell
    finished_2xx: Cell
    finished_3xx: Cell
    finished_4xx: Cell
    finished_5xx: Cell
    failed: Cell
    """The server gave no whole reply: connecting failed, EOF, silence."""
    aborted: Cell
    """The client went away."""
    retries: Cell
    connections_new: Cell
    connections_reused: Cell
    bytes_in: Cell
    """To the server."""
    bytes_out: Cell
    """To the client."""
    events: Cell
    """Segments of replies that were relayed."""


SERVER_COLUMNS = ServerColumns.__struct_fields__
PROCESS_CELLS = ProcessCells.__struct_fields__
COUNTERS = ServerCounters.__struct_fields__

LAYOUT = zlib.crc32(repr((SERVER_COLUMNS, PROCESS_CELLS, COUNTERS)).encode())
"""Differs between two fastroute versions whose tables have other columns."""


class WorkerCells(ServerCounters[memoryview], kw_only=True, eq=False):
    """The cells of one worker: each counter a view of `rows` cells, plus those of the process."""

    process: ProcessCells[memoryview]


class ServerSnapshot(ServerCounters[int], kw_only=True, eq=False):
    """One server's row; counters are sums over the workers."""

    row: int
    state: ServerState
    generation: int
    capacity: int


class WorkerSnapshot(ProcessCells[int], kw_only=True, eq=False):
    """One worker's process cells."""

    index: int


class TableSnapshot(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """The whole table as plain values. Cells are read one after another, not at one instant."""

    servers: tuple[ServerSnapshot, ...]
    workers: tuple[WorkerSnapshot, ...]


class ScoreTable:
    """One process's view of the shared table.

    Attributes:
        fd: The memory file. Pass it to a child (`pass_fds`), which attaches to it.
        rows: How many servers fit.
        workers: How many workers fit.
        servers: The supervisor's columns. Set `state` last: it makes a row visible.
        in_flight_columns: The `in_flight` view of each worker.
    """

    __slots__ = ("_cells", "_mapping", "_views", "fd", "in_flight_columns", "rows", "servers",
                 "workers")  # fmt: skip

    def __init__(self, fd: int, rows: int, workers: int) -> None:
        """Map a table of known size; use `create` or `attach`."""
        self.fd = fd
        self.rows = rows
        self.workers = workers
        self._mapping = mmap.mmap(fd, _total_cells(rows, workers) * CELL_BYTES)
        self._cells = memoryview(self._mapping).cast("q")
        self._views: list[memoryview] = []
        self.servers: ServerColumns[memoryview] = ServerColumns(
            **self._columns(SERVER_COLUMNS, HEADER_CELLS, rows)
        )
        self.in_flight_columns = tuple(
            self._columns(COUNTERS[:1], self._counters_start(index), rows)["in_flight"]
            for index in range(workers)
        )

    @classmethod
    def create(cls, rows: int, workers: int) -> Self:
        """Make an empty table, all cells 0.

        Raises:
            OSError: No memory file can be made, as on systems other than Linux.
        """
        if not hasattr(os, "memfd_create"):
            raise OSError("fastroute needs Linux: this system has no memfd_create")
        fd = os.memfd_create("fastroute-score-table")
        os.ftruncate(fd, _total_cells(rows, workers) * CELL_BYTES)
        table = cls(fd, rows, workers)
        for cell, value in enumerate((MAGIC, LAYOUT, rows, workers)):
            table._cells[cell] = value
        return table

    @classmethod
    def attach(cls, fd: int) -> Self:
        """Open the table another process made; `fd` is ours to close from now on.

        Raises:
            ValueError: `fd` is no score table, or one of another fastroute version.
            OSError: `fd` cannot be read or mapped.
        """
        header = memoryview(os.pread(fd, HEADER_CELLS * CELL_BYTES, 0))
        if header.nbytes < HEADER_CELLS * CELL_BYTES or header.cast("q")[0] != MAGIC:
            raise ValueError(f"descriptor {fd} is not a fastroute score table")
        _, layout, rows, workers = header.cast("q").tolist()[:4]
        if layout != LAYOUT:
            raise ValueError("the score table belongs to another version of fastroute")
        if os.fstat(fd).st_size != _total_cells(rows, workers) * CELL_BYTES:
            raise ValueError("the score table is cut off")
        return cls(fd, rows, workers)

    def close(self) -> None:
        """Unmap and close. Every view handed out raises ValueError when used after this."""
        for view in self._views:
            view.release()
        self._cells.release()
        self._mapping.close()
        os.close(self.fd)

    def worker_cells(self, index: int) -> WorkerCells:
        """Return the cells of worker `index`, for that worker to write."""
        self._check_worker(index)
        start = self._counters_start(index)
        process = self._columns(PROCESS_CELLS, start - _process_block(), 1)
        return WorkerCells(
            process=ProcessCells(**process), **self._columns(COUNTERS, start, self.rows)
        )

    def clear_in_flight(self, worker: int) -> None:
        """Forget what a dead worker had open. Its rising counters stay, as they happened."""
        self._check_worker(worker)
        in_flight = self.in_flight_columns[worker]
        in_flight[:] = memoryview(bytes(in_flight.nbytes)).cast("q")
        process = self._counters_start(worker) - _process_block()
        self._cells[process + PROCESS_CELLS.index("client_connections")] = 0

    def in_flight_totals(self) -> list[int]:
        """Return the requests in flight per row, over all workers."""
        if self.workers == 1:
            return self.in_flight_columns[0].tolist()
        return list(map(sum, zip(*self.in_flight_columns, strict=True)))

    def snapshot(self) -> TableSnapshot:
        """Read the rows in use and all workers' cells."""
        states = self.servers.state.tolist()
        return TableSnapshot(
            servers=tuple(
                self._server_snapshot(row, ServerState(state))
                for row, state in enumerate(states)
                if state != ServerState.FREE
            ),
            workers=tuple(self._worker_snapshot(index) for index in range(self.workers)),
        )

    def _server_snapshot(self, row: int, state: ServerState) -> ServerSnapshot:
        starts = [self._counters_start(index) for index in range(self.workers)]
        sums = {
            name: sum(self._cells[start + column * self.rows + row] for start in starts)
            for column, name in enumerate(COUNTERS)
        }
        return ServerSnapshot(
            row=row,
            state=state,
            generation=self.servers.generation[row],
            capacity=self.servers.capacity[row],
            **sums,
        )

    def _worker_snapshot(self, index: int) -> WorkerSnapshot:
        start = self._counters_start(index) - _process_block()
        values = self._cells[start : start + len(PROCESS_CELLS)].tolist()
        return WorkerSnapshot(index=index, **dict(zip(PROCESS_CELLS, values, strict=True)))

    def _counters_start(self, worker: int) -> int:
        block = _worker_block(self.rows)
        return HEADER_CELLS + _server_block(self.rows) + worker * block + _process_block()

    def _columns(self, names: tuple[str, ...], start: int, length: int) -> dict[str, memoryview]:
        columns = {
            name: self._cells[start + i * length : start + (i + 1) * length]
            for i, name in enumerate(names)
        }
        self._views.extend(columns.values())
        return columns

    def _check_worker(self, index: int) -> None:
        # A negative index would silently reach into another writer's cells.
        if not 0 <= index < self.workers:
            raise IndexError(f"no worker {index} in a table for {self.workers}")


def _total_cells(rows: int, workers: int) -> int:
    return HEADER_CELLS + _server_block(rows) + workers * _worker_block(rows)


def _server_block(rows: int) -> int:
    return _whole_lines(len(SERVER_COLUMNS) * rows)


def _process_block() -> int:
    return _whole_lines(len(PROCESS_CELLS))


def _worker_block(rows: int) -> int:
    return _process_block() + _whole_lines(len(COUNTERS) * rows)


def _whole_lines(cells: int) -> int:
    return -(-cells // CACHE_LINE_CELLS) * CACHE_LINE_CELLS
