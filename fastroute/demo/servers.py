"""The stand-in servers of `fastroute demo`, with different speeds."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec

from fastroute.config import Config, ServerConfig
from fastroute.demo.companion import Companion
from fastroute.errors import ConfigError

ANNOUNCEMENT = re.compile(r"standin listening on http://\S+:(\d+)")


class Speed(msgspec.Struct, frozen=True):
    """Speed of a server; times in seconds."""

    slots: int
    """Number of requests it runs concurrently."""
    first_token: float
    token_interval: float


SPEEDS = (
    Speed(slots=8, first_token=0.08, token_interval=0.015),
    Speed(slots=6, first_token=0.15, token_interval=0.025),
    Speed(slots=4, first_token=0.6, token_interval=0.07),
)
"""Roughly those of a model on three generations of GPUs; further servers start again with the
first. The last is slow enough to be shown as an outlier."""


class DemoServer:
    """One stand-in server; it keeps its port over restarts."""

    def __init__(self, speed: Speed) -> None:
        """Prepare, without starting it."""
        self.speed = speed
        self._port = 0
        self._process: Companion | None = None

    @property
    def address(self) -> str:
        """Host and port; the port is known after it has listened once."""
        return f"127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start it, without waiting for it."""
        self._process = Companion(
            "fastroute.standin",
            *("--exit-with-parent", "--port", str(self._port), "--slots", str(self.speed.slots)),
            *("--ttft", str(self.speed.first_token)),
            *("--token-interval", str(self.speed.token_interval)),
        )

    def wait_listening(self) -> None:
        """Wait until it accepts requests.

        Raises:
            ConfigError: It did not start.
        """
        assert self._process is not None, "it was started"
        match = ANNOUNCEMENT.match(self._process.read_line())
        if match is None:
            raise ConfigError("a stand-in server did not start; see its output above")
        self._port = int(match[1])

    def kill(self) -> None:
        """Kill it during its responses, as in a crash."""
        assert self._process is not None, "it was started"
        self._process.kill()
        self._process = None

    def stop(self) -> None:
        """Stop it if it is running."""
        if self._process is not None:
            self._process.stop()
            self._process = None


@contextmanager
def demo_servers(count: int) -> Iterator[list[DemoServer]]:
    """Run `count` stand-in servers until the context exits.

    Raises:
        ConfigError: They did not start.
    """
    servers = [DemoServer(SPEEDS[index % len(SPEEDS)]) for index in range(count)]
    try:
        for server in servers:
            server.start()
        for server in servers:
            server.wait_listening()
        yield servers
    finally:
        for server in servers:
            server.stop()


def demo_config(servers: Sequence[DemoServer]) -> Config:
    """Return the configuration of a router in front of them."""
    return Config(
        servers=tuple(
            ServerConfig(url=f"http://{server.address}", max_concurrent_requests=server.speed.slots)
            for server in servers
        )
    )
