"""A fleet, its clients and its failures in virtual time, judged by the rules that ship.

The simulation does what workers and supervisor do: it chooses by the policy `load`, retries as the
rules allow, reports failures, checks health and ticks. All chance comes from one seed.
"""

import enum
import heapq
import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterator

from fastroute.control.fleet.server import TRIAL_PATIENCE
from fastroute.rules.evidence import Event
from fastroute.rules.fleet_health import FleetHealth
from fastroute.rules.health import Change
from fastroute.rules.health_record import Facts, Limits
from fastroute.rules.policy import Candidate, Load, Loads, usable_now
from fastroute.rules.refusals import Refusals
from fastroute.rules.server_state import ServerState
from tests.support.settings import settings_of

TICK = 0.25
CAPACITY = 16
MODEL = "m"


class Mode(enum.Enum):
    """What a server does with requests."""

    GOOD = enum.auto()
    REFUSING = enum.auto()  # no connection; health checks fail
    RESETTING = enum.auto()  # closes without a byte; health checks succeed
    BROKEN = enum.auto()  # 500 for everything; health checks succeed


class Kind(enum.Enum):
    """What becomes of a request on a good server."""

    GOOD = enum.auto()
    ERROR = enum.auto()  # 500 on every server
    POISON = enum.auto()  # its connection is lost on every server
    GARBLED = enum.auto()  # gets a response that is not valid HTTP on every server
    KILLER = enum.auto()  # kills the process of every server, which restarts


class Server(Candidate):
    """A simulated server: `mode` while it lives, and when it is back after a kill."""

    __slots__ = ("dead_until", "mode", "name")

    def __init__(self, row: int) -> None:
        super().__init__(row, CAPACITY)
        self.name = f"s{row}"
        self.mode = Mode.GOOD
        self.dead_until = 0.0

    def mode_at(self, now: float) -> Mode:
        return Mode.REFUSING if now < self.dead_until else self.mode


class Outcome(enum.Enum):
    ANSWERED = enum.auto()
    FAILED = enum.auto()
    UNROUTED = enum.auto()


