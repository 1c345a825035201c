"""Prediction of the server that a request would get, with scores and reasons. No I/O.

The choice is made by the router's own code (`rules.policy`). The probability of each server is
measured: the policy chooses many times, with random numbers that are replaced by an even grid.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from fastroute.printable import listed
from fastroute.rules.policy import Candidate, Loads, Policy, Rng, make_policy, usable_now
from fastroute.rules.server_state import ServerState

DRAWS = 17_711
STEP = 10_946
"""Consecutive Fibonacci numbers: the pairs (k, STEP * k mod DRAWS) / DRAWS cover the unit square
more evenly than random ones, so that a share is accurate to about 1 in 10,000."""

LEAST_CHANCE = 0.001
"""Minimum probability shown for a server that may be chosen."""

MILLI = 1000


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """Known facts about a server when a request arrives.

    Attributes:
        url: URL of the server.
        state: State of the server.
        reason: Reason of its state; may be "".
        max_concurrent_requests: Setting of that name.
        weight: Setting of that name.
        in_flight: Number of our requests in flight.
        foreign_load: Number of other requests at the server; waiting ones are weighted.
        models: Names of its models, or None if unknown.
        note: Note about these values, for people, or "".
    """

    url: str
    state: ServerState = ServerState.UP
    reason: str = ""
    max_concurrent_requests: int = 8
    weight: float = 1.0
    in_flight: int = 0
    foreign_load: float = 0.0
    models: tuple[str, ...] | None = None
    note: str = ""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings that influence the choice, named as in `Config`."""

    policy: str
    busy_threshold: float
    aliases: Mapping[str, str]


class Ranked(msgspec.Struct, frozen=True, kw_only=True):
    """A server with its score and its probability.

    Attributes:
        server: Known facts about it.
        score: Value that the policy compares; lower is better.
        chance: Probability that it is chosen, from 0 to 1.
        left_out: Reason why it cannot be chosen, or "".
    """

    server: Known
    score: float
    chance: float = 0.0
    left_out: str = ""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """The predicted choice.

    Attributes:
        model: Model name that the server gets, or None if the request names none.
        settings: Settings that influenced the choice.
        ranked: All servers, in the order of the configuration.
        words: Summary: the chosen server and the reason, or the reason why there is none.
    """

    model: str | None
    settings: Settings
    ranked: tuple[Ranked, ...]
    words: str

    @property
    def likely(self) -> list[Ranked]:
        """Servers that may be chosen, most likely first."""
        return sorted((each for each in self.ranked if each.chance), key=lambda each: -each.chance)


def explain(servers: Sequence[Known], model: str | None, settings: Settings) -> Explanation:
    """Predict which server gets a request that arrives now.

    Args:
        servers: All servers.
        model: Model or alias that the request names; None if it names none.
        settings: Settings that influence the choice.
    """
    if model is not None:
        model = settings.aliases.get(model, model)
    having = _having(servers, model, settings)
    rows = [
        Candidate(row, server.max_concurrent_requests * server.weight)
        for row, server in enumerate(servers)
    ]
    loads = Loads(
        foreign_milli=[round(server.foreign_load * MILLI) for server in servers],
        in_flight=[server.in_flight for server in servers],
    )

    def in_state(state: ServerState) -> list[Candidate]:
        return [rows[row] for row in having if servers[row].state is state]

    on_trial = in_state(ServerState.TRIAL)
    candidates = usable_now(
        in_state(ServerState.UP),
        [each for each in on_trial if not loads.in_flight[each.row]],
        on_trial,
        in_state(ServerState.COOLING),
        in_state(ServerState.EJECTED),
    )
    policy = make_policy(settings)
    chances = _chances(policy, candidates, loads)
    usable = {candidate.row for candidate in candidates}
    ranked = tuple(
        Ranked(
            server=server,
            score=policy.cost(rows[row], loads),
            chance=chances.get(row, 0.0),
            left_out="" if row in usable else _left_out(server, model, row in having),
        )
        for row, server in enumerate(servers)
    )
    if having:
        words = _words(ranked, model, policy)
    else:
        names = dict.fromkeys(name for server in servers for name in server.models or ())
        words = f"no server: none has {model}; known: {listed((*names, *settings.aliases))}"
    return Explanation(model=model, settings=settings, ranked=ranked, words=words)


def _having(servers: Sequence[Known], model: str | None, settings: Settings) -> list[int]:
    """Return the rows of the servers that have a model, by the router's rules."""
    rows = range(len(servers))
    named = bool(settings.aliases) or any(server.models for server in servers)
    if not model or not named:
        return list(rows)
    having = [row for row in rows if model in (servers[row].models or ())]
    # If no server is known to have the model, those with unknown models may have it.
    return having or [row for row in rows if servers[row].models is None]


def _chances(policy: Policy, candidates: Sequence[Candidate], loads: Loads) -> dict[int, float]:
    """Return the probability of each row, measured with an even grid of numbers."""
    if not candidates:
        return {}
    chosen = Counter(policy.choose(candidates, loads, _dice(draw)).row for draw in range(DRAWS))
    # Rounded, because servers with equal scores may differ by one draw.
    return {row: max(LEAST_CHANCE, round(n / DRAWS, 3)) for row, n in chosen.items()}


def _dice(draw: int) -> Rng:
    """Return a source of two numbers for one choice; no policy needs more."""
    numbers = iter(((draw + 0.5) / DRAWS, (STEP * draw % DRAWS + 0.5) / DRAWS))
    return lambda: next(numbers)


def _left_out(server: Known, model: str | None, has_model: bool) -> str:
    if not has_model and server.models is not None:
        return f"does not have {model}, but {listed(server.models) or 'none'}"
    reason = f": {server.reason}" if server.reason else ""
    if not has_model and server.state not in _GETS_NONE:
        return "its models are unknown, and other servers are known to have it"
    return {
        ServerState.DOWN: f"down{reason}",
        ServerState.DRAINING: f"draining{reason}",
        ServerState.COOLING: f"cooling{reason}; used only if no other server is usable",
        ServerState.TRIAL: f"on trial{reason}; it already has a request",
        ServerState.EJECTED: f"ejected{reason}; used only if no other server is usable",
        ServerState.ASLEEP: f"asleep{reason}",
    }.get(server.state, server.state.name.lower())


def _words(ranked: Sequence[Ranked], model: str | None, policy: Policy) -> str:
    likely = [each for each in ranked if each.chance]
    usable = [each for each in ranked if not each.left_out]
    if not likely:
        which = "" if model is None else f" that may have {model}"
        return f"no server: none{which} is usable now"
    rule = f"{policy.rule} (policy {policy.name})"
    last_resort = _LAST_RESORT.get(usable[0].server.state, "")
    if len(usable) == 1:
        return f"{usable[0].server.url}: the only server that can take it{last_resort}"
    if len(likely) == 1:
        return f"{likely[0].server.url}: {rule}{last_resort}"
    urls = ", ".join(each.server.url for each in likely)
    return f"{policy.among} {urls}: {rule}{last_resort}"


_GETS_NONE = frozenset((ServerState.DOWN, ServerState.DRAINING, ServerState.ASLEEP))

_LAST_RESORT = {
    ServerState.COOLING: "; no server is up, so overloaded servers are used as a fallback",
    ServerState.TRIAL: "; no server is up, so a server on trial is used",
    ServerState.EJECTED: "; panic mode: no other server is usable, so ejected servers are used",
}
