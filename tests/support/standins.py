"""Stand-in servers for tests: in this process on the running loop, or as processes."""

import asyncio
import contextlib
import http.client
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from urllib.parse import urlsplit

from fastroute.standin.message import Settings
from fastroute.standin.server import StandIn


@contextlib.asynccontextmanager
async def standin(**settings) -> AsyncIterator[StandIn]:
    """One stand-in on the running loop; `settings` are those of `message.Settings`.

    Use its `url`, `port`, `settings` (changeable), `counters` and `engine`, and
    `await stop(grace)` or `kill()` to end it early.
    """
    server = await StandIn.start(Settings(**settings))
    try:
        yield server
    finally:
        await server.stop()


@contextlib.asynccontextmanager
async def standins(count: int, **settings) -> AsyncIterator[list[StandIn]]:
    """Several stand-ins on the running loop, named standin-1, standin-2 ..."""
    async with contextlib.AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(standin(name=f"standin-{number}", **settings))
            for number in range(1, count + 1)
        ]


class StandInProcess:
    """A stand-in in a separate process, for tests that kill it or measure CPU time."""

    def __init__(self, *options: str) -> None:
        """Start it and wait until it listens.

        Args:
            options: Options of `python -m fastroute.standin`, such as "--slots", "4".
        """
        command = [sys.executable, "-m", "fastroute.standin", "--exit-with-parent", *options]
        # `stop` or `kill` waits for it.
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        line = self.read_line()
        if not line:
            code = self.wait(10.0)
            raise RuntimeError(f"the stand-in did not start: exit code {code}")
        self.url = line.split()[-1]
        parts = urlsplit(self.url)
        self.host, self.port = parts.hostname, parts.port
        self.pid = self._process.pid

    def read_line(self) -> str:
        """Return the next line of its output; one per stand-in, the first was already read."""
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def state(self) -> dict:
        """GET /standin/state; this counts as a request and a connection, too."""
        return self._call("GET", "/standin/state")

    def set(self, **changes) -> dict:
        """POST /standin/set, such as set(hung=True); returns the state."""
        return self._call("POST", "/standin/set", json.dumps(changes))

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def stop(self, timeout: float = 10.0) -> int:
        """Send SIGTERM and return the exit code."""
        if self._process.poll() is None:
            self.signal(signal.SIGTERM)
        return self.wait(timeout)

    def kill(self) -> int:
        """Send SIGKILL and wait for the exit."""
        self._process.kill()
        return self.wait(10.0)

    def wait(self, timeout: float) -> int:
        """Wait for its exit and return the exit code."""
        code = self._process.wait(timeout)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        return code

    def close_stdin(self) -> None:
        """Close its standard input, as if the parent had died."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def _call(self, method: str, path: str, body: str | None = None) -> dict:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=5)
        with contextlib.closing(connection):
            connection.request(method, path, body, {"Connection": "close"})
            return json.loads(connection.getresponse().read())


@contextlib.contextmanager
def standin_process(*options: str) -> Iterator[StandInProcess]:
    """Run a stand-in process that is always stopped at the end."""
    process = StandInProcess(*options)
    try:
        yield process
    finally:
        process.kill()


async def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    """Wait for a condition, checked every 2 ms; TimeoutError after `seconds`."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.002)