class Simulation:
    """Run it with `run`; then look at the counts.

    Attributes:
        outcomes: Number of requests by client and outcome.
        attempts: Number of attempts by server.
        works_since: Servers that work again and are not in service yet -> since when.
        recoveries: For each time that a server worked again: seconds until it was in service.
    """

    def __init__(self, servers: int, seed: int, limits: Limits | None = None) -> None:
        self.now = 0.0
        self.limits = limits or settings_of(Limits)
        self.rng = random.Random(seed)
        self.servers = [Server(row) for row in range(servers)]
        self.health: FleetHealth[Server] = FleetHealth(self.limits)
        for server in self.servers:
            self.health.add(server)
        self.health.models = {MODEL: self.servers}
        self.health.servers = self.servers
        self.health.changed = self._changed
        self._beside = [0] * servers
        self._more_at = [0.0] * servers
        self.outcomes: Counter[tuple[str, Outcome]] = Counter()
        self.attempts: Counter[Server] = Counter()
        self.attempts_while: Counter[tuple[Server, Mode]] = Counter()
        self.recoveries: list[float] = []
        self.works_since: dict[Server, float] = {}
        self._in_flight = [0] * servers
        self._capacities = dict.fromkeys(range(servers), float(CAPACITY))
        self._answered: Counter[Server] = Counter()
        self._delivered_at: dict[Server, float] = {}
        self._refusals = Refusals()
        self._policy = Load()
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._in_flight_kills: dict[Server, list[Callable[[], None]]] = {}
        for server in self.servers:
            self.after(self.rng.random() * self.limits.health_check_interval, self._check(server))
        self.after(TICK, self._tick)
        self.after(0.5, self._decay)

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (self.now + seconds, next(self._order), action))

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self._queue and self._queue[0][0] <= end:
            self.now, _, action = heapq.heappop(self._queue)
            action()
        self.now = end

    # The world

    def client(self, name: str, rate: float, kinds: Callable[[], Kind], until: float) -> None:
        """Let a client send requests at random times, at a mean rate, until some time."""

        def send() -> None:
            if self.now < until:
                self._request(name, kinds())
                self.after(self.rng.expovariate(rate), send)

        self.after(self.rng.expovariate(rate), send)

    def change(self, at: float, server: Server, mode: Mode) -> None:
        """Let a server do something else from some time on."""

        def act() -> None:
            was, server.mode = server.mode, mode
            if mode is Mode.GOOD and was is not Mode.GOOD:
                self.works_since[server] = self.now
            elif mode is not Mode.GOOD:
                self.works_since.pop(server, None)

        self.after(at - self.now, act)

    # Workers

    def _request(self, client: str, kind: Kind) -> None:
        _Request(self, client, kind).attempt()

    def choose(self, tried: list[Server]) -> Server | None:
        by_state: dict[ServerState, list[Server]] = {}
        for server in self.servers:
            if server not in tried:
                by_state.setdefault(self.health.state_of(server), []).append(server)
        in_flight = self._refusals.added_to(self._in_flight, self._capacities)
        on_trial = by_state.get(ServerState.TRIAL, [])
        candidates = usable_now(
            by_state.get(ServerState.UP, []),
            [each for each in on_trial if self._in_flight[each.row] <= self._beside[each.row]],
            on_trial,
            by_state.get(ServerState.COOLING, []),
            by_state.get(ServerState.EJECTED, []),
        )
        if not candidates:
            return None
        loads = Loads([0] * len(self.servers), in_flight)
        return self._policy.choose(candidates, loads, self.rng.random)

    def started(self, server: Server) -> None:
        self.attempts[server] += 1
        self.attempts_while[server, server.mode_at(self.now)] += 1
        self._in_flight[server.row] += 1

    def ended(self, server: Server) -> None:
        self._in_flight[server.row] -= 1

    def answered(self, server: Server) -> None:
        self._answered[server] += 1
        self._delivered_at[server] = self.now
        self._refusals.answered(server.row)
        self.health.observe(server, Event.REQUEST_OK, self.now)

    def failed(self, server: Server, event: Event) -> None:
        self.health.request_failed(server, MODEL, event, self.now)

    def refused(self, server: Server) -> None:
        self._refusals.note(server.row)

    def forgiven(self, server: Server) -> None:
        self._refusals.forget(server.row)

    def kill(self, server: Server) -> None:
        """The process of a server ends, with all that it has; another is up after 10 s."""
        server.dead_until = self.now + 10.0

    # The supervisor

    def _changed(self, server: Server, change: Change) -> None:
        if change.after is ServerState.TRIAL:
            self._admit(server)

    def _admit(self, server: Server) -> None:
        self._beside[server.row] = self._in_flight[server.row]
        self._more_at[server.row] = self.now + TRIAL_PATIENCE

    def _tick(self) -> None:
        for server in self.servers:
            on_trial = self.health.state_of(server) is ServerState.TRIAL
            if on_trial and self.now >= self._more_at[server.row]:
                self._admit(server)
        for server, count in self._answered.items():
            if MODEL in self.health.watched():
                self.health.requests_answered(server, MODEL, count, self.now)
        self._answered.clear()
        delivering = {s for s, at in self._delivered_at.items() if self.now - at <= 2.0}
        self.health.tick(self.now, delivering)
        for server, since in list(self.works_since.items()):
            if self.health.state_of(server) in (ServerState.UP, ServerState.COOLING):
                self.recoveries.append(self.now - since)
                del self.works_since[server]
        self.after(TICK, self._tick)

    def _decay(self) -> None:
        self._refusals.decay()
        self.after(0.5, self._decay)

    def _check(self, server: Server) -> Callable[[], None]:
        health = self.health._servers[server]

        def check() -> None:
            refused = server.mode_at(self.now) is Mode.REFUSING
            event = Event.PROBE_FAILED if refused else Event.PROBE_OK
            self.health.observe(server, event, self.now, Facts(response_time=0.01))
            interval = health.probe_interval
            if health.record.consecutive_failures:
                interval = min(interval, 2.0)
            self.after(interval, check)

        return check


