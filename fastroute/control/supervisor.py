"""The supervisor: keeps the workers running, tells them what to route to, and ends them in order.

It is the control plane as well: it watches the servers and the configuration file.

Its life has three parts, each begun by a signal or by the start:

    running      a worker that dies is replaced
    draining     from the first SIGTERM or SIGINT: nobody new is accepted, answers finish, at most
                 `drain_timeout`
    ended        from a second signal: answers are cut
"""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Awaitable, Callable

import msgspec

from fastroute.config import Config
from fastroute.config.expansion import expand
from fastroute.control.config_file import FixedConfig, WatchedConfig, describe_changes
from fastroute.control.fleet.fleet import Fleet
from fastroute.control.fleet.rates import Recent
from fastroute.control.fleet.server_list import Roster
from fastroute.control.loops import RESTART_DELAY, Coalesced, keep_on
from fastroute.control.metrics import MetricsRenderer, Numbers
from fastroute.control.workers.launch import Launch
from fastroute.control.workers.process import Reports, WorkerProcess, exit_text
from fastroute.errors import ConfigError
from fastroute.ipc.logs import rotate_log
from fastroute.ipc.messages import (
    Configure,
    Drain,
    Losses,
    Message,
    MetricsReply,
    MetricsRequest,
    Unrouted,
)
from fastroute.net.resolver import Resolver
from fastroute.recording.recording import Recording

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

HANG_UP_GRACE = 0.5
"""Seconds that workers have to cut their answers when a second signal came."""

HUNG_AFTER = 10.0
"""Seconds after which a worker that has not looked at its deadlines is taken to hang. It does so
every half second; the longest that honest work has kept it from it is far below one."""

TICK = 0.25
"""Seconds between looks at what time alone changes, such as the end of a cool-down."""

CONFIGURE_GAP = 0.05
"""Seconds between two messages of changes, at least."""

REASONS_GAP = 0.05
"""Seconds between two messages of reasons, at least. Many servers that are overloaded and cool down
would keep the workers busy with nothing else."""

HEALTH_GAP = 1.0
"""Seconds between two messages of health checks, at least."""

log = logging.getLogger("supervisor")


def respawn_delay(short_lives: int) -> float:
    """Return how many seconds to wait before a dead worker is replaced.

    Args:
        short_lives: How many of its predecessors in a row died young. After the first there is
            no wait; then 0.1 s, doubling.
    """
    return 0.0 if short_lives <= 1 else min(MAX_RESPAWN_DELAY, 0.1 * 2 ** min(short_lives - 2, 10))


