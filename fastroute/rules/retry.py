"""Rules for retries: what may be tried again, where and how often."""

import re
from collections import deque
from typing import Final

from fastroute.rules.outcome import ENDINGS, Next, Outcome
from fastroute.rules.paths import is_inference

RETRY_REASONS: Final = ("connect", "reset", "429", "502", "503", "504")
"""Values of `retry_on`."""

# What vLLM 0.32 answers to every new request between SIGTERM and its end: nothing was started.
# Within its quotation marks: a text of the client's that a server repeats has escaped ones.
SHUTTING_DOWN: Final = re.compile(rb'"message": ?"cannot schedule new futures after shutdown"')

BUDGET_WINDOW: Final = 10.0
"""Seconds."""
BUDGET_SHARE: Final = 0.2
BUDGET_MIN_RATE: Final = 3.0
"""Retries a second that are always allowed."""


IDEMPOTENT: Final = frozenset((b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE"))
"""Methods that may be sent again: RFC 9110 9.2.2."""

OVERLOADED: Final = frozenset((429, 503))
GATEWAY_FAILED: Final = frozenset((502, 504))
KEY_REFUSED: Final = frozenset((401, 403))
MISSING: Final = 404
# What vLLM and other OpenAI-compatible servers say of a model that they do not have; a path that
# they do not have gets other words.
NO_SUCH_MODEL: Final = (b"NotFoundError", b"model_not_found", b"does not exist")
UNCLEAR: Final = 500
"""Only the whole body of such a response tells if the server is shutting down."""


def judge(status: int, *, key_is_ours: bool = False, names_model: bool = False) -> Outcome:
    """Return what a response's status says of the server; 4xx are mostly the client's doing.

    Args:
        status: From 400 on.
        key_is_ours: True if the request had the server's own key instead of the client's.
        names_model: True if the request names a model that the server is known to have.
    """
    if status in OVERLOADED:
        return Outcome.OVERLOADED
    if status in GATEWAY_FAILED:
        return Outcome.GATEWAY_FAILED
    if status >= UNCLEAR:
        return Outcome.SERVER_ERROR
    if key_is_ours and status in KEY_REFUSED:
        return Outcome.KEY_REFUSED
    if names_model and status == MISSING:
        return Outcome.MODEL_MISSING
    return Outcome.ANSWERED


def judge_body(outcome: Outcome, status: int, body: bytes) -> Outcome:
    """Return the outcome of an error response now that its body is known.

    Args:
        outcome: As its status says.
        status: Of the response.
        body: Head and body, or the body alone.
    """
    if is_shutting_down(status, body):
        return Outcome.SHUTTING_DOWN
    if outcome is Outcome.MODEL_MISSING and not says_no_such_model(body):
        return Outcome.ANSWERED
    return outcome


def says_no_such_model(body: bytes) -> bool:
    """Return True if the body of a 404 is about the model and not about the path."""
    return any(words in body for words in NO_SUCH_MODEL)


def is_replayable(method: bytes, path: bytes) -> bool:
    """Return True if a request that was sent whole may be sent again.

    Args:
        method: The request's.
        path: Without the query.
    """
    return method in IDEMPOTENT or is_inference(path)


def is_shutting_down(status: int, body: bytes) -> bool:
    """Return True if this is vLLM's response while it stops: nothing was started."""
    return status == UNCLEAR and SHUTTING_DOWN.search(body) is not None


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
