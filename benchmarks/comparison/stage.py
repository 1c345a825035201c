"""Everything that must run before something can be measured: cores, stand-in servers, proxies."""

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
    """Something to send load to: a proxy, or the stand-in servers themselves."""

    name: str
    ports: tuple[int, ...]
    watched: dict[str, int]
    """Name -> process id, of itself and of the stand-in servers."""


class Cores(msgspec.Struct, frozen=True):
    """Where a proxy runs, and where all else does.

    Left to itself the scheduler now lets two processes share a core, which makes waking each other
    cheap, and now does not: the figures of one proxy then differ by a factor of two.
    """

    proxy: set[int]
    others: set[int]

    @classmethod
    def chosen(cls, *, pinned: bool = True, for_proxy: int = 1) -> "Cores":
        """Return the cores to use; `for_proxy` are wanted, and as many must be left."""
        allowed = sorted(os.sched_getaffinity(0))
        if not pinned or len(allowed) < 2:
            return cls(set(allowed), set(allowed))
        taken = min(for_proxy, len(allowed) // 2)
        return cls(set(allowed[-taken:]), set(allowed[:-taken]))


class Stage:
    """Starts what a measurement needs; all of it ends with the block of the scratch directory."""

    def __init__(self, directory: Path, cores: Cores) -> None:
        self.directory = directory
        self.cores = cores

    def own_directory(self, name: str) -> Path:
        """Make a directory that an unprivileged worker may enter too."""
        own = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.directory))
        own.chmod(0o755)
        return own

    @contextmanager
    def servers(self, *options: str, count: int = SERVERS) -> Iterator[Target]:
        """Start the stand-in servers, with more options of `comparison.upstream`."""
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
        """Start a proxy in front of stand-in servers and wait for an answer through it.

        Args:
            peer: Which.
            servers: In front of these.
            options: More of them, behind those the peer has.
            config: Text of a servers.toml (of fastroute), in place of the servers' addresses.

        Raises:
            StartFailed: when no answer comes.
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
        """Start the stand-in servers' proxies; give those that came up, and why others did not."""
        targets, failed = [servers], {}
        with ExitStack() as stack:
            for peer in peers:
                try:
                    targets.append(stack.enter_context(self.proxy(peer, servers)))
                except processes.StartFailed as error:
                    failed[peer.name] = str(error)
            yield targets, failed


def with_config(command: list[str], config: Path) -> list[str]:
    """Return fastroute's command with a servers.toml in place of the servers' addresses."""
    kept = []
    words = iter(command)
    for word in words:
        if word in ("--server", "--max-load"):
            next(words)
        else:
            kept.append(word)
    return [*kept, "--config", str(config)]
