"""The servers of one model, grouped by what may be asked of them now."""

from collections.abc import Sequence
from typing import Final

from fastroute.proxy.server import Server
from fastroute.rules.server_state import ServerState

NEVER_GROUPED: Final = -1


class ModelServers:
    """The servers of one model, by what may be asked of them now.

    A group lives on when servers change, so an exchange under way never retries on one that is
    gone meanwhile.

    A server of several models that is overloaded for one of them cools down in that group alone.

    Attributes:
        servers: All of them, whatever their states.
        states_version: The version of the states that the next four are of.
        up: May be chosen.
        on_trial: May have one request at a time, until they have proved themselves.
        cooling: Said that they are overloaded; asked only when there is no other.
        ejected: Failed requests; asked only when there is no other at all (panic mode).
        slot: Where the model is counted in the score table.
        name: The model's, or empty where they are not the servers of one model.
    """

    __slots__ = (
        "_cool_until", "_sleepers_first", "cooling", "ejected", "name", "on_trial", "servers",
        "slot", "states_version", "up",
    )  # fmt: skip

    def __init__(self, name: str = "", *, sleepers_first: bool = False) -> None:
        """Begin without servers.

        Args:
            name: The model's, or empty.
            sleepers_first: True for requests that wake a server: while any are asleep, these are
                the ones that may be chosen.
        """
        self.name = name
        self._sleepers_first = sleepers_first
        self.servers: tuple[Server, ...] = ()
        self.states_version = NEVER_GROUPED
        self.up: tuple[Server, ...] = ()
        self.on_trial: tuple[Server, ...] = ()
        self.cooling: tuple[Server, ...] = ()
        self.ejected: tuple[Server, ...] = ()
        self.slot = 0
        self._cool_until: dict[Server, float] = {}

    def update(self, servers: Sequence[Server]) -> None:
        """Take other servers; they are grouped before the next choice."""
        self.servers = tuple(servers)
        self.states_version = NEVER_GROUPED

    def regroup(self, states_version: int) -> None:
        """Group the servers by their states, which are those of this version."""
        self.states_version = states_version
        up, cool = self._in_state(ServerState.UP), self._cool_until
        self.up = tuple([server for server in up if server not in cool])
        self.on_trial = self._in_state(ServerState.TRIAL)
        overloaded = [server for server in up if server in cool]
        self.cooling = (*self._in_state(ServerState.COOLING), *overloaded)
        self.ejected = self._in_state(ServerState.EJECTED)
        if self._sleepers_first:
            asleep = self._in_state(ServerState.ASLEEP)
            if asleep:
                self.up, self.on_trial = asleep, ()

    def cool(self, server: Server, until: float) -> bool:
        """Ask a server only where there is no other, until some time; True if that is new."""
        is_new = server not in self._cool_until
        self._cool_until[server] = max(until, self._cool_until.get(server, until))
        self.states_version = NEVER_GROUPED
        return is_new

    def end_cooling(self, now: float) -> bool:
        """Take back the servers whose time is over; True if none is left."""
        self._cool_until = {each: at for each, at in self._cool_until.items() if at > now}
        self.states_version = NEVER_GROUPED
        return not self._cool_until

    def _in_state(self, state: ServerState) -> tuple[Server, ...]:
        return tuple([server for server in self.servers if server.state == state])


class Cooling:
    """The servers that are overloaded for one of their models, until when."""

    __slots__ = ("_groups", "_stamp")

    def __init__(self) -> None:
        self._groups: set[ModelServers] = set()
        self._stamp = 0.0

    def begin(self, group: ModelServers, server: Server, seconds: float) -> bool:
        """Let a server cool down for the requests of one group; True if that is new."""
        self._groups.add(group)
        return group.cool(server, self._stamp + seconds)

    def tick(self, stamp: float) -> None:
        """End what is over; to be called at each timer tick.

        Args:
            stamp: Time of the next tick: what is to last from now on ends late rather than early.
        """
        self._groups = {group for group in self._groups if not group.end_cooling(self._stamp)}
        self._stamp = stamp
