"""The supervisor: runs the workers, configures them, and shuts them down gracefully.

It is also the control plane: it watches the servers and the configuration file.

It has three phases:

    running      from the start: a worker that dies is replaced
    draining     from the first SIGTERM or SIGINT: no connection is accepted, and responses finish
                 within `drain_timeout`
    ended        from a second signal: responses are aborted
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
"""Seconds after `drain_timeout` in which workers may exit by themselves before they are killed."""

HANG_UP_GRACE = 0.5
"""Seconds in which workers may abort their responses after a second signal."""

TICK = 0.25
"""Seconds between two checks for changes by time alone, such as the end of a cool-down."""

CONFIGURE_GAP = 0.05
"""Minimum time between two Configure messages, in seconds."""

REASONS_GAP = 0.05
"""Minimum time between two StateReasons messages, in seconds. Without it, many overloaded servers
would keep the workers busy with messages."""

HEALTH_GAP = 1.0
"""Minimum time between two Health messages, in seconds."""

log = logging.getLogger("supervisor")


class Supervisor:
    """The control plane of one `fastroute run`.

    Attributes:
        stopping: Set when no new clients are accepted any more.
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
            source: Source of servers and settings, and of their changes.
            launch: Starts workers, and has started the first ones; the supervisor closes it.
            resolver: Resolves the names of servers.
            recording: Writes records of requests; the supervisor closes it.
            render_metrics: Renders /metrics; it is called in a thread.
            announce: Called once, when all workers accept clients.
        """
        self._source = source
        self._launch = launch
        self._table = launch.table
        self._recording = recording
        self._sent_losses = Losses()
        self._sent_unrouted = Unrouted()
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
            The exit code of the program: 0 after draining, 1 if no worker could be started, 128
            plus the signal's number after a second signal.
        """
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, self._signal_received, signum)
        configure = Coalesced(self._configure_workers, CONFIGURE_GAP)
        send_reasons = Coalesced(self._send_reasons, REASONS_GAP)
        send_health = Coalesced(self._send_health, HEALTH_GAP)
        self._fleet.notify(
            changed=configure.request,
            state_changed=send_reasons.request,
            checked=send_health.request,
        )
        try:
            async with asyncio.TaskGroup() as keepers:
                for index in range(len(self._launch.sockets.clients)):
                    keepers.create_task(self._pool.keep(index, self._reports))
                self._watch_everything(configure.request)
        finally:
            for coalesced in (configure, send_reasons, send_health):
                coalesced.cancel()
            self._stop_watching()
            self._metrics.close()
            self._pool.kill()
            self._recording.close()
            self._launch.close()
        return 1 if self._pool.gave_up else self._exit_code

    # Background tasks

    def _watch_everything(self, changed: Callable[[], None]) -> None:
        """Watch the servers and, if there is one, the configuration file."""
        self._roster.start(changed)
        self._in_background("keeping time", self._keep_time)
        source = self._source
        if isinstance(source, FixedConfig):
            # SIGHUP keeps its default action: the terminal was closed.
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
            self._send_losses()
            self._send_unrouted()
            rotate_log(self._launch.logs)
            await asyncio.sleep(TICK)

    def _apply(self, config: Config) -> Config:
        """Apply a new configuration, except for settings that need a restart.

        Returns:
            The configuration that is active now.

        Raises:
            ConfigError: There are too many new servers; nothing was changed.
        """
        before = self._roster.config
        if config.admin_port != before.admin_port:
            wanted = config.admin_port
            log.warning("admin_port = %d takes effect after a restart", wanted)
            config = msgspec.structs.replace(config, admin_port=before.admin_port)
        self._recording.apply(config)
        try:
            self._roster.apply(config)
        except ConfigError:
            self._recording.apply(before)
            raise
        changes = describe_changes(before, config)
        source = self._source.state.source
        log.info("%s is active: %d changes", source, len(changes))
        for change in changes:
            log.info("%s: %s", source, change)
        return config

    # Messages to workers

    def _numbers(self) -> Numbers:
        return Numbers(self._table.snapshot(), self._configure(), self._recording.losses())

    def _configure(self) -> Configure:
        return self._fleet.configure(self._source.state, self._roster.names)

    def _first_messages(self) -> Iterable[Message]:
        """Return the messages that a worker gets at its start."""
        yield self._configure()
        yield self._fleet.reasons()
        yield self._fleet.health()
        yield self._sent_losses
        yield self._sent_unrouted

    def _configure_workers(self) -> None:
        self._pool.send(self._configure())

    def _send_reasons(self) -> None:
        self._pool.send(self._fleet.reasons())

    def _send_health(self) -> None:
        self._pool.send(self._fleet.health())

    def _send_losses(self) -> None:
        losses = self._recording.losses()
        if losses != self._sent_losses:
            self._sent_losses = losses
            self._pool.send(losses)

    def _send_unrouted(self) -> None:
        unrouted = self._recent.unrouted
        if unrouted != self._sent_unrouted:
            self._sent_unrouted = unrouted
            self._pool.send(unrouted)

    def _signal_received(self, signum: signal.Signals) -> None:
        if self.stopping.is_set():
            log.warning("%s again: exiting immediately", signum.name)
            self._exit_code = 128 + signum
            self._pool.hang_up()
            asyncio.get_running_loop().call_later(HANG_UP_GRACE, self._pool.kill)
            return
        timeout = self._fleet.config.drain_timeout
        in_flight = sum(self._table.in_flight_totals())
        log.info(
            "%s: draining; requests in flight: %d, timeout: %g s; repeat to exit immediately",
            *(signum.name, in_flight, timeout),
        )
        self._pool.drain()
        asyncio.get_running_loop().call_later(timeout + DRAIN_GRACE, self._pool.kill)
