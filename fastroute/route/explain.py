"""Which server a request would get, with the scores of all, and why. Pure: no I/O, no dice.

The choice itself is the router's own code (`rules.policy`). How likely it falls on each server is
not reckoned anew here either: the policy is asked many times, with numbers that cover all dice.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from fastroute.rules.policy import Candidate, Loads, Policy, Rng, make_policy, usable_now
from fastroute.rules.server_state import ServerState

DRAWS = 17_711
STEP = 10_946
"""Two Fibonacci numbers that follow each other: pairs (k, STEP * k mod DRAWS) / DRAWS cover the
unit square more evenly than random ones, so that a share is right to about 1 in 10,000."""

LEAST_CHANCE = 0.001
"""Of those that may be chosen at all; less is not told apart."""

MILLI = 1000


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a server when a request comes.

    Attributes:
        url: Of the server.
        state: Decides whether it may be asked.
        reason: Why it is in that state; may be "".
        max_concurrent_requests: As configured.
        weight: As configured.
        in_flight: Requests of our own that it has.
        foreign_load: Requests of others that it has, waiting ones weighed.
        models: That it has, or None where that is not known.
        note: What else is to be known of these figures, or "".
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
    """The settings that decide, named as in `Config`."""

    policy: str
    busy_threshold: float
    aliases: Mapping[str, str]


class Ranked(msgspec.Struct, frozen=True, kw_only=True):
    """A server, and how it fares.

    Attributes:
        server: What is known of it.
        score: Compared by the policy; lower is better. Its load for its capacity.
        chance: From 0 to 1, of being chosen.
        left_out: Why it cannot be chosen, or "".
    """

    server: Known
    score: float
    chance: float = 0.0
    left_out: str = ""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """The answer.

    Attributes:
        model: As the servers know it, or None if the request names none.
        settings: What decided.
        ranked: All servers, in their own order.
        words: Who is chosen and why, or why nobody is.
    """

    model: str | None
    settings: Settings
    ranked: tuple[Ranked, ...]
    words: str

    @property
    def likely(self) -> list[Ranked]:
        """Those that may be chosen, the likeliest first."""
        return sorted((each for each in self.ranked if each.chance), key=lambda each: -each.chance)


def explain(servers: Sequence[Known], model: str | None, settings: Settings) -> Explanation:
    """Say which server gets a request that comes now.

    Args:
        servers: All of them.
        model: That the request names, an alias maybe; None if it names none.
        settings: Policy and aliases.
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

    up, trial, cooling = map(in_state, (ServerState.UP, ServerState.TRIAL, ServerState.COOLING))
    candidates = usable_now(up, trial, cooling, loads.in_flight)
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
        words = f"no server: none has {model}; known: {', '.join((*names, *settings.aliases))}"
    return Explanation(model=model, settings=settings, ranked=ranked, words=words)


def _having(servers: Sequence[Known], model: str | None, settings: Settings) -> list[int]:
    """Return the rows of the servers that have a model, as the router finds them."""
    rows = range(len(servers))
    named = bool(settings.aliases) or any(server.models for server in servers)
    if not model or not named:
        return list(rows)
    having = [row for row in rows if model in (servers[row].models or ())]
    # Of a model that nobody is known to have, those are asked that may have any.
    return having or [row for row in rows if servers[row].models is None]


def _chances(policy: Policy, candidates: Sequence[Candidate], loads: Loads) -> dict[int, float]:
    """Return by row how often a policy chooses, over evenly spread dice."""
    if not candidates:
        return {}
    chosen = Counter(policy.choose(candidates, loads, _dice(draw)).row for draw in range(DRAWS))
    # Equals are to be equal, though one has a draw more than another.
    return {row: max(LEAST_CHANCE, round(n / DRAWS, 3)) for row, n in chosen.items()}


def _dice(draw: int) -> Rng:
    """Return two numbers for one choice: no policy draws more."""
    numbers = iter(((draw + 0.5) / DRAWS, (STEP * draw % DRAWS + 0.5) / DRAWS))
    return lambda: next(numbers)


def _left_out(server: Known, model: str | None, has_model: bool) -> str:
    if not has_model and server.models is not None:
        return f"does not have {model}, but {', '.join(server.models) or 'none'}"
    reason = f": {server.reason}" if server.reason else ""
    if not has_model and server.state not in (ServerState.DOWN, ServerState.DRAINING):
        return "its models are not known, and others are known to have it"
    return {
        ServerState.DOWN: f"down{reason}",
        ServerState.DRAINING: f"draining{reason}",
        ServerState.COOLING: f"cooling{reason}; asked only when there is no other",
        ServerState.TRIAL: f"on trial{reason}; it has a request already",
    }.get(server.state, server.state.name.lower())


def _words(ranked: Sequence[Ranked], model: str | None, policy: Policy) -> str:
    likely = [each for each in ranked if each.chance]
    usable = [each for each in ranked if not each.left_out]
    if not likely:
        which = "can be asked now" if model is None else f"that may have {model} can be asked now"
        return f"no server: none {which}"
    rule = f"{policy.rule} (policy {policy.name})"
    last_resort = _last_resort(usable[0].server.state)
    if len(usable) == 1:
        return f"{usable[0].server.url}: the only one that can be asked{last_resort}"
    if len(likely) == 1:
        return f"{likely[0].server.url}: {rule}{last_resort}"
    urls = ", ".join(each.server.url for each in likely)
    return f"{policy.among} {urls}: {rule}{last_resort}"


def _last_resort(state: ServerState) -> str:
    if state is ServerState.COOLING:
        return "; all others are out, so those that said they are full are asked"
    return "; those on trial are asked, as there is no other" if state is ServerState.TRIAL else ""
