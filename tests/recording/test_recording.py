import json
import sys

import pytest

from fastroute.config import Config
from fastroute.errors import ConfigError
from fastroute.ipc.messages import Losses
from fastroute.recording import recording as module
from fastroute.recording.recording import Recording
from tests.recording.records import IDS, chat, numbered
from tests.support.collector import collector
from tests.support.command import wait_until


def config(**settings) -> Config:
    return Config(servers=(), **settings)


@pytest.fixture(name="recording")
def recording_fixture(monkeypatch):
    before = sys.getswitchinterval()
    made = Recording()
    yield made
    made.close()
    sys.setswitchinterval(before)


def ids(path) -> list[int]:
    return [int(json.loads(line)["id"]) for line in path.read_bytes().splitlines()]


def test_off(recording):
    recording.apply(config())
    recording.take(numbered(3))
    recording.reopen()
    assert recording.losses() == Losses()


def test_settings_change(recording, tmp_path):
    first, second = tmp_path / "1", tmp_path / "2"
    recording.apply(config(access_log="json", access_log_file=str(first)))
    recording.take(numbered(2))
    recording.apply(config(access_log="json", access_log_file=str(second)))
    recording.take(numbered(1, first=2))
    recording.apply(config(access_log="json", access_log_file=str(second), policy="random"))
    recording.take(numbered(1, first=3))
    recording.apply(config(access_log_file=str(second)))
    recording.take(numbered(1, first=4))
    assert (ids(first), ids(second)) == ([0, 1], [2, 3])


def test_what_cannot_be_put_in_force_changes_nothing(recording, tmp_path):
    path = tmp_path / "log"
    recording.apply(config(access_log="json", access_log_file=str(path)))
    missing = str(tmp_path / "missing" / "log")
    with pytest.raises(ConfigError) as caught:
        recording.apply(config(access_log="json", access_log_file=missing))
    assert str(caught.value) == (
        f"access_log_file {missing}: cannot be written: No such file or directory"
    )
    recording.take(numbered(1))
    recording.close()
    assert ids(path) == [0]


def test_no_lines_where_the_monitor_is():
    recording = Recording(has_screen=True)
    with pytest.raises(ConfigError, match="set access_log_file, or start with --console"):
        recording.apply(config(access_log="text"))


def test_losses_stay_counted(recording):
    recording.apply(config(access_log="json", access_log_file="/dev/full"))
    recording.take(numbered(3))
    recording.apply(config())
    assert recording.losses() == Losses(lines=3)
    recording.apply(config(otlp_endpoint="http://127.0.0.1:9"))
    recording.take([chat(span=IDS)])
    recording.apply(config())
    assert recording.losses() == Losses(lines=3, spans=1)


def test_traces(recording):
    with collector() as taking:
        recording.apply(config(otlp_endpoint=taking.url))
        recording.take([chat(span=IDS), chat()])
        wait_until(lambda: len(taking.spans) == 1)


@pytest.mark.parametrize("module_name", ["no_such.thing", "fastroute.no_such"])
def test_what_tracing_needs(recording, monkeypatch, module_name):
    monkeypatch.setattr(module, "EXPORTER", module_name)
    with pytest.raises(ConfigError) as caught:
        recording.apply(config(otlp_endpoint="http://127.0.0.1:9"))
    assert str(caught.value) == (
        "otlp_endpoint needs an optional dependency: pip install 'fastroute[otel]'"
    )
