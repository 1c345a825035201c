"""The open client connections of a worker."""

import asyncio
from collections.abc import Iterator
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


class Clients:
    """The client connections of one worker.

    Attributes:
        draining: True once responses must close their connections.
    """

    __slots__ = ("_exempt", "_gone", "_number", "_open", "draining")

    def __init__(self, number: memoryview) -> None:
        """Start without connections.

        Args:
            number: Cell that counts them.
        """
        self._number = number
        self._exempt = 0
        self._gone = asyncio.Event()
        self._open: set[Connection] = set()
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

    def exceed(self, limit: int) -> bool:
        """Return True if more are counted than `limit`."""
        return len(self._open) - self._exempt > limit

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
