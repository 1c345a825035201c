"""The file changes while the router runs."""

import asyncio
import itertools
import json
import os
import random
import signal
import urllib.request

import pytest

from tests.support.command import RunningCommand, is_alive, running, wait_until
from tests.support.config_file import write_config
from tests.support.ports import free_port
from tests.support.standins import standin_process
from tests.support.streams import Stream, chat

RUN = ("run", "--host", "127.0.0.1", "--port", "0")
NOWHERE = "http://127.0.0.1:9"
ELSEWHERE = "http://127.0.0.1:10"


@pytest.fixture(name="path")
def path_fixture(tmp_path):
    return tmp_path / "servers.toml"


@pytest.fixture(name="start")
def start_fixture(tmp_path, path):
    """Run a router with the file, which must exist."""
    return lambda *options, **environment: running(
        tmp_path, *RUN, "--config", str(path), *options, **environment
    )


class TestAChange:
    def test_adds_removes_and_changes_within_a_second(self, start, path):
        write_config(path, NOWHERE, ELSEWHERE)
        with start("--workers", "2") as router:
            write_config(path, {"url": ELSEWHERE, "max_concurrent_requests": 3}, "http://[::1]:9")
            wait_until(lambda: set(router.statuses()) == {ELSEWHERE, "http://[::1]:9"}, 1.5)
            servers = {each["url"]: each for each in router.get("/load-stats")["servers"]}
            assert servers[ELSEWHERE]["max_capacity"] == 3
            assert servers[ELSEWHERE]["generation"] == 1
            log = router.stderr()
            for change in (
                f"server {NOWHERE} removed",
                "server http://[::1]:9 added",
                f"server {ELSEWHERE}: max_concurrent_requests 8 -> 3",
            ):
                assert log.count(f"INFO supervisor: {path}: {change}\n") == 1

    def test_a_removed_server_finishes_what_it_has(self, start, path):
        with standin_process("--ttft", "1") as leaving, standin_process() as staying:
            write_config(path, leaving.url)
            with start() as router, router.connect() as client:
                client.sendall(chat(2, stream=False))
                wait_until(lambda: leaving.state()["running"] == 1)
                write_config(path, staying.url)
                wait_until(lambda: set(router.statuses()) == {staying.url})
                with router.connect() as other:
                    other.sendall(chat(2, stream=False))
                    assert other.recv(4096).startswith(b"HTTP/1.1 200 OK\r\n")
                assert client.recv(4096).startswith(b"HTTP/1.1 200 OK\r\n")
                assert staying.state()["served"] == leaving.state()["served"] == 1

    def test_a_drained_server_stays_listed(self, start, path):
        with standin_process() as first, standin_process() as second:
            write_config(path, first.url, second.url)
            with start() as router:
                write_config(path, {"url": first.url, "drain": True}, second.url)
                # Its state is visible in the table immediately, together with the message.
                wait_until(lambda: router.get("/load-stats")["summary"]["config"]["reloads"] == 1)
                assert router.statuses()[first.url] == "draining"
                for _ in range(5):
                    with router.connect() as client:
                        client.sendall(chat(1, stream=False))
                        assert client.recv(4096).startswith(b"HTTP/1.1 200 OK\r\n")
                assert (first.state()["served"], second.state()["served"]) == (0, 5)
                write_config(path, first.url, second.url)
                wait_until(lambda: router.statuses()[first.url] == "up")

    def test_on_sighup_at_once(self, start, path):
        write_config(path, NOWHERE, config_reload_interval=3600)
        with start() as router:
            write_config(path, ELSEWHERE, config_reload_interval=3600)
            router.signal(signal.SIGHUP)
            wait_until(lambda: set(router.statuses()) == {ELSEWHERE}, 1.0)

    def test_a_key_of_the_environment(self, start, path):
        with standin_process() as server:
            write_config(path, NOWHERE)
            with start(env={"GPU_KEY": "s3cret"}) as router:
                write_config(path, {"url": server.url, "api_key_env": "GPU_KEY"})
                wait_until(lambda: set(router.statuses()) == {server.url})
                with router.connect() as client:
                    client.sendall(b"GET /standin/echo HTTP/1.1\r\nhost: x\r\n\r\n")
                    assert b'["Authorization","Bearer s3cret"]' in client.recv(65536)
                write_config(path, {"url": server.url, "api_key": "other"})
                wait_until(lambda: "api_key changed" in router.stderr())
            assert "s3cret" not in router.stderr()


class TestABadFile:
    def test_changes_nothing_until_it_is_mended(self, start, path):
        write_config(path, NOWHERE)
        with start() as router:
            path.write_text("[servers\n")
            wait_until(lambda: "not valid TOML" in router.stderr())
            assert set(router.statuses()) == {NOWHERE}
            assert "not valid TOML" in json.dumps(router.get("/load-stats")["summary"])
            write_config(path, ELSEWHERE)
            wait_until(lambda: set(router.statuses()) == {ELSEWHERE})
            assert router.stderr().count("not valid TOML") == 1
            assert "not valid TOML" not in json.dumps(router.get("/load-stats")["summary"])

    def test_neither_does_one_that_vanishes(self, start, path):
        write_config(path, NOWHERE)
        with start() as router:
            path.unlink()
            complaint = f"ERROR supervisor: {path}: cannot be read: No such file or directory; "
            wait_until(lambda: complaint in router.stderr())
            assert set(router.statuses()) == {NOWHERE}
            write_config(path, ELSEWHERE)
            wait_until(lambda: set(router.statuses()) == {ELSEWHERE})
            assert router.stderr().count(complaint) == 1

    def test_more_servers_than_there_is_room_for(self, start, path):
        write_config(path, NOWHERE)
        with start() as router:
            write_config(path, *(f"http://127.0.0.1:{port}" for port in range(1000, 1400)))
            wait_until(lambda: "400 servers are new" in router.stderr())
            assert set(router.statuses()) == {NOWHERE}


