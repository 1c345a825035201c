"""The policies: each chooses the server that gets a request, and says why.

A policy is one class and its place in `POLICIES`. From there come the choices and the documentation
of the setting `policy`, what `fastroute route` says, and the reasons that `explain = true` shows.

A server's score is how full it is: the requests it has in flight, ours and others', for its
capacity. Our own requests count as they are now and the others' as last scraped, so a burst does
not go to the server that looked idle a second ago, and no request is counted twice.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Protocol, TypeVar

Rng = Callable[[], float]
"""Returns a number from 0 up to, not including, 1."""

Column = list[int]
"""A number for each row of the score table."""


class Candidate:
    """The part of a server that a policy sees.

    Attributes:
        row: Its place in each column of `Loads`.
        capacity: Number of requests it can work on at once, times its weight.
    """

    __slots__ = ("capacity", "row")

    def __init__(self, row: int, capacity: float) -> None:
        self.row = row
        self.capacity = capacity


C = TypeVar("C", bound=Candidate)


class Loads:
    """The load of all servers at the moment of a choice, read only and valid for that choice.

    Attributes:
        foreign_milli: Load that others cause, in thousandths of a request.
        in_flight: Number of our own requests.
    """

    __slots__ = ("foreign_milli", "in_flight")

    def __init__(self, foreign_milli: Column, in_flight: Column) -> None:
        self.foreign_milli = foreign_milli
        self.in_flight = in_flight


class PolicySettings(Protocol):
    """Those settings of servers.toml that policies know."""

    @property
    def policy(self) -> str: ...
    @property
    def busy_threshold(self) -> float: ...


class Policy:
    """A way to choose one of several servers.

    Attributes:
        name: The value of the setting `policy`.
        chooses: The server that it chooses, for the documentation.
        rule: How it chooses, for `fastroute route`.
        among: Words before the servers that may be chosen, where there are several.
    """

    __slots__ = ()

    # Not annotated: Cython takes an annotated name for an attribute of each object.
    name = ""
    chooses = ""
    rule = ""
    among = "one of"

    def configure(self, settings: PolicySettings) -> None:
        """Take settings; called whenever they may have changed."""

    def choose(self, candidates: Sequence[C], loads: Loads, rng: Rng) -> C:
        """Choose one of at least one candidates."""
        raise NotImplementedError

    def cost(self, candidate: Candidate, loads: Loads) -> float:
        """Return what the policy compares, the lower the better: here, the score."""
        own: int = loads.in_flight[candidate.row]
        foreign: int = loads.foreign_milli[candidate.row]
        return (own + foreign / 1000) / candidate.capacity

    def explain(self, chosen: C, candidates: Sequence[C], loads: Loads) -> str:
        """Say in a few words why it has chosen a server, given what it chose by."""
        if len(candidates) == 1:
            return "only usable server"
        return self._reason(chosen, candidates, loads)

    def _reason(self, chosen: C, candidates: Sequence[C], loads: Loads) -> str:
        """Say why the server was chosen among several."""
        raise NotImplementedError


class LowestCost(Policy):
    """A policy that chooses the server of the lowest cost, at random among equals."""

    __slots__ = ()

    among = "tie, at random among"

    def choose(self, candidates: Sequence[C], loads: Loads, rng: Rng) -> C:
        """Choose the server of the lowest cost, at random among equals."""
        lowest: float = float("inf")
        cost: float
        best = candidates[0]
        equals: int = 0
        for candidate in candidates:
            cost = self.cost(candidate, loads)
            if cost < lowest:
                lowest = cost
                best = candidate
                equals = 1
            elif cost == lowest:
                equals += 1
        if equals == 1:
            return best
        passed_over: int = int(rng() * equals)
        for candidate in candidates:
            if self.cost(candidate, loads) == lowest:
                if not passed_over:
                    return candidate
                passed_over -= 1
        return best

    def _reason(self, chosen: C, candidates: Sequence[C], loads: Loads) -> str:
        costs = [self.cost(each, loads) for each in candidates]
        ties = costs.count(self.cost(chosen, loads))
        return f"tie of {ties} at random" if ties > 1 else f"lowest of {len(candidates)}"


class Load(LowestCost):
    """Compares scores. Servers below the busy threshold are thereby preferred to those above it."""

    __slots__ = ()

    name = "load"
    chooses = "the least loaded for its capacity, by the servers' own metrics and our requests"
    rule = "the lowest score is taken"


class LeastInflight(LowestCost):
    """Compares our own requests alone.

    For servers whose metrics cannot be read, or that get all their traffic from here.
    """

    __slots__ = ()

    name = "least_inflight"
    chooses = "the least loaded for its capacity, by our requests alone"
    rule = "the lowest score by our own requests alone is taken"

    def cost(self, candidate: Candidate, loads: Loads) -> float:
        """Return how full a server is with our own requests."""
        own = loads.in_flight[candidate.row]
        return own / candidate.capacity


class PowerOfTwo(Policy):
    """Compares two servers drawn at random; they are drawn among those that are not busy, if any.

    Several routers that each see a server idle do not all turn to it at once.
    """

    __slots__ = ("_busy_threshold",)

    name = "power_of_two"
    chooses = "the less loaded of two drawn at random, those that are not busy first"
    rule = "the lower score of two drawn at random is taken, those below busy_threshold first"

    def configure(self, settings: PolicySettings) -> None:
        """Take the score from which a server is busy."""
        self._busy_threshold = settings.busy_threshold

    def choose(self, candidates: Sequence[C], loads: Loads, rng: Rng) -> C:
        """Draw two servers and choose the emptier one."""
        scored = [(self.cost(each, loads), each) for each in candidates]
        drawn_from = [pair for pair in scored if pair[0] < self._busy_threshold] or scored
        if len(drawn_from) == 1:
            return drawn_from[0][1]
        first = int(rng() * len(drawn_from))
        second = int(rng() * (len(drawn_from) - 1))
        second += second >= first
        return min(drawn_from[first], drawn_from[second], key=lambda pair: pair[0])[1]

    def _reason(self, chosen: C, candidates: Sequence[C], loads: Loads) -> str:
        return f"lower of 2 drawn from {len(candidates)}"


class RoundRobin(Policy):
    """Takes servers in turn, larger capacities more often.

    Each pass gives every server credit for its capacity and the one with the most is chosen
    (smooth weighted round robin, as in nginx).
    """

    __slots__ = ("_credit",)

    name = "round_robin"
    chooses = "each in turn, larger servers more often"
    rule = "servers are taken in turn, larger ones more often; each worker has a turn of its own"

    def __init__(self) -> None:
        self._credit: dict[int, float] = {}

    def choose(self, candidates: Sequence[C], loads: Loads, rng: Rng) -> C:
        """Choose the server whose turn it is."""
        credit = self._credit
        for candidate in candidates:
            credit[candidate.row] = credit.get(candidate.row, 0.0) + candidate.capacity
        chosen = max(candidates, key=lambda candidate: credit[candidate.row])
        credit[chosen.row] -= sum(candidate.capacity for candidate in candidates)
        return chosen

    def _reason(self, chosen: C, candidates: Sequence[C], loads: Loads) -> str:
        return f"in turn among {len(candidates)}"


class Random(Policy):
    """Takes servers blindly, larger capacities more often."""

    __slots__ = ()

    name = "random"
    chooses = "any at random, larger servers more often"
    rule = "servers are taken at random, larger ones more often"

    def choose(self, candidates: Sequence[C], loads: Loads, rng: Rng) -> C:
        """Choose blindly."""
        point = rng() * sum(candidate.capacity for candidate in candidates)
        for candidate in candidates:
            point -= candidate.capacity
            if point < 0:
                return candidate
        return candidates[-1]

    def _reason(self, chosen: C, candidates: Sequence[C], loads: Loads) -> str:
        return f"random of {len(candidates)}"


POLICIES: dict[str, type[Policy]] = {
    policy.name: policy for policy in (Load, LeastInflight, PowerOfTwo, RoundRobin, Random)
}
"""All policies by name, in the order of the documentation."""


def make_policy(settings: PolicySettings) -> Policy:
    """Return the policy that the settings name, configured by them."""
    policy = POLICIES[settings.policy]()
    policy.configure(settings)
    return policy


def score(candidate: Candidate, loads: Loads) -> float:
    """Return how full a server is: its cost by `load`, which is shown under every policy."""
    return Load().cost(candidate, loads)


def without(candidates: Sequence[C], excluded: Collection[C]) -> Sequence[C]:
    """Return the candidates that are not excluded; the same object where none is."""
    return [c for c in candidates if c not in excluded] if excluded else candidates


def usable_now(
    up: Sequence[C],
    free: Sequence[C],
    on_trial: Sequence[C],
    cooling: Sequence[C],
    ejected: Sequence[C],
) -> Sequence[C]:
    """Return the candidates among a model's servers: better one that is overloaded than none.

    Args:
        up: May be chosen.
        free: Those of `on_trial` that may have another request.
        on_trial: May have few requests at a time, and more only when there is no other server.
        cooling: Said that they are overloaded; asked only when there is no other.
        ejected: Failed requests; asked only when no other has proved itself (panic mode), beside
            those on trial: one of these may be the server that fails everything.
    """
    if up:
        return [*up, *free]
    if cooling:
        return free or cooling
    return [*free, *ejected] or on_trial
