import msgspec
import pytest

from benchmarks.studies.startup import Start
from benchmarks.studies.workers import Result
from benchmarks.targets import TARGETS
from tests.support.bench import of_cpu, raw, result, rounds

(
    SATURATED,
    PACED,
    EVENTS,
    LATENCY,
    PROMPTS,
    STREAMS,
    WORKERS,
    SCRAPING,
    CHOOSING,
    START,
    MEMORY,
) = TARGETS


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.what)
def test_nothing_measured_is_not_told(target):
    verdict = target.verdict(raw())
    assert (verdict.measured, verdict.met, verdict.stretch) == ("not measured", None, False)


def saturated(**us):
    names = {name.replace("_", "-"): each for name, each in us.items()}
    return raw(rounds={"json-saturated": rounds(of_cpu(names), of_cpu(names))})


@pytest.mark.parametrize(
    ("us", "met", "stretch"),
    [
        pytest.param(
            {"nginx": 10, "haproxy": 10, "vllm_router": 40, "smg": 70, "fastroute": 11},
            True,
            False,
            id="met",
        ),
        pytest.param(
            {"nginx": 10, "haproxy": 10, "vllm_router": 40, "smg": 70, "fastroute": 9},
            True,
            True,
            id="stretch",
        ),
        pytest.param(
            {"nginx": 10, "haproxy": 8, "vllm_router": 40, "smg": 70, "fastroute": 9},
            True,
            False,
            id="dearer-than-one-of-both",
        ),
        pytest.param(
            {"nginx": 10, "haproxy": 10, "vllm_router": 40, "smg": 70, "fastroute": 12},
            False,
            False,
            id="dearer-than-nginx-allows",
        ),
        pytest.param(
            {"nginx": 10, "haproxy": 10, "vllm_router": 25, "smg": 70, "fastroute": 10},
            False,
            False,
            id="dearer-than-vllm-router-allows",
        ),
        pytest.param({"nginx": 10, "fastroute": 10}, None, False, id="a-peer-is-missing"),
        pytest.param({"nginx": 10, "fastroute": 20}, False, False, id="missed-whatever-is-missing"),
    ],
)
def test_cpu(us, met, stretch):
    verdict = SATURATED.verdict(saturated(**us))
    assert (verdict.met, verdict.stretch) == (met, stretch)


def test_the_ratio_is_that_of_each_round():
    """Both twice as slow in the second round, as on a busy machine: the ratio is the same."""
    calm = of_cpu({"nginx": 10, "fastroute": 14})
    busy = of_cpu({"nginx": 20, "fastroute": 28})
    verdict = PROMPTS.verdict(raw(rounds={"prompts-100k": rounds(calm, busy)}))
    assert verdict.measured == "1.40 (1.40-1.40) x nginx"
    assert verdict.met


def test_a_wrong_answer_misses_the_target():
    names = {"nginx": 10, "fastroute": 10}
    one = of_cpu(names)
    one["fastroute"].errors = {"status 502": 3}
    verdict = PROMPTS.verdict(raw(rounds={"prompts-100k": rounds(one)}))
    assert verdict.met is False
    assert "3 wrong answers" in verdict.measured


def test_a_proxy_without_an_answer_has_no_ratio():
    one = of_cpu({"nginx": 10, "fastroute": 10})
    one["nginx"].units = 0
    verdict = PROMPTS.verdict(raw(rounds={"prompts-100k": rounds(one)}))
    assert (verdict.measured, verdict.met) == ("(no figure) x nginx", None)


def latencies(**us):
    return raw(
        rounds={
            "latency-1000": {
                name.replace("_", "-"): [
                    result(latencies={"p50": p50 / 1e6, "p99": p99 / 1e6, "max": 1.0})
                ]
                for name, (p50, p99) in us.items()
            }
        }
    )


OTHERS = {
    "direct": (60, 200),
    "nginx": (100, 300),
    "vllm_router": (240, 900),
    "smg": (400, 1500),
}


@pytest.mark.parametrize(
    ("own", "met", "stretch"),
    [
        pytest.param((120, 350), True, False, id="met"),
        pytest.param((100, 300), True, True, id="stretch"),
        pytest.param((131, 300), False, False, id="p50-over-nginx"),
        pytest.param((100, 501), False, False, id="p99-over-nginx"),
        pytest.param((50, 300), None, False, id="quicker-than-direct-cannot-be"),
    ],
)
def test_latency(own, met, stretch):
    verdict = LATENCY.verdict(latencies(**OTHERS, fastroute=own))
    assert (verdict.met, verdict.stretch) == (met, stretch)


def test_latency_must_be_half_of_the_routers():
    quick_router = OTHERS | {"vllm_router": (130, 900)}
    assert LATENCY.verdict(latencies(**quick_router, fastroute=(110, 300))).met is False


def test_latency_without_the_routers_is_not_told():
    two = {name: OTHERS[name] for name in ("direct", "nginx")}
    assert LATENCY.verdict(latencies(**two, fastroute=(110, 300))).met is None


