"""Judgements of a streamed generation and of an aborted one."""

import pytest

from fastroute.doctor.facts import Abort, Stream
from fastroute.doctor.judge.generation import is_held_back, judge_abort, judge_stream
from tests.support.facts import facts, metrics, stream
from tests.support.judged import one, said

HELD = stream(32, 0.00001, ended_at=0.8)
LOTS = stream(events_at=tuple(0.05 + 0.25 * (n // 8) for n in range(32)), ended_at=0.8)


@pytest.mark.parametrize(
    ("shown", "severity", "words"),
    [
        pytest.param(
            stream(), "ok", "streams: 32 events in 310ms, at most 10ms apart; the first after 50ms",
            id="evenly",
        ),
        pytest.param(stream(32, 0.2, one_token=9.0), "ok", "streams", id="the-first-had-to-wait"),
        pytest.param(
            HELD, "error",
            "does not stream: 32 events that took 800ms to generate arrived within 0.3ms",
            id="buffered",
        ),
        pytest.param(LOTS, "warning", "in bursts: 32 events arrived in 4 groups, up to 250ms apart",
                     id="bursts"),
        pytest.param(
            stream(events_at=tuple(0.05 + 0.04 * (n // 8) for n in range(32)), ended_at=0.2), "ok",
            "streams", id="an-engine-ahead-of-its-server",
        ),
        pytest.param(stream(32, 0.00001), "unknown", "too fast to see", id="too-fast"),
        pytest.param(stream(3), "unknown", "only 3 events arrived: too few", id="few"),
        pytest.param(stream(0), "error", "without any event", id="no-event"),
        pytest.param(stream(32, 0.002), "ok", "streams", id="fast"),
        pytest.param(Stream(model="m", error="E", status=401), "unknown", "E", id="needs-a-key"),
        pytest.param(Stream(model="m", error="E", status=404), "unknown", "E", id="another-task"),
        pytest.param(Stream(model="m", error="E", status=503), "unknown", "E", id="full"),
        pytest.param(Stream(model="m", error="E", status=500), "error", "nothing: E", id="broken"),
        pytest.param(
            Stream(model="m", error="no complete response"), "error", "nothing: no", id="hung"
        ),
    ],
)  # fmt: skip
def test_stream(shown, severity, words):
    found = one(judge_stream(facts(stream=shown)))
    assert found[0] == severity
    assert words in found[1]


def test_an_overloaded_server_is_a_warning():
    late = Stream(model="m", error="no complete response within 30 s")
    found = one(judge_stream(facts(stream=late, metrics=metrics(running=16, waiting=40))))
    assert found[:2] == (
        "warning",
        "no complete response within 30 s; 40 requests are already waiting there",
    )


def test_a_stream_without_done():
    found = said(judge_stream(facts(stream=stream(is_done=False))))
    assert [severity for severity, *_ in found] == ["ok", "warning"]
    assert "[DONE]" in found[1][1]


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        pytest.param(HELD, True, id="held"),
        pytest.param(stream(), False, id="evenly"),
        pytest.param(stream(3, 0.0, ended_at=5.0), False, id="few-tell-nothing"),
        pytest.param(stream(32, 0.0, ended_at=0.14), False, id="made-too-fast"),
        pytest.param(stream(32, 0.0, ended_at=0.16), True, id="made-slowly-enough"),
        pytest.param(stream(0, ended_at=5.0), False, id="none"),
    ],
)
def test_is_held_back(shown, expected):
    assert is_held_back(shown) is expected


@pytest.mark.parametrize(
    ("abort", "severity", "words"),
    [
        pytest.param(
            Abort(during=1, back_after=0.03, rest=4.0), "ok",
            "stops 30ms after the disconnect", id="stops",
        ),
        pytest.param(
            Abort(before=3, during=4, back_after=0.03, rest=4.0), "ok",
            "disconnect; requests of other clients: 3", id="among-others",
        ),
        pytest.param(
            Abort(during=1, back_after=None, waited=3.0, rest=9.0), "error",
            "still generates 3.0s after the disconnect", id="goes-on",
        ),
        pytest.param(
            Abort(during=1, back_after=1.9, waited=1.9, rest=2.0), "error",
            "generated to the end, 1.9s", id="its-own-end",
        ),
        pytest.param(
            Abort(during=1, back_after=1.3, waited=1.3, rest=9.0), "warning", "stops only 1.3s",
            id="late",
        ),
        pytest.param(
            Abort(during=1, back_after=1.3, waited=1.3, rest=None), "warning", "stops only",
            id="late-of-unknown-length",
        ),
        pytest.param(
            Abort(before=3, during=4, back_after=None, waited=3.0, rest=9.0), "unknown",
            "cannot be determined", id="others-may-have-come",
        ),
        pytest.param(
            Abort(during=1, back_after=0.03, rest=0.2), "unknown",
            "would have ended after 200ms by itself", id="too-short",
        ),
        pytest.param(
            Abort(before=2, during=2, back_after=0.0, rest=4.0), "unknown",
            "never counted the test request (2 in progress)", id="not-seen",
        ),
        pytest.param(Abort(error="no event"), "unknown", "not tested: no event", id="failed"),
    ],
)  # fmt: skip
def test_abort(abort, severity, words):
    found = one(judge_abort(facts(abort=abort)))
    assert found[0] == severity
    assert words in found[1]


def test_no_findings_without_measurements():
    untried = facts(stream=None, abort=None)
    assert judge_stream(untried) == judge_abort(untried) == []
