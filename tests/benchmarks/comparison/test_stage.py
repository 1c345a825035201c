import os
from pathlib import Path

import pytest

from benchmarks.comparison.stage import Cores, with_config


@pytest.mark.parametrize(
    ("allowed", "wanted", "proxy"),
    [
        pytest.param({0}, 1, {0}, id="one-core-is-shared"),
        pytest.param({0, 1}, 1, {1}, id="two"),
        pytest.param({0, 1}, 2, {1}, id="two-of-two-would-leave-none"),
        pytest.param({0, 1, 2, 3}, 2, {2, 3}, id="two-of-four"),
    ],
)
def test_cores(allowed, wanted, proxy, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: allowed)
    cores = Cores.chosen(for_proxy=wanted)
    assert cores.proxy == proxy
    assert cores.others == (allowed - proxy or allowed)


def test_a_file_takes_the_place_of_the_addresses():
    command = ["python", "run", "--server", "a", "--server", "b", "--port", "1", "--max-load", "4"]
    assert with_config(command, Path("f")) == ["python", "run", "--port", "1", "--config", "f"]
