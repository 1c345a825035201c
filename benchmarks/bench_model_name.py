"""Finding the model in a request's body, by the length of the prompt."""

import pytest

from benchmarks.comparison import traffic
from fastroute.rules.model_name import requested_model


@pytest.mark.parametrize("kilobytes", [1, 10, 100])
def test_body_peek(benchmark, kilobytes):
    body = traffic.chat_request(kilobytes * 1024)
    target = traffic.CHAT_PATH.encode()
    assert benchmark(requested_model, target, b"application/json", body) == traffic.MODEL
