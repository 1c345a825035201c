"""Rules for retries: what may be tried again, where and how often."""

from collections import deque
from typing import Final

from fastroute.rules.outcome import ENDINGS, Next, Outcome

RETRY_REASONS: Final = ("connect", "reset", "429", "502", "503", "504")
"""Values of `retry_on`."""

# What vLLM 0.32 answers to every new request between SIGTERM and its end: nothing was started.
SHUTTING_DOWN: Final = b"cannot schedule new futures after shutdown"

BUDGET_WINDOW: Final = 10.0
"""Seconds."""
BUDGET_SHARE: Final = 0.2
BUDGET_MIN_RATE: Final = 3.0
"""Retries a second that are always allowed."""


OVERLOADED: Final = frozenset((429, 503))
UNCLEAR: Final = 500
"""Only the whole body of such a response tells if the server is shutting down."""


def judge(status: int) -> Outcome:
    """Return what a response's status says of the server; 4xx are the client's doing."""
    if status in OVERLOADED:
        return Outcome.OVERLOADED
    return Outcome.ANSWERED if status < 500 else Outcome.SERVER_ERROR


def is_shutting_down(status: int, body: bytes) -> bool:
    """Return True if this is vLLM's response while it stops: nothing was started."""
    return status == UNCLEAR and SHUTTING_DOWN in body


def may_retry(outcome: Outcome, status: int, retry_on: frozenset[str]) -> bool:
    """Return True if the settings allow another attempt after this one.

    Args:
        outcome: How it ended.
        status: Of its response; 0 if it had none.
        retry_on: The setting.
    """
    ending = ENDINGS[outcome]
    if ending.follow is Next.GIVE_UP:
        return False
    return ending.cause is None or (ending.cause or str(status)) in retry_on


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
        """Return True if one more retry may be made, given the totals now."""
        _, requests_before, retries_before = self._samples[0]
        share = BUDGET_SHARE * (requests - requests_before)
        return retries - retries_before < max(share, BUDGET_MIN_RATE * BUDGET_WINDOW)
