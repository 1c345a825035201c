import errno
import os
import re
import signal
import socket
import sys
import time

import pytest

from tests.support.command import RunningCommand, is_alive, running, wait_until
from tests.support.standins import standin_process

NOWHERE = "http://127.0.0.1:9"
RUN = ("run", "--host", "127.0.0.1", "--port", "0", "--server")
CHAT = b'{"model": "standin", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}'
REQUEST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\n\r\n%s" % (len(CHAT), CHAT)
)


def ask(router: RunningCommand) -> socket.socket:
    """Send a request, and wait until the router counts it as in flight."""
    client = router.connect()
    client.sendall(REQUEST)
    wait_until(lambda: router.in_flight() == 1)
    return client


def is_refused(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED


def livez(client: socket.socket) -> bytes:
    client.sendall(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
    return client.recv(4096).split(b"\r\n")[0]


class TestRunning:
    @pytest.mark.parametrize("workers", [1, 2])
    def test_announces_itself_when_all_workers_accept(self, workers, tmp_path):
        options = ("--workers", str(workers), "--server", "http://127.0.0.1:10", "--max-load", "5")
        with running(tmp_path, *RUN, NOWHERE, *options) as router:
            noun = "worker" if workers == 1 else "workers"
            url = rf"http://127\.0\.0\.1:{router.port}"
            line = rf"fastroute \S+ listening on {url}, 2 servers, {workers} {noun}\n"
            assert re.fullmatch(line, router.stdout())
            pids = router.worker_pids()
            assert len(pids) == workers
            assert set(pids) == router.children()
            servers = router.get("/load-stats")["servers"]
            assert [(server["url"], server["max_capacity"]) for server in servers] == [
                (NOWHERE, 5),
                ("http://127.0.0.1:10", 5),
            ]

    def test_a_killed_worker_is_replaced_and_waiting_clients_survive(self, tmp_path):
        with (
            standin_process("--ttft", "60") as server,
            running(tmp_path, *RUN, server.url) as router,
            ask(router) as asking,
        ):
            (before,) = router.children()
            killed = time.monotonic()
            os.kill(before, signal.SIGKILL)
            wait_until(lambda: not is_alive(before))
            # No worker accepts now; the connection waits in the supervisor's socket.
            with router.connect() as waiting:
                assert livez(waiting) == b"HTTP/1.1 200 OK"
            assert time.monotonic() - killed < 5
            (after,) = router.worker_pids()
            assert after != before
            assert router.in_flight() == 0
            wait_until(lambda: f"worker 0 (pid {after}) accepts clients" in router.stderr())
            assert asking.recv(1) == b""
            line = f"ERROR supervisor: worker 0 (pid {before}) died: killed by SIGKILL; "
            assert f"{line}requests in flight: 1\n" in router.stderr()
            assert router.stdout().count("listening") == 1

    def test_the_other_worker_goes_on(self, tmp_path):
        with running(tmp_path, *RUN, NOWHERE, "--workers", "2") as router:
            victim, survivor = router.worker_pids()
            os.kill(victim, signal.SIGKILL)
            wait_until(lambda: len(router.children()) == 2 and victim not in router.children())
            assert survivor in router.children()

    def test_a_worker_that_keeps_dying_keeps_being_replaced(self, tmp_path):
        with running(tmp_path, *RUN, NOWHERE) as router:
            for _ in range(4):
                (pid,) = router.worker_pids()
                os.kill(pid, signal.SIGKILL)
                wait_until(lambda pid=pid: not is_alive(pid))
            assert router.get("/load-stats")["summary"]["workers"][0]["pid"] != pid

    def test_a_worker_that_cannot_be_started_is_tried_again(self, tmp_path):
        """Starting fails, as if memory were short; here the interpreter is missing for a while."""
        python = tmp_path / "python"
        python.symlink_to(sys.executable)
        env = {"PYTHONPATH": os.pathsep.join(sys.path)}
        with running(tmp_path, *RUN, NOWHERE, env=env, python=str(python)) as router:
            (pid,) = router.children()
            python.unlink()
            os.kill(pid, signal.SIGKILL)
            line = "worker 0 cannot be started: No such file or directory"
            wait_until(lambda: router.stderr().count(line) >= 2)
            python.symlink_to(sys.executable)
            wait_until(router.children)
            assert router.worker_pids() != [pid]

    def test_workers_end_when_the_supervisor_is_killed(self, tmp_path):
        with running(tmp_path, *RUN, NOWHERE, "--workers", "2") as router:
            workers = router.children()
            router.signal(signal.SIGKILL)
            assert router.wait() == -signal.SIGKILL
            wait_until(lambda: not any(map(is_alive, workers)), seconds=2)

    @pytest.mark.parametrize("workers", ["1", "2"])
    def test_gives_up_when_no_worker_can_start(self, workers, tmp_path):
        # A module that only workers need.
        (tmp_path / "calendar.py").write_text("raise ImportError('no calendar here')")
        env = {"PYTHONPATH": str(tmp_path)}
        router = RunningCommand(tmp_path, *RUN, NOWHERE, "--workers", workers, env=env)
        assert router.wait() == 1
        assert router.stdout() == ""
        assert "no calendar here" in router.stderr()
        last = "CRITICAL supervisor: no worker could be started in 3 attempts; giving up\n"
        assert router.stderr().count(last) == 1


class TestEnding:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
    @pytest.mark.parametrize("workers", ["1", "2"])
    def test_a_signal_ends_an_idle_router_with_0(self, number, workers, tmp_path):
        with running(tmp_path, *RUN, NOWHERE, "--workers", workers) as router:
            pids = router.children()
            router.signal(number)
            assert router.wait(5) == 0
            assert not any(map(is_alive, pids))
            assert f"supervisor: {number.name}: draining; requests in flight: 0," in router.stderr()
            assert "ERROR" not in router.stderr()

    def test_an_answer_in_flight_is_finished_and_nobody_new_is_accepted(self, tmp_path):
        with (
            standin_process("--ttft", "1") as server,
            running(tmp_path, *RUN, server.url) as router,
            ask(router) as client,
        ):
            router.signal(signal.SIGTERM)
            wait_until(lambda: is_refused(router.port))
            assert client.recv(4096).startswith(b"HTTP/1.1 200 OK\r\n")
            assert router.wait(5) == 0

    def test_drain_timeout_ends_what_does_not_finish(self, tmp_path):
        with standin_process("--ttft", "60") as server:
            config = tmp_path / "servers.toml"
            config.write_text(
                f'[servers]\nservers = [{{ url = "{server.url}" }}]\n'
                "[config]\ndrain_timeout = 0.3\n"
            )
            arguments = ("run", "--host", "127.0.0.1", "--port", "0", "--config", str(config))
            with running(tmp_path, *arguments) as router, ask(router) as client:
                router.signal(signal.SIGTERM)
                assert router.wait(5) == 0
                assert client.recv(12) == b"HTTP/1.1 503"

    @pytest.mark.parametrize(
        ("first", "second", "code"),
        [
            pytest.param(signal.SIGTERM, signal.SIGTERM, 143, id="TERM-TERM"),
            pytest.param(signal.SIGINT, signal.SIGINT, 130, id="INT-INT"),
            pytest.param(signal.SIGTERM, signal.SIGINT, 130, id="TERM-INT"),
        ],
    )
    def test_a_second_signal_ends_at_once(self, first, second, code, tmp_path):
        with (
            standin_process("--ttft", "60") as server,
            running(tmp_path, *RUN, server.url) as router,
            ask(router),
        ):
            pids = router.children()
            router.signal(first)
            wait_until(lambda: "draining; requests in flight: 1," in router.stderr())
            router.signal(second)
            assert router.wait(2) == code
            assert not any(map(is_alive, pids))

    def test_a_signal_while_a_worker_is_replaced(self, tmp_path):
        """The new process may be starting when its supervisor already drains."""
        with running(tmp_path, *RUN, NOWHERE, "--workers", "2") as router:
            for pid in router.children():
                os.kill(pid, signal.SIGKILL)
            router.signal(signal.SIGTERM)
            assert router.wait(5) == 0

    def test_a_stuck_worker_is_killed_after_the_drain_timeout(self, tmp_path):
        config = tmp_path / "servers.toml"
        config.write_text(
            f'[servers]\nservers = [{{ url = "{NOWHERE}" }}]\n[config]\ndrain_timeout = 0\n'
        )
        arguments = ("run", "--host", "127.0.0.1", "--port", "0", "--config", str(config))
        with running(tmp_path, *arguments) as router:
            (pid,) = router.children()
            os.kill(pid, signal.SIGSTOP)
            router.signal(signal.SIGTERM)
            assert router.wait(5) == 0
            assert not is_alive(pid)
