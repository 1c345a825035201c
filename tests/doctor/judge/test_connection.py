"""Judgements of a server's name, connection, certificate, clock and keep-alive."""

import pytest

from fastroute.doctor.facts import KeepAlive, Step
from fastroute.doctor.judge.connection import (
    judge_clock,
    judge_keep_alive,
    judge_reach,
    judge_tls,
)
from tests.support.facts import certificate, facts, reach
from tests.support.judged import one

HTTPS = "https://gpu-1"


def failed(step: Step, error: str, **fields):
    return reach(step=step, error=error, status=None, **fields)


@pytest.mark.parametrize(
    ("url", "measured", "severity", "words", "remedy"),
    [
        pytest.param(
            "http://a", reach(), "ok",
            "name resolved in 1.0ms, connected in 2.0ms, /health in 3.0ms", "", id="fine",
        ),
        pytest.param(
            "http://a", reach(addresses=("::1", "127.0.0.1")), "ok", "of 2 addresses", "",
            id="several-addresses",
        ),
        pytest.param(
            "http://a", reach(connect=1.5), "ok", "close to connect_timeout (2.0s)", "",
            id="slow-connect",
        ),
        pytest.param(
            "http://a", reach(status=503), "error", "/health returns 503", "log of vLLM", id="ill",
        ),
        pytest.param(
            "http://a", reach(status=401), "error", "/health returns 401", "", id="key-for-health",
        ),
        pytest.param(
            "http://a", failed(Step.NAME, "cannot connect: Name or service not known"), "error",
            "Name or service not known", "DNS", id="name",
        ),
        pytest.param(
            "http://a", failed(Step.CONNECT, "cannot connect: Connection refused"), "error",
            "Connection refused", "--host 0.0.0.0", id="refused",
        ),
        pytest.param(
            HTTPS, failed(Step.TLS, "cannot connect: its certificate is not trusted: x"), "error",
            "not trusted", "SSL_CERT_FILE", id="not-trusted",
        ),
        pytest.param(
            HTTPS, failed(Step.TLS, "cannot connect: [SSL: WRONG_VERSION_NUMBER] wrong version"),
            "error", "WRONG_VERSION", "it does not support TLS: write http://gpu-1", id="no-tls",
        ),
        pytest.param(
            "http://a", failed(Step.ANSWER, "no response within 5 s"), "error",
            "no response within 5 s", "hangs", id="hangs",
        ),
        pytest.param(
            "http://a", failed(Step.ANSWER, "the response breaks HTTP", speaks_tls=True), "error",
            "breaks HTTP", "it expects TLS: write https://a", id="tls",
        ),
    ],
)  # fmt: skip
def test_reach(url, measured, severity, words, remedy):
    found = one(judge_reach(facts(url, reach=measured)))
    assert found[0] == severity
    assert words in found[1]
    assert remedy in found[2]
    assert (found[2] == "") is (severity == "ok")


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        pytest.param(
            certificate(90),
            ("ok", "TLSv1.3; certificate issued by Our CA, valid until 2027-04-15", ""),
            id="fine",
        ),
        pytest.param(certificate(14.01), "ok", id="long-enough"),
        pytest.param(certificate(13.9), "warning", id="expires-soon"),
        pytest.param(None, ("unknown", "the certificate cannot be read", ""), id="unread"),
    ],
)
def test_tls(shown, expected):
    found = one(judge_tls(facts(HTTPS, reach=reach(certificate=shown))))
    assert found == expected if isinstance(expected, tuple) else found[0] == expected


def test_tls_gives_the_remaining_days():
    found = one(judge_tls(facts(HTTPS, reach=reach(certificate=certificate(3)))))
    assert found[1].endswith("only 3 days")


@pytest.mark.parametrize(
    "judged",
    [
        pytest.param(judge_tls(facts("http://a")), id="tls-of-http"),
        pytest.param(
            judge_tls(facts(HTTPS, reach=failed(Step.TLS, "not trusted"))), id="tls-not-reached"
        ),
        pytest.param(
            judge_clock(facts(reach=failed(Step.NAME, "no such name"))), id="clock-not-reached"
        ),
        pytest.param(judge_keep_alive(facts(keep_alive=None)), id="keep-alive-left-out"),
        pytest.param(judge_reach(facts(reach=None)), id="reach-left-out"),
    ],
)
def test_no_findings_without_facts(judged):
    assert judged == []


@pytest.mark.parametrize(
    ("ahead", "severity", "words"),
    [
        pytest.param(0.0, "ok", "same time as here", id="same"),
        pytest.param(4.9, "ok", "same time as here", id="a-little"),
        pytest.param(41.0, "warning", "41s ahead of the local clock", id="ahead"),
        pytest.param(-7200.0, "warning", "2h behind the local clock", id="behind"),
        pytest.param(None, "unknown", "no Date header in its response", id="no-date"),
    ],
)
def test_clock(ahead, severity, words):
    found = one(judge_clock(facts(reach=reach(clock_ahead=ahead))))
    assert found[0] == severity
    assert words in found[1]


def closed(after: float) -> KeepAlive:
    return KeepAlive(closed_after=after, waited=after)


@pytest.mark.parametrize(
    ("ours", "kept", "severity", "words", "remedy"),
    [
        pytest.param(4, closed(5.0), "ok", "after 5.0 s; pool_idle_timeout is 4 s", "", id="vllm"),
        pytest.param(4, closed(4.5), "ok", "after 4.5 s", "", id="just-enough"),
        pytest.param(
            4, closed(4.4), "warning", "after 4.4 s", "pool_idle_timeout = 3.4", id="too-near"
        ),
        pytest.param(
            30, closed(5.0), "warning", "after 5.0 s", "pool_idle_timeout = 4.0", id="sooner"
        ),
        pytest.param(
            4, closed(0.5), "warning", "after 0.5 s", "pool_idle_timeout = 0.0", id="much-sooner"
        ),
        pytest.param(
            4, closed(0.001), "warning", "closes the connection after each response",
            "enable keep-alive", id="none",
        ),
        pytest.param(0, closed(0.001), "ok", "no connection is kept", "", id="pool-keeps-none"),
        pytest.param(4, KeepAlive(waited=6.0), "ok", "still open after 6.0 s", "", id="longer"),
        pytest.param(
            600, KeepAlive(waited=60.0), "unknown", "longer than this check waits", "",
            id="not-waited",
        ),
        pytest.param(4, KeepAlive(error="no response within 5 s"), "unknown", "no response", "",
                     id="not-measured"),
    ],
)  # fmt: skip
def test_keep_alive(ours, kept, severity, words, remedy):
    found = one(judge_keep_alive(facts(settings={"pool_idle_timeout": ours}, keep_alive=kept)))
    assert found[0] == severity
    assert words in found[1]
    assert remedy in found[2]
