"""The pool of workers: starts and watches them, replaces those that die, and stops them."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable

from fastroute.control.workers.activity import activity_of
from fastroute.control.workers.launch import Launch
from fastroute.control.workers.process import Reports, WorkerProcess, exit_text
from fastroute.control.workers.watchdog import Watchdog
from fastroute.ipc.messages import Drain, Message
from fastroute.rules.liveness import Patience

SHORT_LIFE = 5.0
"""Lifetime in seconds below which a worker counts as broken and is replaced with a delay."""

MAX_RESPAWN_DELAY = 5.0
"""Maximum delay in seconds before a worker is replaced."""

START_TIMEOUT = 30.0
"""Timeout in seconds for a worker to become ready; it normally takes less than one."""

FAILED_STARTS = 3
"""Number of failed starts, without any worker that was ready, after which the pool gives up."""

PATIENCE = Patience()

log = logging.getLogger("supervisor")


def respawn_delay(short_lives: int) -> float:
    """Return the seconds to wait before a dead worker is replaced.

    Args:
        short_lives: Number of its predecessors in a row that died within `SHORT_LIFE`. The first
            is replaced without a delay, the second after 0.1 s; then the delay doubles.
    """
    return 0.0 if short_lives <= 1 else min(MAX_RESPAWN_DELAY, 0.1 * 2 ** min(short_lives - 2, 10))


class WorkerPool:
    """The workers of one `fastroute run`, one for each listening socket.

    Attributes:
        stopping: Set when no new clients are accepted and no worker is replaced any more.
        gave_up: True after no worker could be started at all.
    """

    def __init__(
        self,
        launch: Launch,
        first_messages: Callable[[], Iterable[Message]],
        announce: Callable[[], None],
    ) -> None:
        """Prepare, without starting anything.

        Args:
            launch: Starts workers, and has started the first ones.
            first_messages: Returns the messages that a worker gets at its start.
            announce: Called once, when all workers accept clients.
        """
        self._launch = launch
        self._sockets = launch.sockets
        self._table = launch.table
        self._first_messages = first_messages
        self._announce = announce
        beats = [
            self._table.worker_cells(index).process.beat_ns for index in range(self._table.workers)
        ]
        self._watchdog = Watchdog(beats, PATIENCE)
        self._workers: dict[int, WorkerProcess] = {}
        self._were_ready: set[int] = set()
        self.stopping = asyncio.Event()
        self.gave_up = False

    async def keep(self, index: int, reports: Reports) -> None:
        """Run a worker and replace it when it dies, until the pool stops.

        Args:
            index: Index of the worker.
            reports: Callbacks for what workers report.
        """
        loop = asyncio.get_running_loop()
        starts = short_lives = 0
        while not self.stopping.is_set():
            born = loop.time()
            starts += 1
            await self._run(index, reports)
            if starts >= FAILED_STARTS and not self._were_ready:
                self._give_up()
                return
            short_lives = short_lives + 1 if loop.time() - born < SHORT_LIFE else 0
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(respawn_delay(short_lives)):
                    await self.stopping.wait()

    async def _run(self, index: int, reports: Reports) -> None:
        """Run one worker from its start to its exit."""
        try:
            started = self._launch.take(index)
        except OSError as error:
            log.error("worker %d cannot be started: %s", index, error.strerror)
            return
        worker = await WorkerProcess.attend(index, started, reports)
        self._workers[index] = worker
        for message in self._first_messages():
            worker.send(message)
        if self.stopping.is_set():
            # The signal came while the process was being started.
            worker.kill()
        overdue = asyncio.get_running_loop().create_task(self._kill_overdue(worker))
        code = await worker.wait()
        overdue.cancel()
        del self._workers[index]
        self._watchdog.forget(index)
        lost = sum(self._table.in_flight_columns[index])
        self._table.clear_in_flight(index)
        if code != 0 or not self.stopping.is_set():
            how = exit_text(code)
            log.error("%s died: %s; requests in flight: %d", worker.name, how, lost)

    def note_ready(self, worker: WorkerProcess) -> None:
        """Note that a worker accepts clients; announce it when all do."""
        log.info("%s accepts clients", worker.name)
        total = len(self._sockets.clients)
        missing_before = total - len(self._were_ready)
        self._were_ready.add(worker.index)
        if missing_before and len(self._were_ready) == total and not self.stopping.is_set():
            self._announce()

    async def _kill_overdue(self, worker: WorkerProcess) -> None:
        """Kill a worker that does not become ready, but none that the machine is too busy for."""
        while not worker.was_ready:
            await asyncio.sleep(START_TIMEOUT)
            if worker.was_ready:
                return
            activity = activity_of(worker.pid)
            log.error(
                "%s is not ready after %g s: it used %.1f s of CPU time, and is %s",
                *(worker.name, START_TIMEOUT, activity.cpu_s, activity.state_name),
            )
            if activity.is_idle or activity.cpu_s > PATIENCE.spinning_after:
                worker.kill()

    def send(self, message: Message) -> None:
        """Send a message to all workers."""
        for worker in self._workers.values():
            worker.send(message)

    def end_hung(self, tick: float) -> None:
        """Kill workers that hang; call this every `tick` seconds."""
        self._watchdog.look([each for each in self._workers.values() if each.was_ready], tick)

    def drain(self) -> None:
        """Accept no new clients; workers exit when their last response is finished."""
        self.stopping.set()
        self._sockets.close()
        self.send(Drain())

    def hang_up(self) -> None:
        """Make all workers abort their responses and exit immediately."""
        for worker in self._workers.values():
            worker.hang_up()

    def kill(self) -> None:
        """Kill all workers."""
        for worker in self._workers.values():
            worker.kill()

    def _give_up(self) -> None:
        if self.stopping.is_set():
            return
        log.critical("no worker could be started in %d attempts; giving up", FAILED_STARTS)
        self.gave_up = True
        self.stopping.set()
        self.kill()
