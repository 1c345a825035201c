"""Evidence about servers: what the requests of a worker say of their health."""

from collections.abc import Callable

from fastroute.ipc.messages import Message, Observed
from fastroute.proxy.server import Server
from fastroute.rules.evidence import REFUSALS, Event
from fastroute.rules.refusals import Refusals
from fastroute.rules.server_state import ServerState


class Observer:
    """Reports evidence to the supervisor."""

    __slots__ = ("_refusals", "_send")

    def __init__(self, send: Callable[[Message], None], refusals: Refusals) -> None:
        """Begin without any.

        Args:
            send: Sends a message to the supervisor.
            refusals: Makes a server that refuses look loaded.
        """
        self._send = send
        self._refusals = refusals

    def observe(
        self, server: Server, kind: Event, detail: str, model: str, retry_after: float
    ) -> None:
        """Report what matters for a server's health.

        Good responses are counted in the score table; they are reported on trial only.

        Args:
            server: The server.
            kind: The evidence.
            detail: More of it, for people.
            model: The model that the request named; empty for none.
            retry_after: Seconds the server asked to be left alone; 0 if it named none.
        """
        if kind is Event.REQUEST_OK:
            if server.state is not ServerState.TRIAL:
                return
        elif kind in REFUSALS:
            self._refusals.note(server.row)
        self.report(server, kind, detail, model, retry_after)

    def report(
        self, server: Server, kind: Event, detail: str, model: str, retry_after: float
    ) -> None:
        """Report evidence whose penalty has been noted before; see `observe`."""
        self._send(
            Observed(
                row=server.row,
                generation=server.generation,
                kind=kind,
                detail=detail,
                model=model,
                retry_after=retry_after,
            )
        )
