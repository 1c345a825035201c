"""The worker: accepts clients, runs the timer, handles messages of the supervisor, drains."""

import asyncio
import contextlib
import gc
import logging
import socket
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic, monotonic_ns
from typing import cast

from fastroute.ipc.messages import (
    Configure,
    Drain,
    Drained,
    Health,
    Losses,
    Message,
    MessageReader,
    MetricsReply,
    Ready,
    StateReasons,
    Unrouted,
)
from fastroute.net.connecting import limit_silence
from fastroute.proxy.client import ClientConnection
from fastroute.proxy.context import WorkerContext
from fastroute.proxy.loop_lag import LoopLag, note_step
from fastroute.proxy.metrics_relay import MetricsRelay
from fastroute.proxy.own_replies import Listener
from fastroute.proxy.supervisor_link import SupervisorLink

log = logging.getLogger(__name__)

# Seconds between two timer ticks, at which all deadlines are checked: 1 ms for 10,000 connections.
SWEEP_S = 0.5
BACKLOG = 4096
# Seconds for the requests of clients that were waiting to be accepted when the drain started.
LATE_S = 1.0
# Seconds before the exit for sending the last bytes to clients.
LAST_WORDS_S = 0.1
# Timeout in seconds for the supervisor to take the last messages.
LAST_MESSAGES_S = 1.0


