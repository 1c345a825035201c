import pytest

from benchmarks.comparison import figures
from tests.support.bench import of_cpu, result, rounds


def test_ratios_are_of_the_same_round():
    run = rounds(of_cpu({"nginx": 10, "fastroute": 12}), of_cpu({"nginx": 20, "fastroute": 30}))
    assert figures.ratios(run, "fastroute") == pytest.approx([1.2, 1.5])
    assert figures.ratios(run, "nginx", "fastroute") == pytest.approx([10 / 12, 2 / 3])


def test_a_round_in_which_one_answered_nothing_has_no_ratio():
    one, two = of_cpu({"nginx": 10, "fastroute": 12}), of_cpu({"nginx": 10, "fastroute": 13})
    one["fastroute"].units = 0
    assert figures.ratios(rounds(one, two), "fastroute") == pytest.approx([1.3])
    assert figures.ratios({}, "fastroute") == []


def test_latency_is_above_that_of_the_same_round():
    def of(p50):
        return result(latencies={"p50": p50, "p99": 9.0, "max": 9.0})

    run = {"direct": [of(0.001), of(0.002)], "fastroute": [of(0.0015), of(0.004)]}
    assert figures.added_latency(run, "fastroute", "p50") == pytest.approx([500, 2000])


def test_summary_is_plain_data():
    (servers,) = figures.summary({"direct": [result(cpu_seconds={"servers": 0.01})]}).values()
    assert servers["cpu_us_per_unit"] == {"median": 10, "min": 10, "max": 10}
    assert servers["cpu_ratio"] is None


def test_errors_are_added():
    both = [result(errors={"a": 1}), result(errors={"a": 2, "b": 1})]
    assert figures.errors(both) == {"a": 3, "b": 1}
