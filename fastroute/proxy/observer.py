"""Evidence about servers: what the requests of a worker say of their health."""

import logging
from collections.abc import Callable
from typing import NamedTuple

from fastroute.ipc.messages import Message, Observed
from fastroute.proxy import clock
from fastroute.proxy.model_servers import ModelServers
from fastroute.proxy.router import Router
from fastroute.proxy.server import Server
from fastroute.rules.evidence import REFUSALS, Event
from fastroute.rules.health_record import cool_down
from fastroute.rules.server_state import ServerState

log = logging.getLogger(__name__)


class Seen(NamedTuple):
    """The end of an attempt, as evidence about its server.

    Attributes:
        server: The server.
        kind: The evidence.
        detail: More of it, for people.
        retry_after: Seconds the server asked to be left alone; 0 if it named none.
        started_at: Time of the attempt's start, by `clock`.
    """

    server: Server
    kind: Event
    detail: str
    retry_after: float
    started_at: float


class Observer:
    """Reports evidence to the supervisor."""

    __slots__ = ("_router", "_send")

    def __init__(self, send: Callable[[Message], None], router: Router) -> None:
        """Begin without any.

        Args:
            send: Sends a message to the supervisor.
            router: Receives refusals and overloads of servers.
        """
        self._send = send
        self._router = router

    def observe(self, seen: Seen | None, group: ModelServers) -> None:
        """Report what matters for a server's health.

        Good responses are counted in the score table; they are reported on trial only.

        Args:
            seen: The evidence, or None.
            group: The servers that might have had the request.
        """
        if seen is None:
            return
        server, kind = seen.server, seen.kind
        if kind is Event.REQUEST_OK:
            self._router.refusals.answered(server.row)
            if server.state is not ServerState.TRIAL:
                return
        elif kind is Event.BUSY and len(server.models or ()) > 1:
            self._cool(seen, group)
            return
        elif kind in REFUSALS:
            self._router.refusals.note(server.row)
        self.report(seen, group)

    def report(self, seen: Seen, group: ModelServers) -> None:
        """Report evidence whose penalty has been noted before; see `observe`."""
        self._send(
            Observed(
                row=seen.server.row,
                generation=seen.server.generation,
                kind=seen.kind,
                detail=seen.detail,
                model=group.name,
                retry_after=seen.retry_after,
                age=clock.now() - seen.started_at,
            )
        )

    def _cool(self, seen: Seen, group: ModelServers) -> None:
        """Let a server with several models cool down for one; others may be idle.

        Other workers find out by themselves.
        """
        seconds = cool_down(seen.retry_after)
        if self._router.cooling.begin(group, seen.server, seconds):
            log.info(
                "server %s is overloaded for %s: %s; for %g s it is asked for them only where "
                "there is no other",
                seen.server.url,
                f"requests for {group.name}" if group.name else "requests without a model",
                seen.detail,
                seconds,
            )
