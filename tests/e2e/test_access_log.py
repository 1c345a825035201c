"""The access log as users run it: processes, files, pipes, disks."""

import contextlib
import http.client
import json
import os
import shlex
import signal
import sys
import threading
import time
import urllib.request
from collections import Counter
from pathlib import Path

import pytest

from tests.support.command import LISTENING, RunningCommand, run_command, running, wait_until
from tests.support.standins import StandInProcess, standin_process
from tests.support.tmux import PROMPT, terminal
from tests.support.traffic import traffic

RUN = ("run", "--host", "127.0.0.1", "--port", "0")
MAX_END_SECONDS = 10
"""Two seconds for pending records, the rest for a busy machine; a drain may take 30."""
SECRETS = ("prompt-secret", "key-secret", "query-secret", "server-secret")


@pytest.fixture(name="server", scope="module")
def server_fixture():
    with standin_process("--ttft", "0") as server:
        yield server


def ask(
    router: RunningCommand,
    body: dict | None = None,
    path: str = "/v1/chat/completions",
    **fields: str,
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", router.port, timeout=20)
    with contextlib.closing(connection):
        if body is None:
            connection.request("GET", path, headers=fields)
        else:
            fields["Content-Type"] = "application/json"
            connection.request("POST", path, json.dumps(body), fields)
        reply = connection.getresponse()
        return reply.status, reply.read()


def chat(number: int = 0, **more) -> dict:
    return {
        "model": "standin",
        "max_tokens": 2,
        "messages": [{"role": "user", "content": f"prompt-secret {number}"}],
        **more,
    }


def lines(*paths: Path) -> list[dict]:
    """Return all lines; each must be complete."""
    found = []
    for path in paths:
        data = path.read_bytes()
        assert not data or data.endswith(b"\n")
        found += map(json.loads, data.splitlines())
    return found


def log_files(path: Path) -> list[Path]:
    return [each for each in path.parent.iterdir() if each.name.startswith(path.name)]


def metric(router: RunningCommand, name: str) -> float:
    _, text = ask(router, path="/metrics")
    return sum(
        float(line.split()[-1])
        for line in text.decode().splitlines()
        if line.startswith((name + " ", name + "{"))
    )


def config(folder: Path, server: StandInProcess, **settings) -> Path:
    path = folder / "servers.toml"
    rows = "\n".join(f"{name} = {json.dumps(value)}" for name, value in settings.items())
    path.write_text(
        f'[servers]\nservers = [ {{ url = "{server.url}", api_key = "server-secret" }} ]\n'
        f"[config]\n{rows}\n"
    )
    return path


def test_every_request_once_and_no_secret(tmp_path, server):
    log = tmp_path / "access.log"
    options = ("--access-log", "json", "--access-log-file", str(log))

    def told() -> list[dict]:
        return [line for line in lines(log) if line["path"] != "/server-models"]

    with running(tmp_path, *RUN, "--server", server.url, *options) as router:
        wait_until(lambda: ask(router, path="/server-models")[1].count(b"standin"))
        bearer = {"Authorization": "Bearer key-secret", "X-Request-Id": "mine"}
        query = "/v1/chat/completions?api_key=query-secret"
        assert ask(router, chat(), query, **bearer)[0] == 200
        assert ask(router, chat(stream=True))[0] == 200
        assert ask(router, chat(model="nobody's"))[0] == 404
        assert ask(router, path="/livez?key=query-secret")[0] == 200
        with router.connect() as client:
            client.sendall(b"prompt-secret\r\n\r\n")
            assert client.recv(4096).startswith(b"HTTP/1.1 400 ")
        wait_until(lambda: len(told()) >= 5)
        answered, streamed, unknown, local, refused = sorted(told(), key=lambda line: line["time"])
    assert len(told()) == 5, "nothing more was said at the end"
    assert answered["id"] == "mine"
    for line in (answered, streamed):
        assert (line["status"], line["model"], line["server"]) == (200, "standin", server.url)
        assert (line["path"], line["attempts"]) == ("/v1/chat/completions", 1)
        assert (line["ended_by"], line["reason"]) == ("server", None)
        assert 0 < line["first_byte"] <= line["duration"] < 20
        assert line["bytes_in"] >= len(json.dumps(chat()))
    assert (unknown["status"], unknown["model"], unknown["server"]) == (404, "nobody's", None)
    assert (local["status"], local["path"], local["client"]) == (200, "/livez", "127.0.0.1")
    assert (refused["status"], refused["path"], refused["ended_by"]) == (400, None, "fastroute")
    written = log.read_text() + router.stderr() + router.stdout()
    assert not [secret for secret in SECRETS if secret in written]


def test_text_on_stdout(tmp_path, server):
    path = config(tmp_path, server, access_log="text")
    with running(tmp_path, *RUN, "--config", str(path)) as router:
        assert ask(router, chat())[0] == 200
        wait_until(lambda: " 127.0.0.1 POST /v1/chat/completions 200 id=" in router.stdout())
    first, *rest = router.stdout().splitlines()
    assert "listening on" in first
    assert all("ended_by=" in line for line in rest)


def test_clients_that_go_and_servers_that_fail(tmp_path):
    log = tmp_path / "access.log"
    options = ("--access-log", "json", "--access-log-file", str(log))
    with (
        standin_process("--ttft", "60") as slow,
        running(tmp_path, *RUN, "--server", slow.url, *options) as router,
    ):
        with router.connect() as client:
            body = json.dumps(chat())
            client.sendall(
                f"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nX-Request-Id: gone\r\n"
                f"Content-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
            )
            wait_until(lambda: router.in_flight() == 1)
        wait_until(lambda: router.in_flight() == 0)
        slow.kill()
        status, _ = ask(router, chat(), **{"X-Request-Id": "failed"})
        assert status in (502, 503)
    by_id = {line["id"]: line for line in lines(log)}
    gone, failed = by_id["gone"], by_id["failed"]
    assert (gone["status"], gone["ended_by"]) == (None, "client")
    assert gone["reason"] == "gone while waiting for the first byte"
    assert failed["status"] == status
    assert failed["ended_by"] == ("server" if status == 502 else "fastroute")


@pytest.mark.parametrize("external", [False, True], ids=["by-size", "logrotate"])
def test_rotation_under_load_by_several_workers(tmp_path, server, external):
    """No line is lost, duplicated or torn, whatever rotates the file."""
    folder = tmp_path / "logs"
    folder.mkdir()
    log = folder / "access.log"
    settings = {
        "access_log": "json",
        "access_log_file": str(log),
        "access_log_max_bytes": 0 if external else 25_000,
        "access_log_backups": 1000,
    }
    path = config(tmp_path, server, **settings)
    with running(tmp_path, *RUN, "--config", str(path), "--workers", "2") as router:
        with traffic(router.port, clients=8) as clients:
            for number in range(10):
                wait_until(lambda n=number: clients.good > 40 * (n + 1), 30)
                if external:
                    log.rename(folder / f"access.log.{number}-old")
                    if number % 2:  # with and without logrotate's postrotate
                        router.signal(signal.SIGHUP)
                    wait_until(log.exists)
        assert not clients.bad
        ids = set()
        while len({name.partition("-")[0] for name in ids}) < 2:  # until both workers had some
            ids.add(json.loads(ask(router, chat())[1])["id"].removeprefix("chatcmpl-"))
        asked = clients.good + len(ids)
        lost = metric(router, "fastroute_access_log_lines_lost_total")
        assert lost + metric(router, "fastroute_request_records_lost_total") == 0
    files = log_files(log)
    assert len(files) > 5
    told = lines(*files)
    chats = [line["id"] for line in told if line["path"] == "/v1/chat/completions"]
    assert len(chats) == len(set(chats)) == asked
    assert len({name.partition("-")[0] for name in chats}) == 2, "both workers had requests"
    if not external:
        assert all(each.stat().st_size <= 25_000 for each in files)


def test_a_full_disk_costs_lines_and_nothing_else(tmp_path, server):
    path = config(tmp_path, server, access_log="json", access_log_file="/dev/full")
    with running(tmp_path, *RUN, "--config", str(path)) as router:
        for number in range(50):
            assert ask(router, chat(number))[0] == 200
        wait_until(lambda: "No space left on device; up to 20000 lines wait" in router.stderr())
        began = time.monotonic()
        router.signal(signal.SIGTERM)
        assert router.wait() == 0
        assert time.monotonic() - began < MAX_END_SECONDS
    assert "access log /dev/full: lines lost: 5" in router.stderr()


def test_lost_lines_are_counted(tmp_path, server):
    """A change of settings closes the old file; lines that it did not accept are lost."""
    path = config(tmp_path, server, access_log="json", access_log_file="/dev/full")
    with running(tmp_path, *RUN, "--config", str(path)) as router:
        for number in range(5):
            assert ask(router, chat(number))[0] == 200
        wait_until(lambda: "lines wait in memory" in router.stderr())
        config(tmp_path, server, access_log="off")
        wait_until(lambda: metric(router, "fastroute_access_log_lines_lost_total") >= 5)
        assert 'access_log "json" -> "off"' in router.stderr()


@pytest.mark.parametrize("reader", [False, True], ids=["nobody-reads", "a-reader-that-hangs"])
def test_a_stuck_pipe_delays_nobody(tmp_path, server, reader):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    options = ("--access-log", "json", "--access-log-file", str(pipe))
    descriptor = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK) if reader else None
    with running(tmp_path, *RUN, "--server", server.url, *options) as router:
        with traffic(router.port, clients=4) as clients:
            wait_until(lambda: clients.good > 500, 30)
        assert not clients.bad
        began = time.monotonic()
        router.signal(signal.SIGTERM)
        assert router.wait() == 0
        assert time.monotonic() - began < MAX_END_SECONDS
    assert "lines lost: " in router.stderr()
    if descriptor is not None:
        os.close(descriptor)


