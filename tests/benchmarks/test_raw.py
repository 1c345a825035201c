import msgspec
import pytest

from benchmarks import raw as raw_file
from benchmarks.comparison.environments import ROOT
from benchmarks.studies.cross_check import Check
from benchmarks.studies.startup import Start
from benchmarks.studies.workers import Result
from tests.support.bench import of_cpu, raw, result, rounds


def full():
    return raw(
        rounds={"json-saturated": rounds(of_cpu({"nginx": 10, "fastroute": 12}))},
        wrk={"nginx": Check(1000.0, 1e-5)},
        many_streams={"fastroute": result(resident_steps=[(0, {"fastroute": 1})])},
        workers=Result(rounds={1: [result()], 2: [result()]}, clients=[1, 2], worker_cores=1),
        scraping={"off": [result()]},
        choosing={8: 1e-6, 200: 1e-5},
        starts={"nginx": [Start(0.1, 2, 1)]},
        left_out={"smg": "no wheel"},
    )


def test_what_is_saved_is_loaded(tmp_path):
    raw_file.save(full(), tmp_path / "bench.json")
    assert raw_file.load(tmp_path / "bench.json") == full()
    assert b'"cpu_ratio"' in (tmp_path / "bench.json").read_bytes()


def test_another_file_is_refused(tmp_path):
    (tmp_path / "bench.json").write_text('{"machine": 3}')
    with pytest.raises(msgspec.ValidationError):
        raw_file.load(tmp_path / "bench.json")


def test_errors_of_all_parts_are_added():
    run = full()
    wrong = {"status 502": 1}
    run.rounds["json-saturated"]["nginx"][0].errors = wrong
    run.many_streams["fastroute"].errors = wrong
    run.workers.rounds[2][0].errors = wrong
    run.scraping["off"][0].errors = wrong
    assert run.errors() == {"status 502": 4}
    assert full().errors() == {}


def test_what_is_left_out_does_not_name_where_the_checkout_is():
    run = full()
    run.leave_out("fastroute", f"{ROOT}/.bench/pip failed")
    assert run.left_out == {"smg": "no wheel", "fastroute": "./.bench/pip failed"}