def streams(*, count=10_000, delay=0.005, each=7_000, errors=None):
    steps = [(open_, {"fastroute": 50_000_000 + open_ * each}) for open_ in (0, 1000, count)]
    return raw(
        many_streams={
            "direct": result(latencies={"p50": 0.0, "p99": 0.001, "max": 0.1}),
            "fastroute": result(
                latencies={"p50": 0.0, "p99": 0.001 + delay, "max": 0.1},
                resident_steps=steps,
                errors=errors or {},
            ),
        }
    )


@pytest.mark.parametrize(
    ("run", "met", "stretch"),
    [
        pytest.param({}, True, True, id="stretch"),
        pytest.param({"each": 11_000}, True, False, id="met"),
        pytest.param({"each": 13_000}, False, False, id="heavy"),
        pytest.param({"delay": 0.021}, False, False, id="late"),
        pytest.param({"errors": {"1 events missing": 1}}, False, False, id="wrong"),
        pytest.param({"count": 2000}, None, False, id="too-few-to-tell"),
        pytest.param({"count": 2000, "delay": 0.05}, False, False, id="late-with-few"),
    ],
)
def test_many_streams(run, met, stretch):
    verdict = STREAMS.verdict(streams(**run))
    assert (verdict.met, verdict.stretch) == (met, stretch)


def workers(*, cores=1, speed=1.0, cost=1.0, clients=(500, 500)):
    one = of_cpu({"fastroute": 20})["fastroute"]
    two = of_cpu({"fastroute": 20 * cost}, units=round(1000 * speed))["fastroute"]
    two.cpu_seconds = {"fastroute": 20e-6 * cost * two.units}
    return raw(
        workers=Result(rounds={1: [one], 2: [two]}, clients=list(clients), worker_cores=cores)
    )


@pytest.mark.parametrize(
    ("run", "met"),
    [
        pytest.param({}, True, id="too-few-cores-for-throughput"),
        pytest.param({"cores": 2, "speed": 1.8}, True, id="faster"),
        pytest.param({"cores": 2, "speed": 1.6}, False, id="not-enough-faster"),
        pytest.param({"cost": 1.2}, False, id="dearer"),
        pytest.param({"clients": (560, 440)}, False, id="uneven"),
    ],
)
def test_workers(run, met):
    assert WORKERS.verdict(workers(**run)).met is met


def scraped(supervisor, p99):
    return result(
        cpu_seconds={"supervisor": supervisor}, latencies={"p50": 1e-4, "p99": p99 / 1e6, "max": 1}
    )


@pytest.mark.parametrize(
    ("filtered", "unfiltered", "met", "stretch"),
    [
        pytest.param((0.04, 600), (0.10, 600), True, True, id="stretch"),
        pytest.param((0.06, 600), (0.10, 610), True, False, id="met"),
        pytest.param((0.04, 600), (0.16, 600), False, False, id="supervisor-busy"),
        pytest.param((0.04, 600), (0.10, 800), False, False, id="users-wait"),
        pytest.param((0.04, 800), (0.10, 600), False, False, id="users-wait-filtered"),
    ],
)
def test_scraping(filtered, unfiltered, met, stretch):
    kinds = {"off": (0.01, 590), "filtered": filtered, "unfiltered": unfiltered}
    run = raw(scraping={kind: [scraped(*figures)] for kind, figures in kinds.items()})
    verdict = SCRAPING.verdict(run)
    assert (verdict.met, verdict.stretch) == (met, stretch)


@pytest.mark.parametrize(
    ("few", "many", "met", "stretch"),
    [
        (1.0, 1.2, True, True),
        (1.9, 14, True, False),
        (2.1, 14, False, False),
        (1, 16, False, False),
    ],
)
def test_choosing(few, many, met, stretch):
    verdict = CHOOSING.verdict(raw(choosing={8: few / 1e6, 200: many / 1e6}))
    assert (verdict.met, verdict.stretch) == (met, stretch)


@pytest.mark.parametrize(
    ("seconds", "megabytes", "start", "memory"),
    [
        pytest.param(0.3, 50, (True, True), (True, True), id="stretch"),
        pytest.param(0.6, 80, (True, False), (True, False), id="met"),
        pytest.param(0.8, 95, (False, False), (False, False), id="missed"),
    ],
)
def test_start_and_memory(seconds, megabytes, start, memory):
    own = Start(seconds, megabytes * 1_000_000, 1)
    run = raw(starts={"fastroute": [own], "smg": [Start(0.2, 59_000_000, 1)]})
    for target, expected in ((START, start), (MEMORY, memory)):
        verdict = target.verdict(run)
        assert (verdict.met, verdict.stretch) == expected
        assert "smg" in verdict.measured


def test_figures_survive_the_raw_file():
    run = streams()
    again = msgspec.json.decode(msgspec.json.encode(run), type=type(run))
    assert STREAMS.verdict(again) == STREAMS.verdict(run)
