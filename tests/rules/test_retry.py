"""What follows a failure: the whole table, there are only 24 cases; and what a status says."""

from random import Random

import pytest

from fastroute.rules.outcome import ENDINGS, Next, Outcome, Phase, outcome_of_failure
from fastroute.rules.retry import (
    BUDGET_WINDOW,
    RetryBudget,
    is_replayable,
    is_shutting_down,
    judge,
    may_retry,
    says_no_such_model,
)

NEW, REUSED = False, True
ENDED, SILENT = False, True
ALL = frozenset(("connect", "reset", "429", "502", "503", "504"))
NOT_CONNECT = ALL - {"connect"}
NOT_RESET = ALL - {"reset"}
NAMES = {ALL: "all", NOT_CONNECT: "not-connect", NOT_RESET: "not-reset"}


@pytest.mark.parametrize(
    ("phase", "reused", "silent", "retry_on", "expected"),
    [
        (Phase.CONNECTING, NEW, ENDED, ALL, Next.OTHER_SERVER),
        (Phase.CONNECTING, NEW, ENDED, NOT_CONNECT, Next.GIVE_UP),
        (Phase.CONNECTING, NEW, SILENT, ALL, Next.OTHER_SERVER),
        (Phase.CONNECTING, NEW, SILENT, NOT_CONNECT, Next.GIVE_UP),
        (Phase.CONNECTING, REUSED, ENDED, ALL, Next.OTHER_SERVER),
        (Phase.CONNECTING, REUSED, ENDED, NOT_CONNECT, Next.GIVE_UP),
        (Phase.CONNECTING, REUSED, SILENT, ALL, Next.OTHER_SERVER),
        (Phase.CONNECTING, REUSED, SILENT, NOT_CONNECT, Next.GIVE_UP),
        (Phase.WAITING, NEW, ENDED, ALL, Next.OTHER_SERVER),
        (Phase.WAITING, NEW, ENDED, NOT_RESET, Next.GIVE_UP),
        (Phase.WAITING, NEW, SILENT, ALL, Next.GIVE_UP),
        (Phase.WAITING, NEW, SILENT, NOT_RESET, Next.GIVE_UP),
        (Phase.WAITING, REUSED, ENDED, ALL, Next.ONCE_MORE),
        (Phase.WAITING, REUSED, ENDED, NOT_RESET, Next.ONCE_MORE),
        (Phase.WAITING, REUSED, SILENT, ALL, Next.GIVE_UP),
        (Phase.WAITING, REUSED, SILENT, NOT_RESET, Next.GIVE_UP),
        (Phase.REPLYING, NEW, ENDED, ALL, Next.GIVE_UP),
        (Phase.REPLYING, NEW, ENDED, NOT_RESET, Next.GIVE_UP),
        (Phase.REPLYING, NEW, SILENT, ALL, Next.GIVE_UP),
        (Phase.REPLYING, NEW, SILENT, NOT_RESET, Next.GIVE_UP),
        (Phase.REPLYING, REUSED, ENDED, ALL, Next.GIVE_UP),
        (Phase.REPLYING, REUSED, ENDED, NOT_RESET, Next.GIVE_UP),
        (Phase.REPLYING, REUSED, SILENT, ALL, Next.GIVE_UP),
        (Phase.REPLYING, REUSED, SILENT, NOT_RESET, Next.GIVE_UP),
    ],
    ids=lambda value: NAMES.get(value) or getattr(value, "name", str(value)).lower(),
)
def test_what_follows_a_failure(phase, reused, silent, retry_on, expected):
    outcome = outcome_of_failure(phase, reused=reused, silent=silent, begun=False)
    allowed = may_retry(outcome, 0, retry_on)
    assert (ENDINGS[outcome].follow if allowed else Next.GIVE_UP) is expected


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (200, Outcome.ANSWERED),
        (307, Outcome.ANSWERED),
        (400, Outcome.ANSWERED),
        (404, Outcome.ANSWERED),
        (428, Outcome.ANSWERED),
        (429, Outcome.OVERLOADED),
        (430, Outcome.ANSWERED),
        (499, Outcome.ANSWERED),
        (500, Outcome.SERVER_ERROR),
        (501, Outcome.SERVER_ERROR),
        (502, Outcome.GATEWAY_FAILED),
        (503, Outcome.OVERLOADED),
        (504, Outcome.GATEWAY_FAILED),
        (999, Outcome.SERVER_ERROR),
    ],
)
def test_judge(status, expected):
    assert judge(status) is expected


@pytest.mark.parametrize(
    ("status", "key_is_ours", "names_model", "expected"),
    [
        pytest.param(401, True, False, Outcome.KEY_REFUSED, id="our-key"),
        pytest.param(403, True, True, Outcome.KEY_REFUSED, id="our-key-403"),
        pytest.param(401, False, True, Outcome.ANSWERED, id="the-clients-key"),
        pytest.param(404, False, True, Outcome.MODEL_MISSING, id="a-model-it-listed"),
        pytest.param(404, True, False, Outcome.ANSWERED, id="no-model-named"),
        pytest.param(400, True, True, Outcome.ANSWERED, id="the-clients-doing"),
    ],
)
def test_judge_a_refusal(status, key_is_ours, names_model, expected):
    assert judge(status, key_is_ours=key_is_ours, names_model=names_model) is expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(
            b'{"error":{"message":"The model `x` does not exist.","type":"NotFoundError"}}',
            True,
            id="vllm",
        ),
        pytest.param(b'{"error":{"code":"model_not_found"}}', True, id="openai"),
        pytest.param(b'{"detail":"Not Found"}', False, id="path"),
        pytest.param(b"", False, id="empty"),
    ],
)
def test_says_no_such_model(body, expected):
    assert says_no_such_model(body) is expected


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        pytest.param(b"GET", b"/anything", True, id="get"),
        pytest.param(b"DELETE", b"/v1/files/1", True, id="delete"),
        pytest.param(b"POST", b"/v1/chat/completions", True, id="chat"),
        pytest.param(b"POST", b"/v1/audio/transcriptions", True, id="audio"),
        pytest.param(b"POST", b"/v1/load_lora_adapter", False, id="adapter"),
        pytest.param(b"POST", b"/sleep", False, id="sleep"),
        pytest.param(b"POST", b"/v1/completions/more", False, id="not-below"),
    ],
)
def test_is_replayable(method, path, expected):
    assert is_replayable(method, path) is expected