class Channel(asyncio.Protocol):
    """The worker's end of the channel to the supervisor."""

    __slots__ = ("_closed", "_link", "_reader", "_worker")

    def __init__(self, worker: "Worker", link: SupervisorLink) -> None:
        self._closed = asyncio.Event()
        self._link = link
        self._worker = worker
        self._reader = MessageReader()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Give the transport to the link."""
        self._link.attach(cast(asyncio.WriteTransport, transport))  # a socket pair is two-way

    def data_received(self, data: bytes) -> None:
        """Handle messages."""
        started = monotonic()
        for message in self._reader.feed(data):
            self._worker.take(message)
        self._worker.note_message(monotonic() - started)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the worker: without a supervisor this process would not be monitored."""
        self._link.attach(None)
        self._closed.set()
        self._worker.stop()

    async def closed(self, seconds: float) -> None:
        """Wait until the supervisor has closed it, at most `seconds`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closed.wait()


class Worker:
    """Runs the data plane in one process until it has drained."""

    def __init__(
        self,
        state: WorkerContext,
        listening: Sequence[tuple[socket.socket, Listener]],
        metrics: MetricsRelay,
    ) -> None:
        """Prepare to run.

        Args:
            state: What the connections share.
            listening: Listening sockets with their endpoints.
            metrics: Receives the supervisor's replies.
        """
        self._state = state
        self._metrics = metrics
        self._listening = listening
        self._stopped = asyncio.Event()
        self._channel = Channel(self, state.link)
        self._servers: list[asyncio.AbstractServer] = []
        self._starting: asyncio.Task[None] | None = None
        self._draining: asyncio.Task[None] | None = None
        self._sweeping: asyncio.TimerHandle | None = None
        self._lag = LoopLag(state.loop, state.cells.process)

    async def run(self, channel: socket.socket) -> None:
        """Serve until drained, or until the supervisor has exited.

        Args:
            channel: The worker's end of the socket pair.
        """
        state = self._state
        await state.loop.create_connection(lambda: self._channel, sock=channel)
        self.keep_time()
        self._lag.start()
        await self._stopped.wait()
        self.stop_keeping_time()
        self._lag.stop()
        if self._draining is not None:
            self._draining.cancel()
        for server in self._servers:
            server.close()
        self._abort_clients()
        if state.recorder is not None:
            state.recorder.flush()
        # The last bytes for clients must still be sent.
        await asyncio.sleep(LAST_WORDS_S if state.clients else 0)
        # If a process exits with unread bytes in a socket, its own last bytes may be lost, too. So
        # let the supervisor close the channel.
        self._state.link.report(Drained())
        await self._channel.closed(LAST_MESSAGES_S)

    def take(self, message: Message) -> None:
        """Handle a message of the supervisor."""
        match message:
            case Configure():
                self._configure(message)
            case Health():
                self._state.health = message
            case StateReasons():
                self._state.reasons = message
            case Losses():
                self._state.losses = message
            case Unrouted():
                self._state.unrouted = message
            case MetricsReply():
                self._metrics.take(message)
            case Drain():
                self.drain()
            case _:
                pass  # The others are sent by workers.

    def note_message(self, seconds: float) -> None:
        """Note the time that messages of the supervisor took."""
        note_step(self._state.cells.process.slowest_message_us, seconds)

    def _configure(self, configured: Configure) -> None:
        state = self._state
        state.configure(configured)
        if not state.clients.draining:  # then the listening sockets are closed
            for sock, _ in self._listening:
                # Accepted connections inherit it.
                limit_silence(sock, configured.config.tcp_timeout)
        for server in state.router.servers:
            server.resolve_ahead()
        if self._starting is None:
            self._starting = state.loop.create_task(self._accept())

    def drain(self) -> None:
        """Stop accepting, close idle connections, and stop after the last response."""
        state = self._state
        if state.clients.draining:
            return
        state.clients.draining = True
        state.cells.process.draining[0] = 1
        late = self._accept_waiting()
        for server in self._servers:
            server.close()
        for client in state.clients:
            client.drain()
        state.loop.call_later(state.settings.config.drain_timeout, self.stop)
        self._draining = state.loop.create_task(self._finish(late))

    def _accept_waiting(self) -> list[tuple[socket.socket, Listener]]:
        """Accept waiting clients; closing the listening socket would reset their connections."""
        waiting: list[tuple[socket.socket, Listener]] = []
        for sock, listener in self._listening[: len(self._servers)]:
            with contextlib.suppress(OSError):  # BlockingIOError: no more clients are waiting
                for _ in range(BACKLOG):
                    waiting.append((sock.accept()[0], listener))  # noqa: PERF401  until the error
        return waiting

    async def _finish(self, late: Sequence[tuple[socket.socket, Listener]]) -> None:
        """Stop when the last client has disconnected, including those accepted last."""
        if late:
            await self._serve_late(late)
        await self._state.clients.all_gone()
        self.stop()

    async def _serve_late(self, late: Sequence[tuple[socket.socket, Listener]]) -> None:
        """Serve the clients that were accepted last, whose requests may still arrive."""
        state = self._state
        for sock, listener in late:
            with contextlib.suppress(OSError):
                await state.loop.connect_accepted_socket(_connection_maker(state, listener), sock)
        await asyncio.sleep(LATE_S)
        for client in state.clients:
            client.drain()

    def stop(self) -> None:
        """Stop immediately; responses in progress are aborted."""
        self._stopped.set()

    def _abort_clients(self) -> None:
        aborted = sum([client.cut() for client in self._state.clients])
        if aborted:
            log.warning("requests aborted: %d", aborted)

    def keep_time(self) -> None:
        """Check all deadlines now and every `SWEEP_S` from now on."""
        state = self._state
        now = state.loop.time()
        state.stamp = now + SWEEP_S
        state.cells.process.beat_ns[0] = monotonic_ns()
        self._sweeping = state.loop.call_later(SWEEP_S, self.keep_time)
        buffered = 0
        for client in state.clients:
            client.sweep(now)
            buffered += client.held_bytes()
        state.buffered = buffered
        for server in state.router.servers:
            server.expire_idle(now)
        state.ledger.sample(state.stamp)
        state.router.tick(state.stamp)
        if state.recorder is not None:
            state.recorder.flush()
        cells = state.cells.process
        cells.models_unsearched[0] += state.router.take_unsearched()
        note_step(cells.slowest_timer_us, (monotonic_ns() - cells.beat_ns[0]) / 1e9)

    def stop_keeping_time(self) -> None:
        """Stop the timer of `keep_time`."""
        if self._sweeping is not None:
            self._sweeping.cancel()

    async def _accept(self) -> None:
        loop, state = self._state.loop, self._state
        if state.clients.draining:
            return
        for sock, listener in self._listening:
            made = _connection_maker(state, listener)
            server = await loop.create_server(made, sock=sock, backlog=BACKLOG)
            self._servers.append(server)
        # All present objects live as long as the process, so exclude them from garbage collection.
        gc.collect()
        gc.freeze()
        self._state.link.report(Ready())


def _connection_maker(state: WorkerContext, listener: Listener) -> Callable[[], asyncio.Protocol]:
    # ClientConnection has the methods of a Protocol, but not that base class.
    return cast(Callable[[], asyncio.Protocol], partial(ClientConnection, state, listener))