class Supervisor:
    """The workers of one `fastroute run`, one for each listening socket.

    Attributes:
        stopping: Set when nobody new is accepted any more.
    """

    def __init__(  # noqa: PLR0913  it is made in one place
        self,
        source: WatchedConfig | FixedConfig,
        launch: Launch,
        *,
        resolver: Resolver,
        recording: Recording,
        render_metrics: Callable[[Numbers, MetricsRequest], MetricsReply],
        announce: Callable[[], None],
    ) -> None:
        """Prepare to run, without starting anything.

        Args:
            source: Servers and settings, and where changes of them come from.
            launch: Starts workers, and has started the first; ours to close from now on.
            resolver: Looks up the names of servers.
            recording: Tells of requests; ours to close from now on.
            render_metrics: Answers a request for /metrics; it is called in a thread.
            announce: Called once, when all workers accept clients.
        """
        self._source = source
        self._launch = launch
        self._sockets = launch.sockets
        self._table = launch.table
        self._recording = recording
        self._told_losses = Losses()
        self._told_unrouted = Unrouted()
        self._announce = announce
        self._beats = [
            self._table.worker_cells(index).process.beat_ns for index in range(self._table.workers)
        ]
        self._heard: dict[int, tuple[int, int]] = {}
        self._fleet = Fleet(self._table, expand(source.config, {}).config)
        self._roster = Roster(self._fleet, source.config, resolver)
        self._recent = Recent(self._table)
        self._metrics = MetricsRenderer(self._numbers, render_metrics)
        self._reports = Reports(
            self._worker_ready, self._fleet.observe, recording.take, self._metrics.ask
        )
        self._background: list[asyncio.Task[None]] = []
        self._workers: dict[int, WorkerProcess] = {}
        self._were_ready: set[int] = set()
        self.stopping = asyncio.Event()
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
        configure = Coalesced(self._configure_workers, CONFIGURE_GAP)
        tell_reasons = Coalesced(self._tell_reasons, REASONS_GAP)
        tell_health = Coalesced(self._tell_health, HEALTH_GAP)
        self._fleet.notify(
            changed=configure.request,
            state_changed=tell_reasons.request,
            checked=tell_health.request,
        )
        try:
            async with asyncio.TaskGroup() as keepers:
                for index in range(len(self._sockets.clients)):
                    keepers.create_task(self._keep_worker(index))
                self._watch_everything(configure.request)
        finally:
            for coalesced in (configure, tell_reasons, tell_health):
                coalesced.cancel()
            self._stop_watching()
            self._metrics.close()
            self._kill_workers()
            self._recording.close()
            self._launch.close()
        return self._exit_code

    # What goes on in the background.

    def _watch_everything(self, changed: Callable[[], None]) -> None:
        """Watch the servers and, if there is one, the configuration file."""
        self._roster.start(changed)
        self._in_background("keeping time", self._keep_time)
        source = self._source
        if isinstance(source, FixedConfig):
            # SIGHUP means what it always does: the terminal was closed.
            return
        source.apply_with(self._apply)
        check_now = asyncio.Event()
        self._in_background("watching the file", lambda: source.watch(changed, check_now))

        def reload() -> None:
            self._recording.reopen()
            check_now.set()

        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)

    def _in_background(self, what: str, work: Callable[[], Awaitable[None]]) -> None:
        kept = keep_on(what, work, RESTART_DELAY)
        self._background.append(asyncio.get_running_loop().create_task(kept))

    def _stop_watching(self) -> None:
        self._roster.stop()
        for task in self._background:
            task.cancel()

    async def _keep_time(self) -> None:
        while True:
            self._fleet.tick()
            self._recent.tick()
            self._end_hung_workers()
            self._tell_losses()
            self._tell_unrouted()
            rotate_log(self._launch.logs)
            await asyncio.sleep(TICK)

    def _end_hung_workers(self) -> None:
        for index, worker in self._workers.items():
            beat = self._beats[index][0]
            heard, ticks = self._heard.get(index, (0, 0))
            # Own ticks are counted, not time: after a pause of the whole machine all look silent.
            ticks = ticks + 1 if beat == heard and worker.was_ready else 0
            self._heard[index] = (beat, ticks)
            if ticks * TICK > HUNG_AFTER:
                log.error("%s hangs: nothing was heard of it for %g s", worker.name, HUNG_AFTER)
                worker.kill()

    def _apply(self, config: Config) -> Config:
        """Put a new configuration in force, as far as that is possible without a restart.

        Returns:
            What is in force.

        Raises:
            ConfigError: There are too many new servers; nothing is changed.
        """
        before = self._roster.config
        if config.admin_port != before.admin_port:
            wanted = config.admin_port
            log.warning("admin_port = %d takes effect when fastroute is started again", wanted)
            config = msgspec.structs.replace(config, admin_port=before.admin_port)
        self._recording.apply(config)
        try:
            self._roster.apply(config)
        except ConfigError:
            self._recording.apply(before)
            raise
        changes = describe_changes(before, config)
        source = self._source.state.source
        log.info("%s is in force: %d changes", source, len(changes))
        for change in changes:
            log.info("%s: %s", source, change)
        return config

    # What workers are told.

    def _numbers(self) -> Numbers:
        return Numbers(self._table.snapshot(), self._configure(), self._recording.losses())

    def _configure(self) -> Configure:
        return self._fleet.configure(self._source.state, self._roster.names)

    def _configure_workers(self) -> None:
        self._tell(self._configure())

    def _tell_reasons(self) -> None:
        self._tell(self._fleet.reasons())

    def _tell_health(self) -> None:
        self._tell(self._fleet.health())

    def _tell_losses(self) -> None:
        losses = self._recording.losses()
        if losses != self._told_losses:
            self._told_losses = losses
            self._tell(losses)

    def _tell_unrouted(self) -> None:
        unrouted = self._recent.unrouted
        if unrouted != self._told_unrouted:
            self._told_unrouted = unrouted
            self._tell(unrouted)

    def _tell(self, message: Message) -> None:
        for worker in self._workers.values():
            worker.send(message)

    # The workers' lives.

    async def _keep_worker(self, index: int) -> None:
        """Have a worker run in this place until the supervisor stops."""
        loop = asyncio.get_running_loop()
        starts = short_lives = 0
        while not self.stopping.is_set():
            born = loop.time()
            starts += 1
            await self._run_worker(index)
            if starts >= FAILED_STARTS and not self._were_ready:
                self._give_up()
                return
            short_lives = short_lives + 1 if loop.time() - born < SHORT_LIFE else 0
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(respawn_delay(short_lives)):
                    await self.stopping.wait()

    async def _run_worker(self, index: int) -> None:
        """Run one worker from its start to its end."""
        try:
            started = self._launch.take(index)
        except OSError as error:
            log.error("worker %d cannot be started: %s", index, error.strerror)
            return
        worker = await WorkerProcess.attend(index, started, self._reports)
        self._workers[index] = worker
        worker.send(self._configure())
        worker.send(self._fleet.reasons())
        worker.send(self._fleet.health())
        worker.send(self._told_losses)
        worker.send(self._told_unrouted)
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

    def _worker_ready(self, worker: WorkerProcess) -> None:
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

    def _signal_received(self, signum: signal.Signals) -> None:
        if self.stopping.is_set():
            log.warning("%s again: ending at once", signum.name)
            self._exit_code = 128 + signum
            for worker in self._workers.values():
                worker.hang_up()
            asyncio.get_running_loop().call_later(HANG_UP_GRACE, self._kill_workers)
            return
        timeout = self._fleet.config.drain_timeout
        in_flight = sum(self._table.in_flight_totals())
        log.info(
            "%s: draining; requests in flight: %d, time for them: %g s; again to end at once",
            *(signum.name, in_flight, timeout),
        )
        self.stopping.set()
        self._sockets.close()
        for worker in self._workers.values():
            worker.send(Drain())
        asyncio.get_running_loop().call_later(timeout + DRAIN_GRACE, self._kill_workers)

    def _give_up(self) -> None:
        if self.stopping.is_set():
            return
        log.critical("no worker could be started %d times over; giving up", FAILED_STARTS)
        self._exit_code = 1
        self.stopping.set()
        self._kill_workers()

    def _kill_workers(self) -> None:
        for worker in self._workers.values():
            worker.kill()
