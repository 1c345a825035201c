"""The worker processes: started, watched, replaced when they die, and ended."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable

from fastroute.control.workers.launch import Launch
from fastroute.control.workers.process import Reports, WorkerProcess, exit_text
from fastroute.ipc.messages import Drain, Message

SHORT_LIFE = 5.0
"""Seconds. A worker that dies younger is taken to be broken rather than unlucky."""

MAX_RESPAWN_DELAY = 5.0
"""Seconds."""

START_TIMEOUT = 30.0
"""Seconds in which a worker must be ready; it takes well under one."""

FAILED_STARTS = 3
"""After so many, with no worker ever ready, the program is broken and says so."""

HUNG_AFTER = 10.0
"""Seconds after which a worker that has not looked at its deadlines is taken to hang. It does so
every half second; the longest that honest work has kept it from it is far below one."""

log = logging.getLogger("supervisor")


def respawn_delay(short_lives: int) -> float:
    """Return how many seconds to wait before a dead worker is replaced.

    Args:
        short_lives: How many of its predecessors in a row died young. After the first there is
            no wait; then 0.1 s, doubling.
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
            launch: Starts workers, and has started the first.
            first_messages: Returns what a worker must know to begin.
            announce: Called once, when all workers accept clients.
        """
        self._launch = launch
        self._sockets = launch.sockets
        self._table = launch.table
        self._first_messages = first_messages
        self._announce = announce
        self._beats = [
            self._table.worker_cells(index).process.beat_ns for index in range(self._table.workers)
        ]
        self._heard: dict[int, tuple[int, int]] = {}
        self._workers: dict[int, WorkerProcess] = {}
        self._were_ready: set[int] = set()
        self.stopping = asyncio.Event()
        self.gave_up = False

    async def keep(self, index: int, reports: Reports) -> None:
        """Have a worker run in this place until the pool stops.

        Args:
            index: The place.
            reports: Called with what workers report.
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
        """Run one worker from its start to its end."""
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
            # The signal came while the process was being made.
            worker.kill()
        overdue = asyncio.get_running_loop().call_later(START_TIMEOUT, self._start_overdue, worker)
        code = await worker.wait()
        overdue.cancel()
        del self._workers[index]
        lost = sum(self._table.in_flight_columns[index])
        self._table.clear_in_flight(index)
        if code != 0 or not self.stopping.is_set():
            how = exit_text(code)
            log.error("%s died: %s; requests in flight: %d", worker.name, how, lost)

    def note_ready(self, worker: WorkerProcess) -> None:
        """Take note that a worker accepts clients."""
        log.info("%s accepts clients", worker.name)
        everybody = len(self._sockets.clients)
        missing_before = everybody - len(self._were_ready)
        self._were_ready.add(worker.index)
        if missing_before and len(self._were_ready) == everybody and not self.stopping.is_set():
            self._announce()

    def _start_overdue(self, worker: WorkerProcess) -> None:
        if not worker.was_ready:
            log.error("%s is not ready after %g s", worker.name, START_TIMEOUT)
            worker.kill()

    def send(self, message: Message) -> None:
        """Send a message to all workers."""
        for worker in self._workers.values():
            worker.send(message)

    def end_hung(self, tick: float) -> None:
        """Kill workers without a heartbeat; to be called every `tick` seconds."""
        for index, worker in self._workers.items():
            beat = self._beats[index][0]
            heard, ticks = self._heard.get(index, (0, 0))
            # Own ticks are counted, not time: after a pause of the whole machine all look silent.
            ticks = ticks + 1 if beat == heard and worker.was_ready else 0
            self._heard[index] = (beat, ticks)
            if ticks * tick > HUNG_AFTER:
                log.error("%s hangs: nothing was heard of it for %g s", worker.name, HUNG_AFTER)
                worker.kill()

    def drain(self) -> None:
        """Accept no new clients; workers end when their last response is finished."""
        self.stopping.set()
        self._sockets.close()
        self.send(Drain())

    def hang_up(self) -> None:
        """Have all workers end by themselves, at once: they abort their responses in order."""
        for worker in self._workers.values():
            worker.hang_up()

    def kill(self) -> None:
        """End all workers at once."""
        for worker in self._workers.values():
            worker.kill()

    def _give_up(self) -> None:
        if self.stopping.is_set():
            return
        log.critical("no worker could be started %d times over; giving up", FAILED_STARTS)
        self.gave_up = True
        self.stopping.set()
        self.kill()
