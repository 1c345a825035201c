"""From a request to the servers that may have it, and from those to one."""

import asyncio
import ssl
from collections.abc import Sequence
from random import Random

from fastroute.messages import Configure
from fastroute.proxy.pool import ServerPool
from fastroute.rules.model_name import replace_model, requested_model
from fastroute.rules.policy import Counts, Policy, load, make_policy, without
from fastroute.score_table import ScoreTable, ServerState


class UnknownModel(Exception):
    """A request names a model that no server has.

    Attributes:
        model: The name.
        known: Names that would do.
    """

    def __init__(self, model: str, known: Sequence[str]) -> None:
        super().__init__(model)
        self.model = model
        self.known = known


class Group:
    """The servers of one model, by what may be asked of them now.

    Attributes:
        up: May be chosen.
        on_trial: May have one request at a time, until they have proved themselves.
        cooling: Said that they are full; asked only when there is no other.
        slot: Where the model is counted in the score table.
    """

    __slots__ = ("cooling", "on_trial", "slot", "up")

    def __init__(self, servers: Sequence[ServerPool], slot: int = 0) -> None:
        self.slot = slot
        self.up = tuple(s for s in servers if s.state == ServerState.UP)
        self.on_trial = tuple(s for s in servers if s.state == ServerState.TRIAL)
        self.cooling = tuple(s for s in servers if s.state == ServerState.COOLING)


class Router:
    """The servers as one worker knows them, grouped by model.

    Attributes:
        servers: All of them, chosen or not.
    """

    __slots__ = ("_aliases", "_all", "_groups", "_loop", "_names_matter", "_policy", "_rng",
                 "_rows", "_table", "_tls", "servers")  # fmt: skip

    def __init__(self, loop: asyncio.AbstractEventLoop, table: ScoreTable) -> None:
        self._loop = loop
        self._table = table
        self._tls = ssl.create_default_context()
        self._rng = Random().random
        self._policy: Policy[ServerPool] = load
        self._aliases: dict[str, str] = {}
        self._groups: dict[str, Group] = {}
        self._all = Group(())
        self._names_matter = False
        self._rows = 0
        self.servers: tuple[ServerPool, ...] = ()

    def configure(self, configured: Configure) -> None:
        """Put servers and settings in force; exchanges under way keep the server they have."""
        config = configured.config
        before = {(pool.row, pool.generation): pool for pool in self.servers}
        pools = []
        for server in configured.servers:
            pool = before.pop((server.row, server.generation), None)
            if pool is None:
                pool = ServerPool(server, config, self._loop, self._tls)
            else:
                pool.configure(server, config)
            pools.append(pool)
        for gone in before.values():
            gone.close_idle()
        self.servers = tuple(pools)
        self._rows = max((pool.row + 1 for pool in pools), default=0)
        self._policy = make_policy(config.policy, config.busy_threshold)
        self._aliases = dict(config.aliases)
        self._all = Group(pools)
        slots = {name: slot for slot, name in enumerate(configured.model_slots, 1)}
        names = {name for pool in pools for name in pool.models or ()}
        self._groups = {
            # A server whose models are not known yet may have any.
            name: Group(
                [p for p in pools if p.models is None or name in p.models], slots.get(name, 0)
            )
            for name in names
        }
        self._names_matter = bool(names or self._aliases)

    def find(
        self, target: bytes, content_type: bytes | None, body: bytes | bytearray
    ) -> tuple[Group, bytes | bytearray]:
        """Find the servers that have the model a request names, and the body to send them.

        Args:
            target: Path and query.
            content_type: The field's value, or None.
            body: The whole body.

        Returns:
            The servers, and the body: another one only where the name is an alias.

        Raises:
            UnknownModel: No server has it.
        """
        if not self._names_matter:
            return self._all, body
        model = requested_model(target, content_type, body)
        if not model:
            return self._all, body
        real = self._aliases.get(model)
        if real is not None:
            body, model = replace_model(content_type, bytes(body), real), real
        group = self._groups.get(model)
        if group is None:
            # One that is not known yet may be on a server that has not told its models.
            unlisted = [pool for pool in self.servers if pool.models is None]
            if not unlisted:
                raise UnknownModel(model, sorted({*self._groups, *self._aliases}))
            group = Group(unlisted)
        return group, body

    def choose(self, group: Group, tried: Sequence[ServerPool]) -> ServerPool | None:
        """Choose a server that has not been tried yet for this request, or None."""
        in_flight = self._table.in_flight_now(self._rows)
        candidates = without(group.up, tried)
        if group.on_trial:
            free = [s for s in without(group.on_trial, tried) if not in_flight[s.row]]
            candidates = [*candidates, *free]
        if not candidates:
            candidates = without(group.cooling, tried)
            if not candidates:
                return None
        foreign: Counts = self._table.servers.foreign_milli
        return self._policy(candidates, foreign, in_flight, self._rng)
