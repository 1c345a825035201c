"""The supervisor: keeps the workers running, tells them what to route to, and ends them in order.

Its life has three parts, each begun by a signal or by the start:

    running      a worker that dies is replaced
    draining     from the first SIGTERM or SIGINT: nobody new is accepted, answers finish, at most
                 `drain_timeout`
    ended        from a second signal: workers are killed
"""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable

from fastroute.config import Config
from fastroute.control.worker_process import WorkerProcess, WorkerSpec, exit_text
from fastroute.messages import Configure, Drain, RoutedServer
from fastroute.score_table import ScoreTable, ServerState

MIN_ROWS = 256
"""Rows of the score table; spare ones are for servers that a reload adds."""

SHORT_LIFE = 5.0
"""Seconds. A worker that dies younger is taken to be broken rather than unlucky."""

MAX_RESPAWN_DELAY = 5.0
"""Seconds."""

START_TIMEOUT = 30.0
"""Seconds in which a worker must be ready; it takes well under one."""

FAILED_STARTS = 3
"""After so many, with no worker ever ready, the program is broken and says so."""

DRAIN_GRACE = 1.0
"""Seconds beyond `drain_timeout` that workers have to end by themselves."""

log = logging.getLogger("supervisor")


def create_table(config: Config, workers: int) -> ScoreTable:
    """Make the score table for these servers, with room for as many again."""
    return ScoreTable.create(rows=max(MIN_ROWS, 2 * len(config.servers)), workers=workers)


def respawn_delay(short_lives: int) -> float:
    """Return how many seconds to wait before a dead worker is replaced.

    Args:
        short_lives: How many of its predecessors in a row died young. After the first there is
            no wait; then 0.1 s, doubling.
    """
    return 0.0 if short_lives <= 1 else min(MAX_RESPAWN_DELAY, 0.1 * 2 ** min(short_lives - 2, 10))


class Supervisor:
    """The workers of one `fastroute run`, one for each listening socket."""

    def __init__(
        self,
        config: Config,
        listeners: list[socket.socket],
        *,
        log_level: str,
        announce: Callable[[], None],
    ) -> None:
        """Prepare to run, without starting anything.

        Args:
            config: Servers and settings.
            listeners: Listening sockets, one for each worker; ours to close from now on.
            log_level: Passed on to the workers.
            announce: Called once, when all workers accept clients.
        """
        self._config = config
        self._listeners = listeners
        self._log_level = log_level
        self._announce = announce
        self._table = create_table(config, len(listeners))
        self._servers = self._publish_servers()
        self._workers: dict[int, WorkerProcess] = {}
        self._were_ready: set[int] = set()
        self._stopping = asyncio.Event()
        self._exit_code = 0

    async def run(self) -> int:
        """Run until a signal ends it.

        Returns:
            The exit code of the program: 0 after draining, 1 when no worker could be started,
            128 plus the signal's number when a second signal came.
        """
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, self._signal_received, signum)
        try:
            async with asyncio.TaskGroup() as keepers:
                for index in range(len(self._listeners)):
                    keepers.create_task(self._keep_worker(index))
        finally:
            self._kill_workers()
            self._close_listeners()
            self._table.close()
        return self._exit_code

    async def _keep_worker(self, index: int) -> None:
        """Have a worker run in this place until the supervisor stops."""
        loop = asyncio.get_running_loop()
        starts = short_lives = 0
        while not self._stopping.is_set():
            born = loop.time()
            starts += 1
            await self._run_worker(index)
            if starts >= FAILED_STARTS and not self._were_ready:
                self._give_up()
                return
            short_lives = short_lives + 1 if loop.time() - born < SHORT_LIFE else 0
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(respawn_delay(short_lives)):
                    await self._stopping.wait()

    async def _run_worker(self, index: int) -> None:
        """Run one worker from its start to its end."""
        spec = WorkerSpec(
            index=index,
            listen_fd=self._listeners[index].fileno(),
            table_fd=self._table.fd,
            log_level=self._log_level,
        )
        try:
            worker = await WorkerProcess.start(spec, self._worker_ready)
        except OSError as error:
            log.error("worker %d cannot be started: %s", index, error.strerror)
            return
        self._workers[index] = worker
        worker.send(Configure(config=self._config, servers=self._servers))
        if self._stopping.is_set():
            # The signal came while the process was being made.
            worker.kill()
        overdue = asyncio.get_running_loop().call_later(START_TIMEOUT, self._start_overdue, worker)
        code = await worker.wait()
        overdue.cancel()
        del self._workers[index]
        lost = sum(self._table.in_flight_columns[index])
        self._table.clear_in_flight(index)
        if code != 0 or not self._stopping.is_set():
            how = exit_text(code)
            log.error("%s died: %s; requests in flight: %d", worker.name, how, lost)

    def _worker_ready(self, worker: WorkerProcess) -> None:
        log.info("%s accepts clients", worker.name)
        everybody = len(self._listeners)
        missing_before = everybody - len(self._were_ready)
        self._were_ready.add(worker.index)
        if missing_before and len(self._were_ready) == everybody and not self._stopping.is_set():
            self._announce()

    def _start_overdue(self, worker: WorkerProcess) -> None:
        if not worker.was_ready:
            log.error("%s is not ready after %g s", worker.name, START_TIMEOUT)
            worker.kill()

    def _signal_received(self, signum: signal.Signals) -> None:
        if self._stopping.is_set():
            log.warning("%s again: ending at once", signum.name)
            self._exit_code = 128 + signum
            self._kill_workers()
            return
        timeout = self._config.drain_timeout
        in_flight = sum(self._table.in_flight_totals())
        log.info(
            "%s: draining; requests in flight: %d, time for them: %g s; again to end at once",
            *(signum.name, in_flight, timeout),
        )
        self._stopping.set()
        self._close_listeners()
        for worker in self._workers.values():
            worker.send(Drain())
        asyncio.get_running_loop().call_later(timeout + DRAIN_GRACE, self._kill_workers)

    def _give_up(self) -> None:
        if self._stopping.is_set():
            return
        log.critical("no worker could be started %d times over; giving up", FAILED_STARTS)
        self._exit_code = 1
        self._stopping.set()
        self._kill_workers()

    def _kill_workers(self) -> None:
        for worker in self._workers.values():
            worker.kill()

    def _close_listeners(self) -> None:
        for listener in self._listeners:
            listener.close()

    def _publish_servers(self) -> tuple[RoutedServer, ...]:
        """Give each server its row of the score table."""
        columns = self._table.servers
        routed = []
        for row, server in enumerate(self._config.servers):
            columns.generation[row] = 1
            columns.capacity[row] = server.max_concurrent_requests
            columns.state[row] = ServerState.UP
            routed.append(
                RoutedServer(
                    row=row,
                    generation=1,
                    url=server.url,
                    max_concurrent_requests=server.max_concurrent_requests,
                )
            )
        return tuple(routed)
