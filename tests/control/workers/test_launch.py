from contextlib import closing

import pytest

from fastroute.config import config_from_urls
from fastroute.control.workers.launch import Launch, Sockets, create_table
from fastroute.control.workers.listeners import open_listeners
from fastroute.ipc.logs import LogOptions
from fastroute.ipc.score_table import ScoreTable
from tests.support.processes import environment_of


@pytest.mark.parametrize(("servers", "rows"), [(1, 256), (128, 256), (129, 258)])
def test_the_table_has_room_for_as_many_servers_again(servers, rows):
    table = create_table(config_from_urls([f"http://gpu-{n}" for n in range(servers)], 1), 2)
    assert (table.rows, table.workers) == (rows, 2)
    table.close()


@pytest.mark.parametrize(
    ("plain", "names", "rows"), [(0, 1, 256 + 512), (200, 2, 400 + 1024)], ids=["one", "two"]
)
def test_the_table_has_room_for_what_dns_finds(plain, names, rows):
    urls = [f"http://gpu-{n}" for n in range(plain)] + [f"http+dns://v-{n}" for n in range(names)]
    table = create_table(config_from_urls(urls, 1), 1)
    assert table.rows == rows
    table.close()


@pytest.fixture(name="make")
def make_fixture():
    """Return a factory of a Launch for two workers."""

    def make():
        sockets = Sockets(open_listeners("127.0.0.1", 0, 2))
        table = ScoreTable.create(rows=8, workers=2)
        return Launch(sockets, table, LogOptions(level="warning"))

    return make


class TestLaunch:
    def test_each_worker_is_taken_once_and_then_a_new_one(self, make):
        with closing(make()) as launch:
            launch.start_ahead()
            taken = [launch.take(0), launch.take(1), launch.take(0)]
        try:
            assert len({started.process.pid for started in taken}) == 3
            assert all(started.process.poll() is None for started in taken)
        finally:
            for started in taken:
                started.channel.close()
                started.process.kill()
                started.process.wait()

    def test_workers_that_nobody_took_end(self, make):
        launch = make()
        launch.start_ahead()
        processes = [started.process for started in launch._waiting.values()]
        launch.close()
        assert [process.wait(20) for process in processes] == [0, 0]

    def test_one_that_cannot_be_started_ahead_is_tried_again(self, make, monkeypatch):
        monkeypatch.setattr("sys.executable", "/nowhere/python")
        with closing(make()) as launch:
            launch.start_ahead()
            with pytest.raises(FileNotFoundError):
                launch.take(0)

    def test_the_allocator_keeps_what_long_bodies_took(self, make, monkeypatch):
        """In the environment, where glibc reads it; existing values take precedence."""
        monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "123")
        with closing(make()) as launch:
            started = launch.take(0)
        try:
            environ = environment_of(started.process.pid)
            assert b"MALLOC_TRIM_THRESHOLD_=16777216" in environ
            assert b"MALLOC_MMAP_THRESHOLD_=123" in environ
        finally:
            started.channel.close()
            started.process.kill()
            started.process.wait()
