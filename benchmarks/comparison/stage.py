"""Prerequisites of a measurement: cores, stand-in servers, proxies."""

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
import orjson

from benchmarks.comparison import environments, processes
from benchmarks.comparison.peers import Peer, Place

DIRECT = "direct"
SERVERS = 4


class Target(msgspec.Struct, frozen=True):
    """A target of the load: a proxy, or the stand-in servers themselves."""

    name: str
    ports: tuple[int, ...]
    watched: dict[str, int]
    """Name -> process id, of the target and of the stand-in servers."""


class Cores(msgspec.Struct, frozen=True):
    """Cores of the proxy, and of everything else.

    By itself the scheduler sometimes lets two processes share a core, which makes waking each other
    cheap, and sometimes not: the figures of one proxy then differ by a factor of two.
    """

    proxy: set[int]
    others: set[int]

    @classmethod
    def chosen(cls, *, pinned: bool = True, for_proxy: int = 1) -> "Cores":
        """Return the cores to use: `for_proxy` for the proxy if as many remain."""
        allowed = sorted(os.sched_getaffinity(0))
        if not pinned or len(allowed) < 2:
            return cls(set(allowed), set(allowed))
        taken = min(for_proxy, len(allowed) // 2)
        return cls(set(allowed[-taken:]), set(allowed[:-taken]))


class Stage:
    """Starts the processes of a measurement; all stop with the scratch directory's block."""

    def __init__(self, directory: Path, cores: Cores) -> None:
        self.directory = directory
        self.cores = cores

    def own_directory(self, name: str) -> Path:
        """Create a directory that an unprivileged worker may enter, too."""
        own = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.directory))
        own.chmod(0o755)
        return own

    @contextmanager
    def servers(self, *options: str, count: int = SERVERS) -> Iterator[Target]:
        """Start the stand-in servers, with further options of `comparison.upstream`."""
        log = self.own_directory("servers") / "output.log"
        command = [sys.executable, "-m", "benchmarks.comparison.upstream", "--servers", str(count)]
        with processes.running(
            [*command, *options], log, self.cores.others, directory=environments.ROOT
        ) as process:
            ports = tuple(orjson.loads(processes.wait_for_line(process, log)))
            yield Target(DIRECT, ports, {"servers": process.pid})

    @contextmanager
    def proxy(
        self, peer: Peer, servers: Target, *options: str, config: str | None = None
    ) -> Iterator[Target]:
        """Start a proxy in front of stand-in servers and wait for a response through it.

        Args:
            peer: The proxy.
            servers: The stand-in servers.
            options: Further options, after the peer's own.
            config: Text of a servers.toml (for fastroute), instead of the servers' addresses.

        Raises:
            StartFailed: There was no response.
        """
        own = self.own_directory(peer.name)
        log = own / "output.log"
        place = self.place(servers, own)
        command = peer.command(place)
        if config is not None:
            (own / "servers.toml").write_text(config)
            command = with_config(command, own / "servers.toml")
        with processes.running(
            [*command, *options], log, self.cores.proxy, environ=peer.environ, directory=own
        ) as process:
            processes.wait_for_answer(process, log, place.port)
            yield Target(peer.name, (place.port,), {**servers.watched, peer.name: process.pid})

    def place(self, servers: Target, directory: Path) -> Place:
        return Place(processes.free_port(), processes.free_port(), servers.ports, directory)

    @contextmanager
    def all_proxies(
        self, peers: Sequence[Peer], servers: Target
    ) -> Iterator[tuple[list[Target], dict[str, str]]]:
        """Start the proxies; return the running ones, and the reasons why others failed."""
        targets, failed = [servers], {}
        with ExitStack() as stack:
            for peer in peers:
                try:
                    targets.append(stack.enter_context(self.proxy(peer, servers)))
                except processes.StartFailed as error:
                    failed[peer.name] = str(error)
            yield targets, failed


def with_config(command: list[str], config: Path) -> list[str]:
    """Return fastroute's command with a servers.toml instead of the servers' addresses."""
    kept = []
    words = iter(command)
    for word in words:
        if word in ("--server", "--max-load"):
            next(words)
        else:
            kept.append(word)
    return [*kept, "--config", str(config)]