def test_stdout_that_nobody_reads(tmp_path, server):
    """A container whose log driver hangs: requests continue, and the router exits in time."""
    router = RunningCommand(
        tmp_path, *RUN, "--server", server.url, "--access-log", "text", stdout_is_pipe=True
    )
    try:
        router.wait_listening()
        with traffic(router.port, clients=4) as clients:
            wait_until(lambda: clients.good > 600, 30)
        assert not clients.bad
        router.signal(signal.SIGTERM)
        assert router.wait(10) == 0
    finally:
        router.stop()


def test_it_is_switched_on_and_off_in_flight(tmp_path, server):
    log = tmp_path / "access.log"
    path = config(tmp_path, server)
    with running(tmp_path, *RUN, "--config", str(path), "--workers", "2") as router:
        assert ask(router, chat())[0] == 200
        config(tmp_path, server, access_log="json", access_log_file=str(log))
        wait_until(log.exists)
        wait_until(lambda: [ask(router, chat()), lines(log)][1])
        config(tmp_path, server, access_log_file=str(log))
        wait_until(lambda: 'access_log "json" -> "off"' in router.stderr())
        config(tmp_path, server, access_log="json", access_log_file=str(tmp_path / "no" / "log"))
        wait_until(lambda: "cannot be written: No such file or directory" in router.stderr())
        assert "the current configuration stays active" in router.stderr()
        assert ask(router, chat())[0] == 200


