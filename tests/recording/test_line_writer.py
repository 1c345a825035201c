import contextlib
import json
import logging
import os
import resource
import time

import pytest

from fastroute.recording import line_writer
from fastroute.recording.line_writer import LineWriter
from fastroute.recording.lines import json_line, text_line
from fastroute.recording.rotating_file import RotatingFile
from tests.recording.records import numbered
from tests.support.command import wait_until


@pytest.fixture(name="path")
def path_fixture(tmp_path):
    return tmp_path / "access.log"


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(line_writer, "PATIENCE_S", 0.0)
    monkeypatch.setattr(line_writer, "RETRY_S", 0.01)


@contextlib.contextmanager
def writing(path, *, max_bytes: int = 0, backups: int = 1000, backlog: int = 100_000, close=5.0):
    writer = LineWriter(RotatingFile(str(path), max_bytes, backups), json_line, backlog)
    yield writer
    began = time.monotonic()
    writer.close(close)
    assert time.monotonic() - began < close + 1


def ids(*paths) -> list[int]:
    return [
        int(json.loads(line)["id"]) for path in paths for line in path.read_bytes().splitlines()
    ]


def test_all_lines_in_order(path):
    with writing(path) as writer:
        writer.put(numbered(300))
        writer.put(numbered(1000, first=300))
    assert ids(path) == list(range(1300))
    assert writer.lost == 0


def test_a_form(path):
    writer = LineWriter(RotatingFile(str(path), 0, 1), text_line)
    writer.put(numbered(1))
    writer.close(5)
    assert path.read_bytes() == text_line(numbered(1)[0])


def test_rotation_loses_and_tears_nothing(path):
    with writing(path, max_bytes=20_000) as writer:
        for first in range(0, 3000, 10):
            writer.put(numbered(10, first))
    files = sorted(path.parent.iterdir(), key=lambda p: -int("0" + p.suffix[1:].strip("log")))
    assert len(files) > 2
    assert ids(*files) == list(range(3000))


def test_renames_while_it_writes(path):
    with writing(path) as writer:
        for number in range(20):
            writer.put(numbered(50, first=50 * number))
            wait_until(lambda: path.exists() and path.stat().st_size)
            path.rename(path.parent / f"{number}")
    files = [path.parent / str(number) for number in range(20)]
    assert sorted(ids(*files, *([path] if path.exists() else []))) == list(range(1000))


def test_reopening_without_a_line_to_write(path):
    with writing(path) as writer:
        path.unlink()
        writer.reopen()
        wait_until(path.exists)
        writer.put(numbered(1))
    assert ids(path) == [0]


def test_a_full_disk(caplog):
    """Lines wait while there is space; others are counted, and logged once."""
    with writing("/dev/full", backlog=100) as writer:
        writer.put(numbered(10))
        wait_until(lambda: caplog.records)
        began = time.monotonic()
        for _ in range(100):
            writer.put(numbered(100))
        assert time.monotonic() - began < 0.5
        assert writer.lost >= 100 * 100 - 100
    assert writer.lost == 10 + 100 * 100
    first, last = [record.getMessage() for record in caplog.records]
    assert first.startswith("access log /dev/full: No space left on device; up to 20000 lines wait")
    assert last == "access log /dev/full: lines lost: 10010"


def test_a_disk_that_has_room_again(path, caplog):
    """A torn line is completed in the same file; nothing is lost."""
    caplog.set_level(logging.WARNING)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # A file size limit acts like a full disk: writes are short, then fail.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1234, before[1]))
    try:
        with writing(path) as writer:
            writer.put(numbered(100))
            wait_until(lambda: caplog.records)
            assert path.stat().st_size == 1234
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            wait_until(lambda: len(caplog.records) == 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert ids(path) == list(range(100))
    assert "is written again; lines lost: 0" in caplog.records[1].getMessage()


def test_another_file_while_the_disk_is_full(path, caplog):
    """A started line is torn in the removed file, and complete in the new one."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1234, before[1]))
    old = path.with_suffix(".old")
    try:
        with writing(path) as writer:
            writer.put(numbered(100))
            wait_until(lambda: caplog.records)
            path.rename(old)
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            wait_until(lambda: path.exists() and path.stat().st_size)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    whole = old.read_bytes().rpartition(b"\n")[0].splitlines()
    assert [int(json.loads(line)["id"]) for line in whole] + ids(path) == list(range(100))


class TestPipe:
    def test_nobody_reads(self, path):
        os.mkfifo(path)
        with writing(path, backlog=50) as writer:
            writer.put(numbered(100))
        assert writer.lost == 100

    def test_a_reader_that_stops(self, path, caplog):
        """What it has taken are whole lines but for the last; what it has not is counted."""
        os.mkfifo(path)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with writing(path, backlog=10_000) as writer:
            writer.put(numbered(10_000))
            wait_until(lambda: caplog.records)
        read = b""
        with contextlib.suppress(BlockingIOError):
            while piece := os.read(reader, 1 << 20):
                read += piece
        os.close(reader)
        lines = read.split(b"\n")[:-1]
        assert [int(json.loads(line)["id"]) for line in lines] == list(range(len(lines)))
        assert len(lines) + writer.lost == 10_000

    def test_a_reader_that_is_slow(self, path):
        os.mkfifo(path)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        read = b""
        with writing(path) as writer:
            writer.put(numbered(3000))
            while read.count(b"\n") < 3000:
                with contextlib.suppress(BlockingIOError):
                    read += os.read(reader, 10_000)
        os.close(reader)
        assert [int(json.loads(line)["id"]) for line in read.splitlines()] == list(range(3000))
        assert writer.lost == 0


def test_a_write_that_never_returns_does_not_keep_the_end():
    """Like a stalled terminal or pipe on stdout."""
    reading, writing_end = os.pipe()
    file = RotatingFile("-", 0, 0)
    file._fd = writing_end
    writer = LineWriter(file, json_line)
    writer.put(numbered(5000))
    wait_until(lambda: len(writer._backlog) < 5000)
    began = time.monotonic()
    writer.close(0.2)
    assert time.monotonic() - began < 1
    assert writer.lost >= 4000
    os.close(reading)  # lets the thread exit
    writer._thread.join(5)
    os.close(writing_end)
