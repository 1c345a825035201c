"""Ejection by comparison: a server is ejected for failed requests only if its peers do better.

A streak of failures says little about a server: one client whose requests no server can answer
makes streaks everywhere, and one lost link breaks a hundred streams at the same moment. So failures
are counted over a sliding window for each server and model, failures of one moment are one piece of
evidence, and the share of failed requests is compared with that of the other servers of the model.

Precedents: Envoy's outlier detection (success rate against the mean of the hosts,
`max_ejection_percent` 10, ejection time doubling) and HAProxy's `observe layer7`. Neither knows
that a server is delivering to other requests.
"""

import math
from collections import deque
from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

from fastroute.rules.server_state import ServerState

WINDOW: Final = 30.0
"""Seconds. Long enough for `failure_threshold` pieces of evidence at 1 request in 5 s."""

MOMENT: Final = 0.25
"""Seconds. Failures of one server within a moment are one piece of evidence."""

MIN_FAILED_SHARE: Final = 0.5
"""A server that answers more requests than it fails is of more use in than out."""

SIGNIFICANCE: Final = math.log(300)
"""A server fails more than its peers do if chance alone would make so bad a share of a server as
good as they are with a probability below 1 in 300. A fixed ratio of the shares was tried first:
it needs too little evidence of few requests, and never ejects a server that fails everything while
one client's bad requests make the peers fail two thirds."""

SIGNIFICANCE_ON_TRIAL: Final = math.log(4)
"""On trial less is enough, as the server was ejected before and has not proved itself since."""


class Sample(NamedTuple):
    """Requests for one model that a server, or its peers together, ended within the window.

    Attributes:
        answered: Number of inference requests that got a good response (2xx, 3xx).
        failed: Number of requests that failed.
        moments: Number of moments in which any failed.
        unreachable: True if at least one of the failures was of the transport (no connection, no
            response), which cannot be the request's fault where no peer shows the contrary.
    """

    answered: int = 0
    failed: int = 0
    moments: int = 0
    unreachable: bool = False

    @property
    def failed_share(self) -> float:
        """Share of failed requests, 0 to 1; 0 if none ended."""
        ended = self.answered + self.failed
        return self.failed / ended if ended else 0.0


class _Slot:
    """Requests that ended within one moment."""

    __slots__ = ("answered", "failed", "index", "unreachable")

    def __init__(self, index: int) -> None:
        self.index = index
        self.answered = 0
        self.failed = 0
        self.unreachable = 0


class Window:
    """Requests of one server and model within the last `WINDOW` seconds; sums are kept."""

    __slots__ = ("_answered", "_failed", "_moments", "_slots", "_unreachable")

    def __init__(self) -> None:
        self._slots: deque[_Slot] = deque()
        self._answered = 0
        self._failed = 0
        self._moments = 0
        self._unreachable = 0

    def add_answered(self, count: int, now: float) -> None:
        """Count inference requests that got a good response (2xx, 3xx)."""
        self._slot(now).answered += count
        self._answered += count

    def add_failed(self, count: int, now: float, *, unreachable: bool) -> None:
        """Count requests that failed.

        Args:
            count: Number of them.
            now: Seconds of the caller's clock.
            unreachable: True if the transport failed, False if the server answered with an error.
        """
        slot = self._slot(now)
        self._moments += not slot.failed
        slot.failed += count
        self._failed += count
        slot.unreachable += count * unreachable
        self._unreachable += count * unreachable

    def sample(self, now: float) -> Sample:
        """Return the sums over the window."""
        self._expire(now)
        return Sample(self._answered, self._failed, self._moments, self._unreachable > 0)

    def _slot(self, now: float) -> _Slot:
        self._expire(now)
        index = int(now / MOMENT)
        if not self._slots or self._slots[-1].index != index:
            self._slots.append(_Slot(index))
        return self._slots[-1]

    def _expire(self, now: float) -> None:
        oldest = int((now - WINDOW) / MOMENT)
        while self._slots and self._slots[0].index < oldest:
            gone = self._slots.popleft()
            self._answered -= gone.answered
            self._failed -= gone.failed
            self._moments -= gone.failed > 0
            self._unreachable -= gone.unreachable


def pooled(samples: Iterable[Sample]) -> Sample:
    """Return several servers' samples as those of one."""
    answered = failed = moments = 0
    unreachable = False
    for sample in samples:
        answered += sample.answered
        failed += sample.failed
        moments += sample.moments
        unreachable |= sample.unreachable
    return Sample(answered, failed, moments, unreachable)


def is_outlier(
    server: Sample, peers: Sample, *, threshold: int, delivering: bool, on_trial: bool = False
) -> bool:
    """Return True if a server fails more than its peers do, so that it had better be ejected.

    There are four conditions:

    1. There is enough evidence: failures in at least `threshold` different moments.
    2. The server is not delivering bytes to other requests, and fails most of what it gets.
    3. It fails significantly more than the peers do, so the requests are not to blame.
    4. Where the peers have no requests to compare with, the transport must have failed: an error
       response may well be the request's fault.

    Args:
        server: Its requests.
        peers: Requests of the other servers of the model, pooled.
        threshold: `failure_threshold`.
        delivering: True if bytes of good responses came from it lately.
        on_trial: True if it was ejected and has not answered a request since; then one moment is
            enough, and so is less of a difference.
    """
    if on_trial:
        threshold = 1
    if server.moments < threshold or delivering or server.failed_share < MIN_FAILED_SHARE:
        return False
    if not peers.answered + peers.failed:
        return server.unreachable
    return _surprise(server, peers) >= (SIGNIFICANCE_ON_TRIAL if on_trial else SIGNIFICANCE)


def _surprise(server: Sample, peers: Sample) -> float:
    """Return how improbable it is that a server and its peers are alike and yet differ so much.

    It is half of the G statistic of two samples: with n requests, a share a of them answered, for
    the server, m and p for the peers, and q for both together, it is n KL(a || q) + m KL(p || q).
    To take p as exact is not enough: one request of the peers would then prove them good. 0 if the
    server does not do worse.
    """
    own, others = server.answered + server.failed, peers.answered + peers.failed
    both = (server.answered + peers.answered) / (own + others)
    answered, expected = server.answered / own, peers.answered / others
    if answered >= expected:
        return 0.0
    return own * _divergence(answered, both) + others * _divergence(expected, both)


def _divergence(share: float, expected: float) -> float:
    """Return the Kullback-Leibler divergence of two Bernoulli distributions, in nats."""
    found = share * math.log(share / expected) if share else 0.0
    return found + ((1 - share) * math.log((1 - share) / (1 - expected)) if share < 1 else 0.0)


def may_eject(state: ServerState, states: Collection[ServerState], max_percent: float) -> bool:
    """Return True if evidence from requests may eject a server of a model.

    A server on trial counts as ejected, as it gets one request at a time and may be ejected again.

    Args:
        state: State of the server.
        states: States of all servers that have the model, this one included.
        max_percent: `max_ejection_percent`, 0 to 100.
    """
    if not state.is_usable or sum(each.is_usable for each in states) < 2:
        return False
    if state is ServerState.TRIAL:
        return max_percent > 0
    counted = sum(each is not ServerState.DRAINING for each in states)
    ejected = sum(each is ServerState.EJECTED or each is ServerState.TRIAL for each in states)
    return ejected < int(counted * max_percent / 100)
