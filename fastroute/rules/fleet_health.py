"""The health of all servers: each one's own, and the comparison of those that have a model.

No evidence that a client can produce ejects more than `max_ejection_percent` of a model's servers,
or the last one that is usable. Failed health checks can mark all of them down.
"""

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from typing import Generic, TypeVar

from fastroute.rules.comparison import Comparison
from fastroute.rules.evidence import COMPARED, Event
from fastroute.rules.health import OUT_OF_SERVICE, Change, ServerHealth
from fastroute.rules.health_record import CONCERNED, NO_FACTS, Facts, Limits
from fastroute.rules.outlier import may_eject
from fastroute.rules.server_state import ServerState

S = TypeVar("S", bound=Hashable)
"""A server: any key that stays the same while the server does."""


class FleetHealth(Generic[S]):
    """The servers' health and what follows from comparing them.

    Attributes:
        limits: The current settings.
        changed: Called for each change of a server's state.
        models: Servers by model; those whose models are not known stand below "".
        servers: All of them: requests that name no model may go to any.
    """

    __slots__ = ("_comparison", "_servers", "changed", "limits", "models", "servers")

    def __init__(self, limits: Limits) -> None:
        """Begin without servers.

        Args:
            limits: The settings.
        """
        self.limits = limits
        self.changed: Callable[[S, Change], None] = lambda server, change: None
        self.models: Mapping[str, Sequence[S]] = {}
        self.servers: Sequence[S] = ()
        self._servers: dict[S, ServerHealth] = {}
        self._comparison: Comparison[S] = Comparison()

    def add(self, server: S) -> ServerHealth:
        """Add a server, which is UP until there is evidence to the contrary."""
        health = self._servers[server] = ServerHealth(self.limits)
        return health

    def remove(self, server: S) -> None:
        """Forget a server."""
        del self._servers[server]
        self._comparison.forget(server)

    def state_of(self, server: S) -> ServerState:
        """Return the state of a server."""
        return self._servers[server].state

    def reconfigure(self, limits: Limits, now: float) -> None:
        """Take new settings; causes that they concern are evaluated again at once."""
        before, self.limits = self.limits, limits
        for server, health in self._servers.items():
            health.record.limits = limits
            settings = CONCERNED[health.record.cause]
            if any(getattr(before, name) != getattr(limits, name) for name in settings):
                self._observe(server, Event.RECONFIGURED, now)

    def observe(self, server: S, event: Event, now: float, facts: Facts = NO_FACTS) -> None:
        """Take an event that concerns one server.

        Args:
            server: The server.
            event: The observation; those of `COMPARED` go through `request_failed`.
            now: Time of it.
            facts: Its details.
        """
        if event is Event.SHUTTING_DOWN and not self._may_eject(server):
            return
        if event is Event.STALLED and self._has_peers(server) and not self._may_eject(server):
            return  # one that is alone is ejected: it is asked all the same, and people see why
        self._observe(server, event, now, facts)

    def request_failed(  # noqa: PLR0913  one failure with all that is known of it
        self, server: S, model: str, event: Event, now: float, *, count: int = 1, detail: str = ""
    ) -> None:
        """Take failed requests.

        Args:
            server: The server.
            model: The model that they named.
            event: One of `COMPARED`.
            now: Time of it.
            count: Number of requests.
            detail: Exact observation, for the log.
        """
        unreachable = COMPARED[event]
        self._comparison.add_failed(server, model, count, now, unreachable=unreachable)
        if self._servers[server].state is ServerState.TRIAL and self._may_eject(server):
            self._observe(server, event, now, Facts(detail=detail))

    def watched(self) -> set[str]:
        """Return the models of which requests failed lately, so that good ones are counted."""
        return self._comparison.watched()

    def requests_answered(self, server: S, model: str, count: int, now: float) -> None:
        """Count good responses for a watched model."""
        self._comparison.add_answered(server, model, count, now)

    def tick(self, now: float, delivering: Collection[S] = ()) -> None:
        """Look at what time and the comparison change; to be called several times a second.

        Args:
            now: The time.
            delivering: Servers from which bytes of good responses came lately.
        """
        for server, health in self._servers.items():
            if health.due is not None and now >= health.due:
                self._observe(server, Event.TIME, now)
        ejections = self._comparison.outliers(
            now,
            {**self.models, "": self.servers},
            self.state_of,
            delivering,
            threshold=self.limits.failure_threshold,
            max_percent=self.limits.max_ejection_percent,
        )
        for ejection in ejections:
            self._observe(ejection.server, Event.OUTLIER, now, Facts(detail=ejection.reason))

    def _has_peers(self, server: S) -> bool:
        return any(len(each) > 1 for each in self.models.values() if server in each)

    def _may_eject(self, server: S) -> bool:
        """Return True if evidence from requests may eject one more server of each of its models."""
        state, percent = self.state_of(server), self.limits.max_ejection_percent
        return all(
            may_eject(state, [self.state_of(each) for each in servers], percent)
            for servers in self.models.values()
            if server in servers
        )

    def _observe(self, server: S, event: Event, now: float, facts: Facts = NO_FACTS) -> None:
        change = self._servers[server].observe(event, now, facts)
        if change is None:
            return
        if change.before in OUT_OF_SERVICE or change.before is ServerState.TRIAL:
            # Old failures must not eject it again.
            self._comparison.forget(server)
        self.changed(server, change)
