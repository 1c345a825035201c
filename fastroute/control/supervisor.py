"""The supervisor: keeps the workers running, tells them what to route to, and ends them in order.

It is the control plane as well: it watches the servers and the configuration file.

Its life has three parts, each begun by a signal or by the start:

    running      a worker that dies is replaced
    draining     from the first SIGTERM or SIGINT: nobody new is accepted, answers finish, at most
                 `drain_timeout`
    ended        from a second signal: answers are cut
"""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Iterable

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
from fastroute.control.workers.pool import WorkerPool
from fastroute.control.workers.process import Reports
from fastroute.errors import ConfigError
from fastroute.ipc.logs import rotate_log
from fastroute.ipc.messages import (
    Configure,
    Losses,
    Message,
    MetricsReply,
    MetricsRequest,
    Unrouted,
)
from fastroute.net.resolver import Resolver
from fastroute.recording.recording import Recording

DRAIN_GRACE = 1.0
"""Seconds beyond `drain_timeout` that workers have to end by themselves."""

HANG_UP_GRACE = 0.5
"""Seconds that workers have to cut their answers when a second signal came."""

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


class Supervisor:
    """The control plane of one `fastroute run`.

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
        self._table = launch.table
        self._recording = recording
        self._told_losses = Losses()
        self._told_unrouted = Unrouted()
        self._pool = WorkerPool(launch, self._first_messages, announce)
        self._fleet = Fleet(self._table, expand(source.config, {}).config)
        self._roster = Roster(self._fleet, source.config, resolver)
        self._recent = Recent(self._table)
        self._metrics = MetricsRenderer(self._numbers, render_metrics)
        self._reports = Reports(
            self._pool.note_ready, self._fleet.observe, recording.take, self._metrics.ask
        )
        self._background: list[asyncio.Task[None]] = []
        self.stopping = self._pool.stopping
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
                for index in range(len(self._launch.sockets.clients)):
                    keepers.create_task(self._pool.keep(index, self._reports))
                self._watch_everything(configure.request)
        finally:
            for coalesced in (configure, tell_reasons, tell_health):
                coalesced.cancel()
            self._stop_watching()
            self._metrics.close()
            self._pool.kill()
            self._recording.close()
            self._launch.close()
        return 1 if self._pool.gave_up else self._exit_code

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
            self._pool.end_hung(TICK)
            self._tell_losses()
            self._tell_unrouted()
            rotate_log(self._launch.logs)
            await asyncio.sleep(TICK)

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

    def _first_messages(self) -> Iterable[Message]:
        """Return what a worker must know to begin."""
        yield self._configure()
        yield self._fleet.reasons()
        yield self._fleet.health()
        yield self._told_losses
        yield self._told_unrouted

    def _configure_workers(self) -> None:
        self._pool.send(self._configure())

    def _tell_reasons(self) -> None:
        self._pool.send(self._fleet.reasons())

    def _tell_health(self) -> None:
        self._pool.send(self._fleet.health())

    def _tell_losses(self) -> None:
        losses = self._recording.losses()
        if losses != self._told_losses:
            self._told_losses = losses
            self._pool.send(losses)

    def _tell_unrouted(self) -> None:
        unrouted = self._recent.unrouted
        if unrouted != self._told_unrouted:
            self._told_unrouted = unrouted
            self._pool.send(unrouted)

    def _signal_received(self, signum: signal.Signals) -> None:
        if self.stopping.is_set():
            log.warning("%s again: ending at once", signum.name)
            self._exit_code = 128 + signum
            self._pool.hang_up()
            asyncio.get_running_loop().call_later(HANG_UP_GRACE, self._pool.kill)
            return
        timeout = self._fleet.config.drain_timeout
        in_flight = sum(self._table.in_flight_totals())
        log.info(
            "%s: draining; requests in flight: %d, time for them: %g s; again to end at once",
            *(signum.name, in_flight, timeout),
        )
        self._pool.drain()
        asyncio.get_running_loop().call_later(timeout + DRAIN_GRACE, self._pool.kill)
