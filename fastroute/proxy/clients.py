"""The open client connections of a worker."""

import asyncio
from collections.abc import Iterator
from ipaddress import IPv6Address
from typing import Protocol


class Connection(Protocol):
    """A client connection, as its worker sees it."""

    def sweep(self, now: float) -> None:
        """Handle deadlines that have passed."""

    def drain(self) -> None:
        """Close now if idle, else after the response in progress."""

    def cut(self) -> bool:
        """Close immediately, so that the client notices a truncated response.

        Returns:
            True if a request was in progress.
        """

    def held_bytes(self) -> int:
        """Return the size of the request bodies it keeps."""

    def idle_since(self) -> float | None:
        """Return a time in seconds, up to a constant, since it has been idle; None if it is not."""

    def give_way(self) -> bool:
        """Close, if idle, and do not count for `max_connections` from now on."""


class Clients:
    """The client connections of one worker.

    Attributes:
        draining: True once responses must close their connections.
    """

    __slots__ = ("_exempt", "_gone", "_idle", "_number", "_of_network", "_open", "_sorted_at",
                 "draining")  # fmt: skip

    def __init__(self, number: memoryview) -> None:
        """Start without connections.

        Args:
            number: Cell that counts them.
        """
        self._number = number
        self._exempt = 0
        self._gone = asyncio.Event()
        self._open: set[Connection] = set()
        self._of_network: dict[bytes, int] = {}
        # The idle ones at the time of the last sorting, the one idle for longest at the end.
        self._idle: list[tuple[float | None, Connection]] = []
        self._sorted_at = 0.0
        self.draining = False

    def __iter__(self) -> Iterator[Connection]:
        """Iterate over a copy, which may have connections that were removed meanwhile."""
        return iter(tuple(self._open))

    def __len__(self) -> int:
        return len(self._open)

    def __repr__(self) -> str:
        return f"<Clients {self._open}>"

    def add(self, client: Connection) -> None:
        """Add a connection."""
        self._open.add(client)
        self._number[0] += 1

    def exempt(self) -> None:
        """Exclude one of them from `max_connections`."""
        self._exempt += 1

    def have_room(self, limit: int, now: float) -> bool:
        """Return True if one more may be counted; if need be, close the one idle for longest.

        Args:
            limit: Setting `max_connections`.
            now: Time of the coming timer tick in seconds.
        """
        return len(self._open) - self._exempt < limit or self._close_idle(now)

    def enter(self, network: bytes) -> int:
        """Count a connection of a client's network, and return their number."""
        number = self._of_network.get(network, 0) + 1
        self._of_network[network] = number
        return number

    def leave(self, network: bytes) -> None:
        """Count one less."""
        number = self._of_network[network] - 1
        if number:
            self._of_network[network] = number
        else:
            del self._of_network[network]

    def _close_idle(self, now: float) -> bool:
        """Close the connection that has been idle longest; return False if none is idle.

        Sorting takes 10 ms for 20,000 connections. So it is done once for many new connections, and
        once between two timer ticks if none is idle.
        """
        if not self._idle and self._sorted_at != now:
            self._sorted_at = now
            idle = [(client.idle_since(), client) for client in self._open]
            self._idle = [each for each in idle if each[0] is not None]
            self._idle.sort(key=_since, reverse=True)
        while self._idle:
            since, client = self._idle.pop()
            if client.idle_since() == since and client.give_way():
                return True
        return False

    def remove(self, client: Connection, *, exempt: bool) -> None:
        """Remove a connection.

        Args:
            client: The connection.
            exempt: True if it was excluded from `max_connections`.
        """
        self._open.discard(client)
        self._exempt -= exempt
        self._number[0] -= 1
        if self.draining:
            self._gone.set()

    async def all_gone(self) -> None:
        """Wait until the last connection is closed; call this only while draining."""
        while self._open:
            self._gone.clear()
            await self._gone.wait()


def network_of(address: bytes) -> bytes:
    """Return what one client can choose its addresses from: IPv6 networks are given out as /64."""
    if b":" not in address:
        return address
    return IPv6Address(address.partition(b"%")[0].decode()).packed[:8]


def _since(idle: tuple[float | None, Connection]) -> float:
    return idle[0] or 0.0
