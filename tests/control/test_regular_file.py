import os
import socket
import threading

import pytest

from fastroute.control.regular_file import MAX_BYTES, FileContent, RegularFile
from fastroute.errors import ConfigError


def make_fifo(path):
    os.mkfifo(path)


def make_directory(path):
    path.mkdir()


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


def make_link_to_a_device(path):
    path.symlink_to("/dev/zero")


def make_huge(path):
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)


@pytest.fixture(name="path")
def path_fixture(tmp_path):
    return tmp_path / "servers.toml"


UNREADABLE = [
    pytest.param(make_fifo, "is a FIFO, not a regular file", id="fifo"),
    pytest.param(make_directory, "is a directory, not a regular file", id="directory"),
    pytest.param(make_socket, "cannot be read: No such device or address", id="socket"),
    pytest.param(make_link_to_a_device, "is a character device, not", id="device-behind-a-link"),
    pytest.param(make_huge, f"has {MAX_BYTES + 1} bytes; at most {MAX_BYTES}", id="huge"),
    pytest.param(lambda path: None, "cannot be read: No such file or directory", id="missing"),
]


@pytest.mark.parametrize(("make", "expected"), UNREADABLE)
def test_what_is_not_a_file_is_refused_at_once(path, make, expected):
    make(path)
    with pytest.raises(ConfigError, match=expected) as refused:
        RegularFile(path).read()
    assert str(refused.value).startswith(f"{path}: ")


@pytest.mark.parametrize(("make", "expected"), UNREADABLE)
async def test_and_in_the_event_loop_as_well(path, make, expected):
    make(path)
    with pytest.raises(ConfigError, match=expected):
        await RegularFile(path).read_if_changed(None)


async def test_links_are_followed_and_a_known_content_is_not_read_again(tmp_path, path):
    (tmp_path / "target").write_bytes(b"[servers]")
    path.symlink_to("target")
    file = RegularFile(path)
    stamp, data = file.read()
    assert data == b"[servers]"
    assert await file.read_if_changed(stamp) == FileContent(stamp, None)
    assert await file.read_if_changed(None) == FileContent(stamp, b"[servers]")


class TestAHungFileSystem:
    @pytest.fixture(name="hung")
    def hung_fixture(self, path):
        """A file whose reads hang until `release` is set; `readers` counts them."""
        release, readers = threading.Event(), []

        def read(path, known):
            readers.append(threading.current_thread())
            release.wait(10)
            return FileContent((1, 1, 1), b"late")

        yield RegularFile(path, 0.05, read), release, readers
        release.set()
        for reader in readers:
            reader.join(5)

    async def test_costs_one_thread_and_a_clear_error_each_time(self, hung):
        file, release, readers = hung
        with pytest.raises(ConfigError, match=r"cannot be read within 0\.05 s"):
            file.read()
        for _ in range(3):
            with pytest.raises(ConfigError, match="does its file system hang"):
                await file.read_if_changed(None)
        assert len(readers) == 1
        assert readers[0].daemon, "a process must be able to end while it hangs"
        release.set()
        readers[0].join(5)
        assert (await file.read_if_changed(None)).data == b"late"
