"""The metrics text is valid, and has the samples that a router reads."""

import asyncio

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fastroute.standin.engine import Engine, Mode, Pace, Sequence
from fastroute.standin.message import Settings
from fastroute.standin.metrics import render_metrics


class Ignorer:
    def produced(self, sequence, count, finish_reason):
        pass


@pytest.fixture
async def engine():
    engine = Engine(Settings(slots=1), asyncio.get_running_loop())
    yield engine
    engine.end_all("abort")


def samples(text: bytes) -> dict:
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


BOTH = (("engine", "0"), ("model_name", "tiny"))


async def test_all_metrics(engine):
    for _ in range(3):
        engine.submit(Sequence(Ignorer(), 0, Pace(60, 60), 1638, 4))
    found = samples(render_metrics(engine, "tiny"))
    expected = {
        ("vllm:num_requests_running", *BOTH): 1,
        ("vllm:num_requests_waiting", *BOTH): 2,
        ("vllm:num_requests_waiting_by_reason", *BOTH, ("reason", "capacity")): 2,
        ("vllm:num_requests_waiting_by_reason", *BOTH, ("reason", "deferred")): 0,
        ("vllm:engine_sleep_state", *BOTH, ("sleep_state", "awake")): 1,
        ("vllm:prefix_cache_queries_total", *BOTH): 1638,
        ("vllm:prefix_cache_hits_total", *BOTH): 0,
        ("vllm:num_preemptions_total", *BOTH): 0,
        ("vllm:prompt_tokens_total", *BOTH): 1638,
        ("vllm:generation_tokens_total", *BOTH): 0,
        ("vllm:request_success_total", BOTH[0], ("finished_reason", "length"), BOTH[1]): 0,
        ("vllm:admission_rejections_total", BOTH[1], ("reason", "max_num_queued_reqs")): 0,
    }
    assert {name: found.get(name) for name in expected} == expected
    assert found["vllm:kv_cache_usage_perc", *BOTH] == pytest.approx(0.1, abs=0.001)
    assert any(name[0] == "vllm:cache_config_info" for name in found)


async def test_only_the_named(engine):
    names = ["vllm:num_requests_running", "vllm:num_requests_waiting"]
    assert list(samples(render_metrics(engine, "tiny", names))) == [(name, *BOTH) for name in names]


async def test_asleep(engine):
    engine.set_mode(Mode.ASLEEP)
    found = samples(render_metrics(engine, "tiny", ["vllm:engine_sleep_state"]))
    assert sorted(found.values()) == [0, 0, 1]
    assert found["vllm:engine_sleep_state", *BOTH, ("sleep_state", "weights_offloaded")] == 1
