"""Which server gets a request. Nobody usable is None, never an exception."""

from collections.abc import Callable, Collection, Sequence
from typing import Protocol, TypeVar


class Candidate(Protocol):
    """What a policy needs to know of a server."""

    @property
    def row(self) -> int:
        """The server's row in the score table."""

    @property
    def capacity(self) -> int:
        """How many requests it can work on at once."""


C = TypeVar("C", bound=Candidate)


def least_in_flight(
    candidates: Sequence[C],
    in_flight: Sequence[int],
    excluded: Collection[C],
    rng: Callable[[], float],
) -> C | None:
    """Choose the server with the fewest requests in flight for its capacity.

    Args:
        candidates: The usable servers.
        in_flight: Requests that all workers have with each server now, by row.
        excluded: Servers already tried for this request.
        rng: Returns a number from 0 up to 1, to break ties: several workers must not all turn to
            the first server.
    """
    best: list[C] = []
    best_score = float("inf")
    for candidate in candidates:
        score = in_flight[candidate.row] / candidate.capacity
        if score > best_score or (excluded and candidate in excluded):
            continue
        if score < best_score:
            best_score = score
            best = [candidate]
        else:
            best.append(candidate)
    if len(best) > 1:
        return best[int(rng() * len(best))]
    return best[0] if best else None
