import logging

import pytest

from fastroute.control.log_rotation import rotate_log
from fastroute.ipc.logs import LogOptions


@pytest.mark.parametrize(
    ("options", "files"),
    [
        pytest.param({}, {"log": "0123"}, id="never"),
        pytest.param({"max_bytes": 4, "backups": 2}, {"log": "0123"}, id="not-yet"),
        pytest.param({"max_bytes": 3, "backups": 2}, {"log.1": "0123"}, id="too-large"),
        pytest.param({"max_bytes": 3, "backups": 0}, {}, id="none-kept"),
    ],
)
def test_puts_aside_what_is_too_large(tmp_path, options, files):
    (tmp_path / "log").write_text("0123")
    rotate_log(LogOptions(file=str(tmp_path / "log"), **options))
    assert {each.name: each.read_text() for each in tmp_path.iterdir()} == files


def test_says_so(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    (tmp_path / "log").write_text("0123")
    rotate_log(LogOptions(file=str(tmp_path / "log"), max_bytes=1, backups=1))
    assert [record.getMessage() for record in caplog.records] == ["the log file was put aside"]


@pytest.mark.parametrize("file", [None, "/nowhere/log"])
def test_no_file(file):
    rotate_log(LogOptions(file=file, max_bytes=1))
