"""Evidence about servers: what the requests of a worker say of their health."""

from collections.abc import Callable

from fastroute.ipc.messages import Message, Observed
from fastroute.proxy.server import Server
from fastroute.rules.health_event import Event
from fastroute.rules.server_state import ServerState


class Observer:
    """Reports evidence to the supervisor.

    Attributes:
        failing: Rows of servers whose last request failed.
    """

    __slots__ = ("_report", "failing")

    def __init__(self, report: Callable[[Message], None]) -> None:
        """Begin without any.

        Args:
            report: Sends a message to the supervisor.
        """
        self._report = report
        self.failing: set[int] = set()

    def observe(self, server: Server, kind: Event, detail: str, retry_after: float) -> None:
        """Report what matters for a server's health.

        A success matters after failures and of a server on trial only.

        Args:
            server: The server.
            kind: The evidence.
            detail: More of it, for people.
            retry_after: Seconds the server asked to be left alone; 0 if it named none.
        """
        if kind is Event.REQUEST_OK:
            if server.row not in self.failing and server.state is not ServerState.TRIAL:
                return
            self.failing.discard(server.row)
        elif kind is Event.REQUEST_FAILED:
            self.failing.add(server.row)
        self._report(
            Observed(
                row=server.row,
                generation=server.generation,
                kind=kind,
                detail=detail,
                retry_after=retry_after,
            )
        )
