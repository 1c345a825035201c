"""Evidence about servers: what the requests of a worker say of their health."""

import logging
from collections.abc import Callable

from fastroute.ipc.messages import Message, Observed
from fastroute.proxy.router import ModelServers, Router
from fastroute.proxy.server import Server
from fastroute.rules.evidence import REFUSALS, Event
from fastroute.rules.health_record import cool_down
from fastroute.rules.server_state import ServerState

log = logging.getLogger(__name__)


class Observer:
    """Reports evidence to the supervisor."""

    __slots__ = ("_router", "_send")

    def __init__(self, send: Callable[[Message], None], router: Router) -> None:
        """Begin without any.

        Args:
            send: Sends a message to the supervisor.
            router: Is told of servers that refuse.
        """
        self._send = send
        self._router = router

    def observe(
        self, server: Server, kind: Event, detail: str, group: ModelServers, retry_after: float
    ) -> None:
        """Report what matters for a server's health.

        Good responses are counted in the score table; they are reported on trial only.

        Args:
            server: The server.
            kind: The evidence.
            detail: More of it, for people.
            group: The servers that might have had the request.
            retry_after: Seconds the server asked to be left alone; 0 if it named none.
        """
        if kind is Event.REQUEST_OK:
            if server.state is not ServerState.TRIAL:
                return
        elif kind is Event.BUSY and len(server.models or ()) > 1:
            # Its other models may be idle. Other workers find out by themselves.
            seconds = cool_down(retry_after)
            if self._router.cool(group, server, seconds):
                log.info(
                    "server %s is overloaded for %s: %s; for %g s it is asked for them only where "
                    "there is no other",
                    server.url,
                    f"requests for {group.name}" if group.name else "requests without a model",
                    detail,
                    seconds,
                )
            return
        elif kind in REFUSALS:
            self._router.refusals.note(server.row)
        self.report(server, kind, detail, group.name, retry_after)

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