def test_a_worker_that_is_killed_takes_half_a_second_with_it(tmp_path, server):
    log = tmp_path / "access.log"
    options = ("--access-log", "json", "--access-log-file", str(log))
    with running(tmp_path, *RUN, "--server", server.url, *options) as router:
        assert ask(router, chat(), **{"X-Request-Id": "before"})[0] == 200
        wait_until(lambda: any(line["id"] == "before" for line in lines(log)))
        (pid,) = router.worker_pids()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: router.children() and pid not in router.children())
        assert ask(router, chat(), **{"X-Request-Id": "after"})[0] == 200
    counts = Counter(line["id"] for line in lines(log))
    assert (counts["before"], counts["after"]) == (1, 1)


def test_answers_that_are_cut_at_the_end_are_told_of(tmp_path):
    log = tmp_path / "access.log"
    with standin_process("--ttft", "60") as slow:
        settings = {"access_log": "json", "access_log_file": str(log), "drain_timeout": 0.2}
        path = config(tmp_path, slow, **settings)
        with running(tmp_path, *RUN, "--config", str(path), "--workers", "2") as router:
            threads = [threading.Thread(target=ask, args=(router, chat())) for _ in range(20)]
            for thread in threads:
                thread.start()
            wait_until(lambda: router.in_flight() == 20)
            router.signal(signal.SIGTERM)
            assert router.wait() == 0
            for thread in threads:
                thread.join()
    cut = [line for line in lines(log) if line["path"] == "/v1/chat/completions"]
    assert [(line["status"], line["ended_by"]) for line in cut] == [(503, "fastroute")] * 20


def test_on_a_terminal_lines_take_the_place_of_the_monitor(tmp_path, server):
    with terminal(width=200) as shell:
        command = f"{shlex.quote(sys.executable)} -m fastroute run --host 127.0.0.1 --port 0"
        shell.type(f"{command} --server {server.url} --access-log text")
        wait_until(lambda: LISTENING.search(shell.history()), 20)
        url = LISTENING.search(shell.history())[1]
        with urllib.request.urlopen(f"{url}/livez", timeout=10) as reply:
            assert reply.status == 200
        shell.wait_for("GET /livez 200 id=-")
        assert not shell.is_on_other_screen()
        shell.press("C-c")
        shell.wait_for(PROMPT)


class TestMistakes:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            pytest.param(
                ["--access-log", "json", "--access-log-file", "/nowhere/log"],
                "access_log_file /nowhere/log: cannot be written: No such file or directory",
                id="folder",
            ),
            pytest.param(
                ["--access-log-file", ""],
                '--access-log-file "": must be the path of a file, or "-" for stdout',
                id="empty",
            ),
            pytest.param(
                ["--log-file", "/nowhere/log"],
                "--log-file /nowhere/log: cannot be written: No such file or directory",
                id="log-file",
            ),
        ],
    )
    def test_one_line_says_what(self, options, message):
        done = run_command(*RUN, "--server", "http://127.0.0.1:9", *options)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"fastroute: {message}\n"


class TestLogFile:
    def test_all_processes_write_it_and_follow_its_rotation(self, tmp_path):
        log = tmp_path / "logs" / "fastroute.log"
        log.parent.mkdir()
        options = ("--log-format", "json", "--log-file", str(log), "--log-max-bytes", "800")
        with standin_process() as server:
            run = (*RUN, "--server", server.url, "--workers", "2", *options)
            with running(tmp_path, *run, "--log-backups", "1000") as router:
                server.kill()
                wait_until(lambda: ask(router, chat())[0] == 503)
                wait_until(lambda: len(log_files(log)) > 1)
        assert router.stderr() == ""
        told = lines(*log_files(log))
        assert {line["logger"] for line in told} >= {"supervisor", "fastroute.proxy.attempt"}
        assert len({line["process"] for line in told}) >= 2
        failures = [line for line in told if "failed while connecting" in line["message"]]
        assert failures
        assert all(line["level"] == "warning" for line in failures)