class TestAFileThatBlocks:
    @pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["fifo", "directory"])
    def test_health_checks_go_on_and_sigterm_works(self, start, path, make):
        """Opened in the event loop, a FIFO blocked health checks, reloads and SIGTERM forever."""
        with standin_process() as server:
            write_config(path, server.url, health_check_interval=0.1)
            with start() as router:
                wait_until(lambda: router.statuses() == {server.url: "up"})
                path.unlink()
                make(path)
                wait_until(lambda: "not a regular file" in router.stderr())
                checks = self.checks(router)
                wait_until(lambda: self.checks(router) > checks + 2)
                path.rmdir() if path.is_dir() else path.unlink()
                write_config(path, server.url, NOWHERE)
                wait_until(lambda: NOWHERE in router.statuses())
                path.unlink()
                make(path)
                wait_until(lambda: router.stderr().count("not a regular file") == 2)
                assert router.stop() == 0

    def checks(self, router) -> int:
        return sum(server["total_checks"] for server in router.get("/health")["servers"])


class TestAdminPort:
    @pytest.fixture(name="port")
    def port_fixture(self):
        return free_port()

    @pytest.mark.parametrize("workers", ["1", "2"])
    def test_has_fastroutes_own_endpoints(self, workers, port, start, path):
        write_config(path, NOWHERE, admin_port=port)
        with start("--workers", workers) as router:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/livez", timeout=10) as reply:
                assert json.load(reply)["status"] == "alive"
            with router.connect() as client:
                client.sendall(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
                assert not client.recv(4096).startswith(b"HTTP/1.1 200")

    def test_a_change_needs_a_restart(self, port, start, path):
        write_config(path, NOWHERE)
        with start() as router:
            write_config(path, ELSEWHERE, admin_port=port)
            wait_until(lambda: set(router.statuses()) == {ELSEWHERE})
            line = f"admin_port = {port} takes effect after a restart"
            assert router.stderr().count(line) == 1


def test_without_a_file_sighup_ends_it_as_any_other_program(tmp_path):
    router = RunningCommand(tmp_path, *RUN, "--server", NOWHERE)
    router.wait_listening()
    workers = router.children()
    router.signal(signal.SIGHUP)
    assert router.wait() == -signal.SIGHUP
    wait_until(lambda: not any(map(is_alive, workers)))


STREAMS = 200
RELOAD_SECONDS = 10.0
RELOADS_PER_SECOND = 10


async def test_ten_reloads_a_second_under_two_hundred_streams(start, path):
    """Servers are added, removed, drained and resized, and the file is sometimes invalid."""
    rng = random.Random(4)
    with standin_process("--count", "4", "--slots", "100", "--token-interval", "0.1") as process:
        urls = [process.url, *(process.read_line().split()[-1] for _ in range(3))]
        write_config(path, *urls)
        with start("--workers", "2") as router:
            ended = asyncio.Event()
            streams = [Stream(router.port) for _ in range(STREAMS)]
            tasks = [asyncio.create_task(stream.run(ended)) for stream in streams]
            reloads = await reload_often(router, path, urls, rng)
            write_config(path, *urls)
            router.signal(signal.SIGHUP)
            ended.set()
            await asyncio.wait_for(asyncio.gather(*tasks), 60)
            assert [error for stream in streams for error in stream.errors] == []
            assert all(stream.answers > 1 for stream in streams), "none stood still"
            wait_until(lambda: set(router.statuses()) == set(urls))
            wait_until(lambda: router.in_flight() == 0)
            config = router.get("/load-stats")["summary"]["config"]
            assert config["error"] is None
            assert config["reloads"] > reloads / 2
            assert "Traceback" not in router.stderr()
            wait_until(lambda: process.state()["running"] == 0)


async def reload_often(router: RunningCommand, path, urls: list[str], rng: random.Random) -> int:
    """Change the file for a while; return the number of changes."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number in itertools.count(1):
        # The first server is always present, so that every request has one.
        servers = [{"url": urls[0], "max_concurrent_requests": rng.randint(1, 50)}]
        servers += [
            {"url": url, "drain": rng.random() < 0.3} for url in urls[1:] if rng.random() < 0.6
        ]
        rng.shuffle(servers)
        write_config(path, *servers)
        if number % 10 == 0:
            path.write_text("[servers")
        router.signal(signal.SIGHUP)
        if loop.time() - began > RELOAD_SECONDS:
            return number
        await asyncio.sleep(max(0, began + number / RELOADS_PER_SECOND - loop.time()))
    raise AssertionError("it never ends")
