"""One stand-in server: its listening socket, its connections, and the ways to stop it."""

import asyncio

from fastroute.standin.connection import Connection, Counters
from fastroute.standin.endpoints import Endpoints
from fastroute.standin.engine import Engine
from fastroute.standin.message import HeadWriter, Request, Settings

# vLLM's process exits 2 s after SIGTERM, even if clients have not read everything.
LAST_BYTES_TIMEOUT = 2.0


class StandIn:
    """A simulated vLLM server.

    Start it with `await StandIn.start(...)`; end it with one of `stop` and `kill`.
    """

    def __init__(self, settings: Settings, loop: asyncio.AbstractEventLoop) -> None:
        self.settings = settings
        self.counters = Counters()
        self.engine = Engine(settings, loop)
        self.heads = HeadWriter()
        self.stopping = False
        self.url = ""
        self.port = 0
        self._connections: set[Connection] = set()
        self._all_closed = asyncio.Event()
        self._all_closed.set()
        self._endpoints = Endpoints(settings, self.engine, self.counters, loop)
        self._listener: asyncio.Server | None = None

    @classmethod
    async def start(cls, settings: Settings, host: str = "127.0.0.1", port: int = 0) -> "StandIn":
        """Start listening and serve on the running loop.

        Args:
            settings: Its behaviour; may be changed later.
            host: Address to listen on.
            port: TCP port; 0 for a free one, see `url`.

        Raises:
            OSError: The address cannot be listened on.
        """
        loop = asyncio.get_running_loop()
        standin = cls(settings, loop)
        standin._listener = await loop.create_server(
            lambda: Connection(standin, loop), host, port, backlog=2048
        )
        standin.port = standin._listener.sockets[0].getsockname()[1]
        standin.url = f"http://{host}:{standin.port}"
        return standin

    def connection_opened(self, connection: Connection) -> None:
        self._connections.add(connection)
        self._all_closed.clear()
        self.counters.connections_open += 1
        self.counters.connections_accepted += 1

    def connection_closed(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._all_closed.set()
        self.counters.connections_open -= 1

    def head_read(self, request: Request) -> None:
        self._endpoints.head_read(request)

    def answer(self, request: Request, connection: Connection) -> None:
        self._endpoints.answer(request, connection)

    async def stop(self, grace: float = 0.0) -> None:
        """Shut down as vLLM does on SIGTERM.

        Args:
            grace: Seconds in which running requests may finish (vLLM's --shutdown-timeout);
                meanwhile new ones are rejected with 500 while /health returns 200. At its end,
                or immediately, responses end well-formed with finish reason "abort".
        """
        if grace > 0:
            self.engine.accepts_work = False
            try:
                async with asyncio.timeout(grace):
                    await self.engine.wait_idle()
            except TimeoutError:
                pass  # Remaining requests are ended below.
        self.stopping = True
        self._close_listener()
        self.engine.end_all("abort")
        for connection in list(self._connections):
            connection.close_if_idle()
        await self._wait_closed()

    def kill(self) -> None:
        """Stop like a killed process: immediately, without ending any response."""
        self.stopping = True
        self._close_listener()
        for connection in list(self._connections):
            connection.abort()

    def _close_listener(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def _wait_closed(self) -> None:
        """Wait for the last bytes to be sent, then close the remaining connections."""
        try:
            async with asyncio.timeout(LAST_BYTES_TIMEOUT):
                await self._all_closed.wait()
        except TimeoutError:
            for connection in list(self._connections):
                connection.abort()
