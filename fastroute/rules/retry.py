"""What may be tried again, where and how often. No generation may be started twice unawares."""

import enum
from collections import deque
from typing import Final


class Phase(enum.Enum):
    """How far an exchange with a server had come when it failed."""

    CONNECTING = "connecting"
    WAITING = "waiting for the first byte"
    REPLYING = "replying"


class Next(enum.Enum):
    """What to do after a failure."""

    SAME_SERVER_FRESH = "once more on a fresh connection"
    OTHER_SERVER = "another server is tried if there is one"
    GIVE_UP = "given up"


class Verdict(enum.Enum):
    """What a reply says of its server."""

    FINE = enum.auto()
    BUSY = enum.auto()
    FAILED = enum.auto()
    # Of a 500 only the body tells whether the server is going down.
    UNCLEAR = enum.auto()


RETRY_REASONS: Final = ("connect", "reset", "429", "502", "503", "504")
"""What `retry_on` may name."""

# What vLLM 0.32 answers to every new request between SIGTERM and its end: nothing was started.
SHUTTING_DOWN: Final = b"cannot schedule new futures after shutdown"

BUDGET_WINDOW: Final = 10.0
"""Seconds."""
BUDGET_SHARE: Final = 0.2
BUDGET_MIN_RATE: Final = 3.0
"""Retries a second that are always allowed."""


def after_failure(
    phase: Phase, *, reused: bool, silent: bool, retry_on: frozenset[str] | set[str]
) -> Next:
    """Decide what follows when an exchange ended without a whole reply head.

    There are four cases:

    1. There was no connection: nothing was sent, any other server may be asked ("connect").
    2. A reused connection ended without a byte of reply: the server closed it while it was idle,
       as vLLM does after 5 s, and our request crossed that. Once more, on a fresh connection.
    3. A fresh connection ended without a byte of reply: vLLM closes so when it is stopping or was
       killed. Another server may be asked ("reset"). Nobody can get two answers; but the engine of
       a killed vLLM was seen to work on unheard for a while.
    4. All else, a silence among it, may have a generation running. It is not repeated.

    Args:
        phase: How far it had come.
        reused: Whether the connection had carried another request before.
        silent: Whether it failed by a timeout.
        retry_on: The setting.
    """
    if phase is Phase.CONNECTING:
        return Next.OTHER_SERVER if "connect" in retry_on else Next.GIVE_UP
    if phase is Phase.WAITING and not silent:
        if reused:
            return Next.SAME_SERVER_FRESH
        if "reset" in retry_on:
            return Next.OTHER_SERVER
    return Next.GIVE_UP


def judge(status: int) -> Verdict:
    """Say what a reply's status says of the server; 4xx are the client's doing, never its own."""
    if status in (429, 503):
        return Verdict.BUSY
    if status == 500:
        return Verdict.UNCLEAR
    return Verdict.FAILED if status > 500 else Verdict.FINE


def is_shutting_down(body: bytes) -> bool:
    """Whether a 500 is vLLM's answer while it stops: nothing was started, it will not come back."""
    return SHUTTING_DOWN in body


class RetryBudget:
    """Bounds retries to a share of the requests, so that they cannot double an overload.

    Counters are sampled by the caller now and then, and so nothing is done per request.
    """

    __slots__ = ("_samples",)

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int, int]] = deque([(0.0, 0, 0)])

    def sample(self, now: float, requests: int, retries: int) -> None:
        """Take note of the totals at `now`, in seconds."""
        self._samples.append((now, requests, retries))
        while len(self._samples) > 1 and now - self._samples[1][0] >= BUDGET_WINDOW:
            self._samples.popleft()

    def allows(self, requests: int, retries: int) -> bool:
        """Whether one more retry may be made, given the totals now."""
        _, requests_before, retries_before = self._samples[0]
        share = BUDGET_SHARE * (requests - requests_before)
        return retries - retries_before < max(share, BUDGET_MIN_RATE * BUDGET_WINDOW)
