"""Which server gets a request: the named policies. Nobody usable is None, never an exception.

A score is how full a server is: what it has in hand, from us and from elsewhere, for its capacity.
It counts our own requests as they are now and the others' as last scraped, so it neither sends a
burst to the server that looked idle a second ago, nor counts our requests twice.
"""

from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

Rng = Callable[[], float]
"""Returns a number from 0 up to, not including, 1."""


class Candidate:
    """What a policy needs to know of a server.

    Attributes:
        row: Where its numbers stand in the score table.
        capacity: How many requests it can work on at once, times its weight.
    """

    __slots__ = ("capacity", "row")

    def __init__(self, row: int, capacity: float) -> None:
        self.row = row
        self.capacity = capacity


C = TypeVar("C", bound=Candidate)
Counts = list[int]
"""Numbers by row: requests in flight from us, or load from elsewhere in thousandths."""

Policy = Callable[[Sequence[C], Counts, Counts, Rng], C]
"""Chooses among one or more candidates, by their foreign load (thousandths) and own in flight."""


def score(candidate: Candidate, foreign_milli: Counts, in_flight: Counts) -> float:
    """Return how full a server is; 1.0 is as much as it can work on at once."""
    own = in_flight[candidate.row]
    foreign = foreign_milli[candidate.row]
    return (own + foreign / 1000) / candidate.capacity


def load(candidates: Sequence[C], foreign_milli: Counts, in_flight: Counts, rng: Rng) -> C:
    """Choose the emptiest server, at random among equals.

    Servers below the busy threshold are thereby preferred to those above it.
    """
    best_score = float("inf")
    best = candidates[0]
    equals = 0
    for candidate in candidates:
        its_score = score(candidate, foreign_milli, in_flight)
        if its_score < best_score:
            best_score = its_score
            best = candidate
            equals = 1
        elif its_score == best_score:
            equals += 1
    if equals == 1:
        return best
    passed_over = int(rng() * equals)
    for candidate in candidates:
        if score(candidate, foreign_milli, in_flight) == best_score:
            if not passed_over:
                return candidate
            passed_over -= 1
    return best


def least_inflight(
    candidates: Sequence[C], foreign_milli: Counts, in_flight: Counts, rng: Rng
) -> C:
    """Choose the server with the fewest of our own requests for its capacity.

    For servers whose metrics cannot be read, or that get all their traffic from here.
    """
    return load(candidates, [0] * len(in_flight), in_flight, rng)


def random(candidates: Sequence[C], foreign_milli: Counts, in_flight: Counts, rng: Rng) -> C:
    """Choose blindly, larger capacities more often."""
    point = rng() * sum(candidate.capacity for candidate in candidates)
    for candidate in candidates:
        point -= candidate.capacity
        if point < 0:
            return candidate
    return candidates[-1]


def power_of_two(busy_threshold: float) -> Policy[C]:
    """Return the policy that takes the emptier of two servers drawn at random.

    Several routers that each see a server idle do not all turn to it at once.

    Args:
        busy_threshold: While any server's score is below it, the two are drawn among those.
    """

    def choose(candidates: Sequence[C], foreign_milli: Counts, in_flight: Counts, rng: Rng) -> C:
        scored = [(score(c, foreign_milli, in_flight), c) for c in candidates]
        drawn_from = [pair for pair in scored if pair[0] < busy_threshold] or scored
        if len(drawn_from) == 1:
            return drawn_from[0][1]
        first = int(rng() * len(drawn_from))
        second = int(rng() * (len(drawn_from) - 1))
        second += second >= first
        return min(drawn_from[first], drawn_from[second], key=lambda pair: pair[0])[1]

    return choose


def round_robin() -> Policy[C]:
    """Return the policy that takes servers in turn, larger capacities more often.

    Each pass gives every server credit for its capacity and the one with the most is chosen
    (smooth weighted round robin, as in nginx).
    """
    credit: dict[int, float] = {}

    def choose(candidates: Sequence[C], foreign_milli: Counts, in_flight: Counts, rng: Rng) -> C:
        for candidate in candidates:
            credit[candidate.row] = credit.get(candidate.row, 0.0) + candidate.capacity
        chosen = max(candidates, key=lambda candidate: credit[candidate.row])
        credit[chosen.row] -= sum(candidate.capacity for candidate in candidates)
        return chosen

    return choose


def make_policy(name: str, busy_threshold: float) -> Policy[C]:
    """Return the policy of that name.

    Args:
        name: One of `POLICIES`.
        busy_threshold: The score from which a server is busy.
    """
    if name == "power_of_two":
        return power_of_two(busy_threshold)
    if name == "round_robin":
        return round_robin()
    return {"load": load, "least_inflight": least_inflight, "random": random}[name]


POLICIES = ("load", "least_inflight", "power_of_two", "round_robin", "random")


def without(candidates: Sequence[C], excluded: Collection[C]) -> Sequence[C]:
    """Return the candidates that are not excluded; the same object where none is."""
    return [c for c in candidates if c not in excluded] if excluded else candidates


def usable_now(
    up: Sequence[C], on_trial: Sequence[C], cooling: Sequence[C], in_flight: Counts
) -> Sequence[C]:
    """Return the candidates among a model's servers: better one that is full than none.

    Args:
        up: May be chosen.
        on_trial: May have one request at a time, and more only when there is no other server.
        cooling: Said that they are full; asked only when there is no other.
        in_flight: Our own requests by row.
    """
    free = [candidate for candidate in on_trial if not in_flight[candidate.row]]
    return [*up, *free] or cooling or on_trial
