"""From a request to the servers that may have it, and from those to one."""

import functools
import ssl
from collections.abc import Sequence
from random import Random
from typing import Final, NamedTuple

from fastroute.ipc.messages import Configure
from fastroute.ipc.score_table import ScoreTable
from fastroute.net.resolver import Resolver
from fastroute.proxy.model_servers import NEVER_GROUPED, Cooling, ModelServers
from fastroute.proxy.server import Server
from fastroute.rules.json_object import TooManySteps
from fastroute.rules.model_name import replace_model, requested_model
from fastroute.rules.policy import Load, Loads, Policy, make_policy, score, usable_now, without
from fastroute.rules.refusals import Refusals
from fastroute.rules.server_state import ServerState

# An enum member by its number costs 0.2 us through the class.
STATES: Final = tuple(ServerState(number) for number in range(len(ServerState)))


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


class Choice(NamedTuple):
    """A server that was chosen, its score at that moment, and why it was taken."""

    server: Server
    score: float
    reason: str


class Router:
    """The servers as one worker knows them, grouped by model.

    Attributes:
        cooling: The servers that are overloaded for one of their models.
        refusals: Load that servers seem to have because they just refused or failed requests.
        servers: All of them, chosen or not.
        wakeable: The servers for requests to `WAKE_PATHS`.
    """

    __slots__ = (
        "_aliases",
        "_all",
        "_capacities",
        "_foreign",
        "_groups",
        "_in_flight",
        "_known_names",
        "_loads",
        "_names",
        "_names_matter",
        "_policy",
        "_resolver",
        "_rng",
        "_states_seen",
        "_states_version",
        "_table",
        "_tls",
        "_trial_beside",
        "_unlisted",
        "_unsearched",
        "cooling",
        "refusals",
        "servers",
        "wakeable",
    )

    def __init__(self, table: ScoreTable) -> None:
        self._table = table
        # Made when a server needs it: 30 ms, and 2 MB of root certificates.
        self._tls = functools.cache(ssl.create_default_context)
        self._resolver = Resolver()
        self._rng = Random().random
        self._policy: Policy = Load()
        self._loads = Loads([], [])
        self._aliases: dict[str, str] = {}
        self._groups: dict[str, ModelServers] = {}
        self._all = ModelServers()
        self.wakeable = ModelServers(sleepers_first=True)
        self._unlisted = ModelServers()  # asked for models that no server is known to have
        self._known_names: tuple[str, ...] = ()  # in the servers' own order, then the aliases
        self._unsearched: int = 0
        self._names_matter = False
        self._foreign = table.servers.foreign_milli[:0]
        self._trial_beside = table.servers.trial_beside
        self._in_flight = [column[:0] for column in table.in_flight_columns]
        self._states_version = table.states_version
        self._states_seen = NEVER_GROUPED
        self._capacities: dict[int, float] = {}
        self.refusals = Refusals()
        self.cooling = Cooling()
        self.servers: tuple[Server, ...] = ()

    def configure(self, configured: Configure) -> None:
        """Activate settings and servers; exchanges in progress keep the server they have."""
        config = configured.config
        self._take_servers(configured)
        # Only the rows in use, and as lists: to read the cells one by one took 0.1 us for each.
        rows = max((pool.row + 1 for pool in self.servers), default=0)
        self._foreign = self._table.servers.foreign_milli[:rows]
        self._in_flight = [column[:rows] for column in self._table.in_flight_columns]
        if config.policy == self._policy.name:
            self._policy.configure(config)
        else:
            self._policy = make_policy(config)
        self._aliases = dict(config.aliases)
        self._take_models(configured.model_slots)

    def _take_servers(self, configured: Configure) -> None:
        before = {(pool.row, pool.generation): pool for pool in self.servers}
        pools = []
        for server in configured.servers:
            pool = before.pop((server.row, server.generation), None)
            if pool is None:
                pool = Server(server, configured.config, self._tls, self._resolver)
            else:
                pool.configure(server, configured.config)
            pools.append(pool)
        for gone in before.values():
            gone.retire()
        self.servers = tuple(pools)
        self._capacities = {pool.row: pool.capacity for pool in pools}
        self._take_states()

    def _take_states(self) -> None:
        """Take the states of all servers from the score table."""
        # The version first: should a state be written meanwhile, it differs and all are read again.
        self._states_seen = self._states_version[0]
        columns = self._table.servers
        states, generations = columns.state.tolist(), columns.generation.tolist()
        for server in self.servers:
            # The row of one that was removed may be another server's before the message comes.
            is_own = generations[server.row] == server.generation
            server.state = STATES[states[server.row]] if is_own else ServerState.FREE

    def _take_models(self, model_slots: Sequence[str]) -> None:
        pools = self.servers
        self._all.update(pools)
        self.wakeable.update(pools)
        self._unlisted.update([p for p in pools if p.models is None])
        by_name: dict[str, list[Server]] = {}
        for pool in pools:
            for name in dict.fromkeys(pool.models or ()):
                by_name.setdefault(name, []).append(pool)
        for gone in self._groups.keys() - by_name.keys():
            self._groups.pop(gone).update(())
        slots = {name: slot for slot, name in enumerate(model_slots, 1)}
        for name, having in by_name.items():
            group = self._groups.setdefault(name, ModelServers(name))
            group.slot = slots.get(name, 0)
            group.update(having)
        self._known_names = tuple(dict.fromkeys((*by_name, *self._aliases)))
        self._names_matter = bool(by_name or self._aliases)

    def find(
        self,
        target: bytes,
        content_type: bytes | None,
        body: bytes | bytearray,
        is_traced: bool = False,
    ) -> tuple[ModelServers, bytes | bytearray, str | None]:
        """Find the servers that have the model a request names, and the body to send them.

        Args:
            target: Path and query.
            content_type: The field's value, or None.
            body: The whole body.
            is_traced: True if the name is needed even where all servers have the same models.

        Returns:
            The servers, the body (another one only where the name is an alias), and the name, as
            the server has it. The body is searched here only: it costs too much to do it again.

        Raises:
            UnknownModel: No server has it.
        """
        if not (self._names_matter or is_traced):
            return self._all, body, None
        try:
            model = requested_model(target, content_type, body)
        except TooManySteps:
            self._unsearched += 1
            return self._all, body, None
        if not model or not self._names_matter:
            return self._all, body, model
        real = self._aliases.get(model)
        if real is not None:
            body, model = replace_model(content_type, bytes(body), real), real
        group = self._groups.get(model)
        if group is None:
            if None not in [pool.models for pool in self.servers]:
                raise UnknownModel(model, self._known_names)
            group = self._unlisted
        return group, body, model

    def take_unsearched(self) -> int:
        """Return the number of searches for a model that reached a limit since the last call."""
        taken: int = self._unsearched
        self._unsearched = 0
        return taken

    def choose(self, group: ModelServers, tried: Sequence[Server]) -> Server | None:
        """Choose a server that has not been tried yet for this request, or None."""
        loads = self._loads_now()
        candidates = self._candidates(group, tried, loads)
        if not candidates:
            return None
        return self._policy.choose(candidates, loads, self._rng)

    def choose_and_explain(self, group: ModelServers, tried: Sequence[Server]) -> Choice | None:
        """Choose as `choose` does, and say why."""
        loads = self._loads_now()
        candidates = self._candidates(group, tried, loads)
        if not candidates:
            return None
        chosen = self._policy.choose(candidates, loads, self._rng)
        return Choice(chosen, score(chosen, loads), self._reason(chosen, group, candidates, loads))

    def tick(self, stamp: float) -> None:
        """Act on time that has passed; to be called at each timer tick.

        Args:
            stamp: Time of the next tick.
        """
        self.refusals.decay()
        self.cooling.tick(stamp)

    def _reason(
        self, chosen: Server, group: ModelServers, candidates: Sequence[Server], loads: Loads
    ) -> str:
        """Say why a server was chosen: its state goes before the policy."""
        if chosen.state is ServerState.TRIAL:
            return "trial"
        if chosen in group.cooling:
            return "cooling down, but there is no other"
        if chosen.state is ServerState.EJECTED:
            return "ejected, but there is no other"
        reason = self._policy.explain(chosen, candidates, loads)
        return f"{reason} with the model" if len(candidates) == 1 and group.name else reason

    def _candidates(
        self, group: ModelServers, tried: Sequence[Server], loads: Loads
    ) -> Sequence[Server]:
        """Return the servers that may be chosen; add the penalties of refusals to the loads."""
        if group.states_version != self._states_version[0]:
            self._regroup(group)
        in_flight = loads.in_flight
        if self.refusals.penalties:
            loads.in_flight = self.refusals.added_to(in_flight, self._capacities)
        up = without(group.up, tried) if tried else group.up
        if up and not group.on_trial:
            return up
        beside, on_trial = self._trial_beside, without(group.on_trial, tried)
        return usable_now(
            up,
            [server for server in on_trial if in_flight[server.row] <= beside[server.row]],
            on_trial,
            without(group.cooling, tried),
            without(group.ejected, tried),
        )

    def _regroup(self, group: ModelServers) -> None:
        if self._states_seen != self._states_version[0]:
            self._take_states()
        group.regroup(self._states_seen)

    def _loads_now(self) -> Loads:
        """Return the load of all servers now: the same object each time, with other numbers."""
        loads = self._loads
        loads.foreign_milli = self._foreign.tolist()
        if len(self._in_flight) == 1:
            loads.in_flight = self._in_flight[0].tolist()
        else:
            # Over all workers.
            columns = [column.tolist() for column in self._in_flight]
            loads.in_flight = list(map(sum, zip(*columns, strict=True)))
        return loads