class _Request:
    """One request on its way: up to `max_retries` other servers, at most one of them a replay."""

    def __init__(self, world: Simulation, client: str, kind: Kind) -> None:
        self.world = world
        self.client = client
        self.kind = kind
        self.tried: list[Server] = []
        self.retries_left = 3
        self.lost_on: Server | None = None

    def attempt(self) -> None:
        world = self.world
        server = world.choose(self.tried)
        if server is None:
            failed = Outcome.FAILED if self.tried else Outcome.UNROUTED
            if self.lost_on is not None:  # no other server can tell if the request is to blame
                world.failed(self.lost_on, Event.REQUEST_LOST)
            self._settle(failed)
            return
        self.tried.append(server)
        world.started(server)
        if server.mode_at(world.now) is Mode.REFUSING:
            world.ended(server)
            world.refused(server)
            world.failed(server, Event.REQUEST_FAILED)
            self._again()
            return
        time = 0.02 if self.kind is not Kind.GOOD else world.rng.uniform(0.1, 1.0)
        if server.mode_at(world.now) is not Mode.GOOD:
            time = 0.01
        world.after(time, lambda: self._end(server))

    def _end(self, server: Server) -> None:
        world = self.world
        mode = server.mode_at(world.now)
        world.ended(server)
        if mode in (Mode.REFUSING, Mode.RESETTING) or self.kind in (Kind.POISON, Kind.KILLER):
            if self.kind is Kind.KILLER and mode is Mode.GOOD:
                world.kill(server)
            self._lost(server)
        elif mode is Mode.BROKEN or self.kind in (Kind.ERROR, Kind.GARBLED):
            garbled = mode is not Mode.BROKEN and self.kind is Kind.GARBLED
            world.refused(server)
            world.failed(server, Event.REQUEST_LOST if garbled else Event.REQUEST_ERROR)
            self._settle(Outcome.FAILED)
        else:
            world.answered(server)
            if self.lost_on is not None:  # another server answered it: the first one is to blame
                world.failed(self.lost_on, Event.REQUEST_FAILED)
            self._settle(Outcome.ANSWERED)

    def _lost(self, server: Server) -> None:
        if self.lost_on is not None:  # lost on two servers: the request is to blame, and ends
            self.world.forgiven(self.lost_on)
            self._settle(Outcome.FAILED)
            return
        self.lost_on = server
        self.world.refused(server)
        self._again()

    def _again(self) -> None:
        if not self.retries_left:
            self._settle(Outcome.FAILED)
            return
        self.retries_left -= 1
        self.attempt()

    def _settle(self, outcome: Outcome) -> None:
        self.world.outcomes[self.client, outcome] += 1


def share_answered(world: Simulation, client: str) -> float:
    """Share of a client's requests that were answered, 0 to 1."""
    total = sum(count for (name, _), count in world.outcomes.items() if name == client)
    return world.outcomes[client, Outcome.ANSWERED] / total if total else 1.0


def always(kind: Kind) -> Callable[[], Kind]:
    return lambda: kind


def mixed(rng: random.Random, kinds: dict[Kind, float]) -> Callable[[], Kind]:
    """Kinds at random, by weight."""
    names, weights = list(kinds), list(kinds.values())
    return lambda: rng.choices(names, weights)[0]


def outages(
    rng: random.Random, servers: list[Server], seconds: float, modes: list[Mode]
) -> Iterator[tuple[float, Server, Mode]]:
    """Changes of mode so that at least one server is good at any time: all but the first fail."""
    for server in servers[1:]:
        at = 0.0
        while True:
            at += rng.uniform(20, 120)
            if at > seconds * 0.5:
                break
            yield at, server, rng.choice(modes)
            at += rng.uniform(5, 90)
            yield at, server, Mode.GOOD
