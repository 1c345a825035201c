import json
import logging
import os
import re
import stat
import subprocess
import sys

import msgspec
import pytest

from fastroute.ipc.logs import LogOptions, rotate_log

PROGRAM = """
import logging, os, sys
import msgspec
from fastroute.ipc.logs import LogOptions, configure_logging
options = msgspec.json.decode(sys.argv[1], type=LogOptions)
configure_logging(options)
for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
    logging.getLogger("supervisor").log(level, "%d servers", 3)
if "rename" in sys.argv:
    os.rename(options.file, options.file + ".old")
try:
    raise ValueError('said "no"\\nand more')
except ValueError:
    logging.getLogger("supervisor").exception("it failed")
"""
LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d ([A-Z]+) supervisor: 3 servers")


def run(options: LogOptions, *more: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", PROGRAM, msgspec.json.encode(options).decode(), *more]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == ""
    return done


@pytest.mark.parametrize(
    ("level", "written"),
    [
        pytest.param("debug", ["DEBUG", "INFO", "WARNING", "ERROR"], id="debug"),
        pytest.param("info", ["INFO", "WARNING", "ERROR"], id="info"),
        pytest.param("error", ["ERROR"], id="error"),
    ],
)
def test_text_lines(level, written):
    lines = run(LogOptions(level=level)).stderr.splitlines()
    count = len(written)
    assert [LINE.fullmatch(text)[1] for text in lines[:count]] == written
    assert lines[count].endswith(" ERROR supervisor: it failed")


def test_json_lines():
    """Each is a single line, whatever it contains."""
    *_, warning, error, failed = map(json.loads, run(LogOptions(form="json")).stderr.splitlines())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", warning.pop("time"))
    assert warning.pop("process") == error["process"]
    assert warning == {"level": "warning", "logger": "supervisor", "message": "3 servers"}
    assert (failed["level"], failed["message"]) == ("error", "it failed")
    assert failed["exception"].startswith("Traceback (most recent call last):\n")
    assert failed["exception"].endswith('ValueError: said "no"\nand more')


HOSTILE = """
import logging, sys
import msgspec
from fastroute.ipc.logs import LogOptions, configure_logging
from tests.support.hostile_server import FORGED
configure_logging(msgspec.json.decode(sys.argv[1], type=LogOptions))
log = logging.getLogger("supervisor")
log.warning("server %s has %d models: %s", FORGED, 3, "y" * 100_000)
log.warning(FORGED + "z" * 100_000)
log.warning("%(name)s", {"name": FORGED})
log.warning("reason: %s", ValueError(FORGED))
try:
    raise ValueError(FORGED + "z" * 100_000)
except ValueError:
    log.exception("it failed")
"""


class TestTextFromOutside:
    """A server's name with a line feed forged a line; escape sequences reached the terminal."""

    @pytest.fixture(name="lines", params=["text", "json"])
    def lines_fixture(self, request):
        options = msgspec.json.encode(LogOptions(form=request.param)).decode()
        command = [sys.executable, "-c", HOSTILE, options]
        return subprocess.run(command, capture_output=True, check=True).stderr.decode().split("\n")

    def test_has_no_control_characters(self, lines):
        assert all(line.isprintable() for line in lines)

    def test_forges_no_line(self, lines):
        begun = [line for line in lines if line and not line.startswith("    ")]
        assert len(begun) == 5
        assert not [line for line in begun if line.startswith("2026-01-01T00:00:00 INFO")]

    def test_is_short(self, lines):
        assert 300 < len(lines[0]) < 800
        assert max(map(len, lines)) < 5_000


class TestFile:
    @pytest.mark.parametrize("umask", [0o000, 0o022])
    def test_is_not_for_everybody(self, tmp_path, umask):
        path = tmp_path / "log"
        before = os.umask(umask)
        try:
            run(LogOptions(file=str(path)), "rename")
        finally:
            os.umask(before)
        for each in (path, tmp_path / "log.old"):
            assert stat.S_IMODE(each.stat().st_mode) == 0o640

    def test_replaces_stderr(self, tmp_path):
        path = tmp_path / "log"
        assert run(LogOptions(file=str(path))).stderr == ""
        assert LINE.fullmatch(path.read_text().splitlines()[0])

    def test_in_addition_to_stderr(self, tmp_path):
        """For the monitor, which shows log lines."""
        path = tmp_path / "log"
        done = run(LogOptions(file=str(path), also_stderr=True))
        assert done.stderr == path.read_text() != ""

    def test_is_reopened_after_a_rename(self, tmp_path):
        path = tmp_path / "log"
        run(LogOptions(file=str(path)), "rename")
        assert path.read_text().splitlines()[0].endswith("it failed")
        old = (tmp_path / "log.old").read_text().splitlines()
        assert [LINE.fullmatch(line)[1] for line in old] == ["INFO", "WARNING", "ERROR"]

    def test_lines_go_to_stderr_if_the_disk_is_full(self):
        done = run(LogOptions(file="/dev/full"))
        assert [LINE.fullmatch(line)[1] for line in done.stderr.splitlines()[:3]] == [
            *("INFO", "WARNING", "ERROR")
        ]
        assert "it failed" in done.stderr


@pytest.mark.parametrize(
    ("options", "files"),
    [
        pytest.param({}, {"log": "0123"}, id="never"),
        pytest.param({"max_bytes": 4, "backups": 2}, {"log": "0123"}, id="not-yet"),
        pytest.param({"max_bytes": 3, "backups": 2}, {"log.1": "0123"}, id="too-large"),
        pytest.param({"max_bytes": 3, "backups": 0}, {}, id="none-kept"),
    ],
)
def test_rotates_a_file_that_is_too_large(tmp_path, options, files):
    (tmp_path / "log").write_text("0123")
    rotate_log(LogOptions(file=str(tmp_path / "log"), **options))
    assert {each.name: each.read_text() for each in tmp_path.iterdir()} == files


def test_logs_the_rotation(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    (tmp_path / "log").write_text("0123")
    rotate_log(LogOptions(file=str(tmp_path / "log"), max_bytes=1, backups=1))
    assert [record.getMessage() for record in caplog.records] == ["log file rotated"]


@pytest.mark.parametrize("file", [None, "/nowhere/log"])
def test_no_file(file):
    rotate_log(LogOptions(file=file, max_bytes=1))
