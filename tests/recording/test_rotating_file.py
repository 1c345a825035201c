import os

import pytest

from fastroute.ipc.logs import rename_to_backup
from fastroute.recording.rotating_file import RotatingFile


def write(file: RotatingFile, line: bytes) -> None:
    file.prepare(len(line))
    assert file.write(memoryview(line)) == len(line)


@pytest.fixture(name="path")
def path_fixture(tmp_path):
    return tmp_path / "access.log"


def contents(path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in path.parent.iterdir()}


class TestWriting:
    def test_appends_to_what_there_is(self, path):
        path.write_bytes(b"before\n")
        file = RotatingFile(str(path), 0, 5)
        write(file, b"a\n")
        write(file, b"b\n")
        file.close()
        assert path.read_bytes() == b"before\na\nb\n"

    def test_others_may_not_read_it(self, path):
        RotatingFile(str(path), 0, 5).close()
        assert path.stat().st_mode & 0o007 == 0

    @pytest.mark.parametrize(
        ("name", "error"),
        [
            pytest.param("missing/access.log", FileNotFoundError, id="no-folder"),
            pytest.param("", IsADirectoryError, id="a-folder"),
        ],
    )
    def test_what_cannot_be_opened(self, tmp_path, name, error):
        with pytest.raises(error):
            RotatingFile(str(tmp_path / name), 0, 5)

    def test_stdout(self, capfd):
        file = RotatingFile("-", 1, 5)
        write(file, b"a\n")
        file.close()
        write(file, b"b\n")
        assert capfd.readouterr().out == "a\nb\n"


class TestRotation:
    def test_by_size(self, path):
        file = RotatingFile(str(path), 10, 2)
        for line in (b"1 345678\n", b"2\n", b"3 345678\n", b"4 345678\n", b"5\n"):
            write(file, line)
        file.close()
        assert contents(path) == {
            "access.log": b"5\n",
            "access.log.1": b"4 345678\n",
            "access.log.2": b"3 345678\n",
        }

    def test_a_line_longer_than_the_limit_stands_alone(self, path):
        file = RotatingFile(str(path), 2, 9)
        for line in (b"first\n", b"second\n"):
            write(file, line)
        file.close()
        assert contents(path) == {"access.log": b"second\n", "access.log.1": b"first\n"}

    def test_without_backups(self, path):
        file = RotatingFile(str(path), 2, 0)
        for line in (b"first\n", b"second\n"):
            write(file, line)
        file.close()
        assert contents(path) == {"access.log": b"second\n"}

    def test_not_within_a_line(self, path):
        file = RotatingFile(str(path), 2, 2)
        write(file, b"half a ")
        assert file.prepare(5, may_rotate=False) is False
        file.close()

    def test_put_aside_what_is_not_there(self, path):
        with pytest.raises(FileNotFoundError):
            rename_to_backup(str(path), 3)


class TestOthersRotate:
    def test_renamed(self, path):
        """As logrotate does with `create` or `nocreate`."""
        file = RotatingFile(str(path), 0, 5)
        write(file, b"a\n")
        path.rename(path.with_suffix(".old"))
        assert file.prepare(2) is True
        write(file, b"b\n")
        path.rename(path.with_suffix(".older"))
        path.touch()
        write(file, b"c\n")
        file.close()
        assert contents(path) == {
            "access.old": b"a\n",
            "access.older": b"b\n",
            "access.log": b"c\n",
        }

    def test_cut_off(self, path):
        """As logrotate does with `copytruncate`."""
        file = RotatingFile(str(path), 6, 5)
        write(file, b"a\nb\nc\n")
        os.truncate(path, 0)
        write(file, b"d\n")
        file.close()
        assert contents(path) == {"access.log": b"d\n"}

    def test_opened_anew_on_demand(self, path):
        file = RotatingFile(str(path), 0, 5)
        assert file.prepare(0, reopen=True) is True
        file.close()

    def test_its_folder_is_gone_for_a_while(self, tmp_path):
        folder = tmp_path / "logs"
        folder.mkdir()
        file = RotatingFile(str(folder / "access.log"), 0, 5)
        folder.rename(tmp_path / "old")
        for _ in range(2):
            with pytest.raises(FileNotFoundError):
                file.prepare(2)
        folder.mkdir()
        write(file, b"a\n")
        file.close()
        assert (folder / "access.log").read_bytes() == b"a\n"


class TestPipe:
    def test_nobody_reads_it_yet(self, path):
        os.mkfifo(path)
        file = RotatingFile(str(path), 0, 5)
        with pytest.raises(OSError, match="the pipe has no reader"):
            file.write(memoryview(b"a\n"))
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        write(file, b"a\n")
        assert os.read(reader, 100) == b"a\n"
        os.close(reader)
        with pytest.raises(BrokenPipeError):
            file.write(memoryview(b"b\n"))
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        write(file, b"c\n")
        assert os.read(reader, 100) == b"c\n"
        os.close(reader)
        file.close()

    def test_a_reader_that_does_not_read(self, path):
        os.mkfifo(path)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        file = RotatingFile(str(path), 0, 5)
        data = memoryview(b"x" * 1_000_000)
        written = file.write(data)
        assert 0 < written < len(data)
        with pytest.raises(BlockingIOError):
            file.write(data)
        file.wait_writable(0.01)
        os.close(reader)
        file.close()