def test_is_shutting_down():
    """vLLM's own words, as captured while it was being stopped."""
    body = b'{"error":{"message":"cannot schedule new futures after shutdown","type":"Inter'
    assert is_shutting_down(500, body)
    assert not is_shutting_down(503, body)
    assert not is_shutting_down(500, b'{"error":{"message":"EngineCore encountered an issue."')
    assert not is_shutting_down(500, b"")
    repeated = b'{"error":{"message":"Bad name: cannot schedule new futures after shutdown"}}'
    quoted = (
        b'{"error":{"message":"\\"message\\":\\"cannot schedule new futures after shutdown\\""}}'
    )
    assert not is_shutting_down(500, repeated), "a client may have it repeated"
    assert not is_shutting_down(500, quoted)


@pytest.mark.parametrize(
    ("outcome", "status", "retry_on", "expected"),
    [
        pytest.param(Outcome.ANSWERED, 200, ALL, False, id="answered"),
        pytest.param(Outcome.OVERLOADED, 429, ALL, True, id="429"),
        pytest.param(Outcome.OVERLOADED, 429, ALL - {"429"}, False, id="429-not-named"),
        pytest.param(Outcome.OVERLOADED, 503, {"503"}, True, id="503-alone"),
        pytest.param(Outcome.GATEWAY_FAILED, 502, ALL, True, id="502"),
        pytest.param(Outcome.SERVER_ERROR, 500, ALL, False, id="500-cannot-be-named"),
        pytest.param(Outcome.SHUTTING_DOWN, 500, frozenset(), True, id="whatever-is-named"),
    ],
)
def test_may_retry_a_response(outcome, status, retry_on, expected):
    assert may_retry(outcome, status, frozenset(retry_on)) is expected


def test_budget_has_a_floor():
    """A few retries are always allowed: one server of two may fail with little traffic."""
    budget = RetryBudget()
    assert budget.allows(requests=1, retries=29)
    assert not budget.allows(requests=1, retries=30)


def test_budget_is_a_share_of_many_requests():
    budget = RetryBudget()
    assert budget.allows(requests=1000, retries=199)
    assert not budget.allows(requests=1000, retries=200)


@pytest.mark.parametrize("load", [1, 10, 100, 1000], ids=lambda rate: f"{rate}-a-second")
def test_budget_holds_over_time(load):
    """Every request fails and would be retried: in no 10 s are more than the share, or 3/s.

    It is sampled each half second, so the window is 10 s to 10.5.
    """
    budget, requests, retries = RetryBudget(), 0, 0
    history = []
    dice = Random(load)
    for half_second in range(1, 121):
        for _ in range(load // 2 or half_second % 2):
            requests += 1
            while dice.random() < 0.9 and budget.allows(requests, retries):
                retries += 1
        budget.sample(half_second / 2, requests, retries)
        history.append((requests, retries))
    for (requests_before, retries_before), (requests, retries) in zip(
        history, history[20:], strict=False
    ):
        allowed = max(0.2 * (requests - requests_before), 30)
        # What was allowed may have been saved up to half a second longer.
        assert retries - retries_before <= allowed * 1.05 + 1
    assert history[-1][1] >= 0.9 * min(max(0.2 * history[-1][0], 180), 0.9 * history[-1][0])


def test_budget_is_whole_again_after_an_outage():
    """Retries spent in an outage are no debt: 10 s later a few are allowed again."""
    budget = RetryBudget()
    budget.sample(100.0, 0, 0)
    assert not budget.allows(10, 30)
    for tenth in range(1, 111):
        budget.sample(100.0 + tenth / 10, 10, 30)
    assert budget.allows(11, 30)
    assert budget.allows(11, 59)
    assert not budget.allows(11, 60)


def test_budget_keeps_few_samples():
    budget = RetryBudget()
    for sample in range(10_000):
        budget.sample(sample / 2, sample, 0)
    assert len(budget._samples) <= 2 * BUDGET_WINDOW + 1


def test_budget_forgets():
    """Only what happened within the window counts."""
    budget = RetryBudget()
    budget.sample(now=1.0, requests=10_000, retries=2000)
    assert not budget.allows(requests=10_000, retries=2000)
    budget.sample(now=1.0 + BUDGET_WINDOW / 2, requests=10_000, retries=2000)
    assert not budget.allows(requests=10_000, retries=2000), "the first sample is too young"
    budget.sample(now=1.0 + BUDGET_WINDOW, requests=10_000, retries=2000)
    assert budget.allows(requests=10_000, retries=2029)
    assert not budget.allows(requests=10_000, retries=2030)
