"""Why a server was chosen, in a few words, for those who ask (`explain = true`)."""

from collections.abc import Sequence
from typing import NamedTuple

from fastroute.rules.policy import C, Counts, score


class Choice(NamedTuple):
    """A server's score at the moment of the choice, and why it was taken."""

    score: float
    reason: str


def explain(
    policy: str, chosen: C, candidates: Sequence[C], foreign_milli: Counts, in_flight: Counts
) -> Choice:
    """Say why a policy took a server.

    Args:
        policy: One of `POLICIES`.
        chosen: The server.
        candidates: Those it was chosen among; itself is one of them.
        foreign_milli: As the policy saw it.
        in_flight: As the policy saw it.
    """
    count = len(candidates)
    its_score = score(chosen, foreign_milli, in_flight)
    if count == 1:
        return Choice(its_score, "only usable server")
    if policy == "round_robin":
        return Choice(its_score, f"in turn among {count}")
    if policy == "random":
        return Choice(its_score, f"random of {count}")
    if policy == "power_of_two":
        return Choice(its_score, f"lower of 2 drawn from {count}")
    if policy == "least_inflight":
        own = [in_flight[each.row] / each.capacity for each in candidates]
        ties = own.count(in_flight[chosen.row] / chosen.capacity)
    else:
        ties = [score(each, foreign_milli, in_flight) for each in candidates].count(its_score)
    reason = f"tie of {ties} at random" if ties > 1 else f"lowest of {count}"
    return Choice(its_score, reason)
