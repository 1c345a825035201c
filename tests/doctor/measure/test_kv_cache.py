import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastroute.doctor.facts import KvCache
from fastroute.doctor.measure.kv_cache import kv_cache
from tests.support.captures import DIRECTORY


def line(**labels: object) -> bytes:
    text = ",".join(f'{name}="{value}"' for name, value in labels.items())
    return f"# TYPE vllm:cache_config_info gauge\nvllm:cache_config_info{{{text}}} 1.0\n".encode()


NEW = line(engine=0, kv_cache_size_tokens=1000, kv_cache_max_concurrency="2.5")
OLD = line(block_size=16, num_gpu_blocks=100, num_cpu_blocks="None")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(NEW, KvCache(1000, 2.5), id="tokens"),
        pytest.param(OLD, KvCache(1600, None), id="blocks"),
        pytest.param(NEW + NEW, KvCache(2000, 5.0), id="engines"),
        pytest.param(NEW + OLD, KvCache(2600, None), id="one-does-not-tell-concurrency"),
        pytest.param(NEW + line(block_size=16), None, id="one-does-not-tell-its-size"),
        pytest.param(line(block_size=16, num_gpu_blocks="None"), None, id="none"),
        pytest.param(line(kv_cache_size_tokens="0"), None, id="zero"),
        pytest.param(line(kv_cache_size_tokens="-5"), None, id="negative"),
        pytest.param(line(kv_cache_size_tokens="nan"), None, id="no-number"),
        pytest.param(b'vllm:cache_config_info_x{kv_cache_size_tokens="1"} 1\n', None, id="name"),
        pytest.param(b"", None, id="empty"),
    ],
)
def test_sizes(text, expected):
    assert kv_cache(text) == expected


def test_metrics_of_real_vllm():
    body = (DIRECTORY / "get_metrics_idle.res").read_bytes().partition(b"\r\n\r\n")[2]
    found = kv_cache(body)
    told = re.search(rb'kv_cache_size_tokens="(\d+)"', body)
    assert found is not None
    assert found.tokens == int(told[1])
    assert found.full_requests


@given(st.binary(max_size=200))
def test_any_bytes(noise):
    kv_cache(b'vllm:cache_config_info{a="' + noise + b'"} 1\n')
    kv_cache(noise)
