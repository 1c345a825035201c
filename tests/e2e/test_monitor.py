"""The monitor in a terminal, operated by keys, as its users see it."""

import os
import re
import signal
from functools import partial

import pytest

from tests.support.command import is_alive, run_command, running, wait_until
from tests.support.monitor_terminal import FASTROUTE, fills, untouched, wait_for_monitor
from tests.support.ports import free_port
from tests.support.standins import StandInProcess, standin_process
from tests.support.tmux import PROMPT, Terminal
from tests.support.traffic import traffic

LISTENING = re.compile(r"listening on http://127\.0\.0\.1:(\d+)")
RED = re.compile(r"\x1b\[([0-9;]*;)?31m")
KEYS = "q quit  s sort  p pause"
REFUSED = "cannot connect: Connection refused"


@pytest.fixture(name="server", scope="module")
def server_fixture():
    with standin_process() as server:
        yield server


def start(shell: Terminal, *urls: str, options: str = "") -> None:
    servers = " ".join(f"--server {url}" for url in urls)
    shell.type(f"{FASTROUTE} run --host 127.0.0.1 --port 0 {servers} {options}")


def port_of(shell: Terminal) -> int:
    found = re.search(r"at http://127\.0\.0\.1:(\d+)", shell.screen())
    assert found
    return int(found[1])


class TestRun:
    def test_keys(self, server: StandInProcess, shell):
        with untouched(shell):
            start(shell, server.url, "http://127.0.0.1:9")
            screen = wait_for_monitor(shell)
            assert " SERVER " in screen
            assert KEYS in screen
            shell.wait_for("127.0.0.1:9: down for")
            shell.press("s")
            shell.wait_for("sort: problems")
            shell.press("p")
            paused = shell.wait_for("PAUSED")
            shell.press("p")
            wait_until(lambda: "PAUSED" not in shell.screen())
            assert paused.splitlines()[0] != shell.screen().splitlines()[0]
            shell.press("End", "Enter")
            shell.wait_for(f"{server.url}\n")
            shell.press("Escape")
            shell.wait_for(" SERVER ")
            shell.press("Up", "Enter")
            shell.wait_for("http://127.0.0.1:9\n")
            shell.press("Left")
            shell.wait_for(" SERVER ")
            shell.press("l")
            shell.wait_for(" has models: ")
            shell.press("?")
            shell.wait_for("this help")
            shell.press("q")
            shell.wait_for("SIGINT: draining; requests in flight: 0")
            shell.wait_for(f"{PROMPT}\n")
        history = shell.history()
        assert LISTENING.search(history)
        assert "Traceback" not in history

    def test_log_lines_do_not_garble_the_screen(self, server: StandInProcess, shell):
        start(shell, server.url, options="--log-level debug")
        wait_for_monitor(shell)
        with traffic(port_of(shell)) as clients:
            wait_until(lambda: clients.good > 50)
            wait_until(lambda: re.search(r"[1-9]\S* req/s", shell.screen()))
            lines = shell.screen().splitlines()
        assert lines[0].startswith("fastroute ")
        assert lines[1].startswith("1/1 usable")
        assert not re.search(r"DEBUG|INFO", "\n".join(lines))
        shell.press("q")
        shell.wait_for(f"{PROMPT}\n")

    def test_resized(self, server: StandInProcess, shell):
        start(shell, server.url)
        wait_for_monitor(shell)
        assert "MODEL" not in shell.screen()
        for width, height in ((160, 40), (30, 8), (80, 24)):
            shell.resize(width, height)
            wait_until(partial(fills, shell, height))
            assert ("MODEL" in shell.screen()) == (width == 160)
        shell.press("q")
        shell.wait_for(f"{PROMPT}\n")

    @pytest.mark.parametrize("key", ["q", "C-c"])
    def test_answers_in_flight_finish(self, key, shell):
        with standin_process("--ttft", "2") as slow, untouched(shell):
            start(shell, slow.url)
            wait_for_monitor(shell)
            with traffic(port_of(shell), clients=1) as clients:
                shell.wait_for("1 in flight")
                shell.press(key)
                shell.wait_for("draining; requests in flight: 1")
                assert not shell.is_on_other_screen()
                shell.wait_for(f"{PROMPT}\n")
            assert clients.good

    @pytest.mark.parametrize(
        ("number", "status"),
        [(signal.SIGTERM, 0), (signal.SIGINT, 0), (signal.SIGQUIT, 131), (signal.SIGHUP, 129)],
    )
    def test_signals(self, number, status, server, shell):
        with untouched(shell):
            start(shell, server.url, options="& echo pid $!; fg; echo status $?")
            wait_for_monitor(shell)
            pid = int(re.search(r"pid (\d+)", shell.tmux("capture-pane", "-p", "-a"))[1])
            os.kill(pid, number)
            shell.wait_for(f"status {status}")
            wait_until(lambda: not is_alive(pid))

    def test_ctrl_z_and_fg(self, server: StandInProcess, shell):
        with untouched(shell):
            start(shell, server.url)
            wait_for_monitor(shell)
            shell.press("C-z")
            shell.wait_for("Stopped")
            assert not shell.is_on_other_screen()
            shell.type("fg")
            wait_for_monitor(shell)
            shell.press("q")
            shell.wait_for("draining")

    def test_console(self, server: StandInProcess, shell):
        start(shell, server.url, options="--console")
        shell.wait_for("accepts clients")
        assert not shell.is_on_other_screen()
        shell.press("C-c")
        shell.wait_for("draining")

    def test_in_the_background_it_logs(self, server: StandInProcess, shell):
        start(shell, server.url, options="&")
        shell.wait_for("accepts clients")
        assert not shell.is_on_other_screen()
        shell.type("kill %1; wait")
        shell.wait_for("draining")

    def test_a_dumb_terminal_gets_the_log(self, server: StandInProcess, shell):
        shell.type("TERM=dumb; export TERM")
        start(shell, server.url)
        shell.wait_for("accepts clients")
        assert not shell.is_on_other_screen()
        shell.press("C-c")
        shell.wait_for("draining")


class TestTop:
    def test_it_shows_a_lost_connection_and_reconnects(self, server, shell, tmp_path):
        port = ("--port", str(free_port()))
        options = ("run", "--host", "127.0.0.1", "--server", server.url, *port)
        with untouched(shell):
            with running(tmp_path, *options) as router:
                shell.type(f"{FASTROUTE} top {router.url}")
                screen = wait_for_monitor(shell)
                assert router.url in screen
                shell.press("l")
                shell.wait_for("the log is written where that router runs")
                shell.press("l")
            shell.wait_for("DISCONNECTED")
            shell.wait_for(f"disconnected, retrying: {REFUSED}")
            with running(tmp_path, *options):
                wait_until(lambda: "DISCONNECTED" not in shell.screen())
                shell.press("q")
                shell.wait_for(f"{PROMPT}\n")

    def test_colours(self, tmp_path, shell):
        with running(tmp_path, "run", *RUN_DOWN) as router:
            shell.type(f"{FASTROUTE} top {router.url}")
            wait_for_monitor(shell)
            shell.wait_for("down for")
            assert RED.search(shell.screen(colours=True))
            shell.press("q")
            shell.wait_for(f"{PROMPT}\n")
            shell.type(f"NO_COLOR=1 {FASTROUTE} top {router.url}")
            wait_for_monitor(shell)
            shell.wait_for("down for")
            assert not RED.search(shell.screen(colours=True))
            shell.press("C-c")
            shell.wait_for(f"{PROMPT}\n")

    def test_a_hundred_servers(self, tmp_path, shell):
        many = [part for n in range(100) for part in ("--server", f"http://127.0.0.1:{n + 1}")]
        options = ("--host", "127.0.0.1", "--port", "0", "--log-level", "error")
        with running(tmp_path, "run", *options, *many) as router:
            shell.type(f"{FASTROUTE} top {router.url}")
            wait_for_monitor(shell)
            shell.wait_for("of 100")
            shell.press("End")
            shell.wait_for("-100 of 100")
            shell.wait_for("127.0.0.1:100 ")
            shell.press("q")
            shell.wait_for(f"{PROMPT}\n")

    def test_once_and_json(self, server, tmp_path):
        with running(tmp_path, "run", "--host", "127.0.0.1", "--port", "0", "--server", server.url,
                     *RUN_DOWN[4:]) as router:  # fmt: skip
            table = run_command("top", router.url, "--once")
            piped = run_command("top", router.url)
            raw = run_command("top", router.url, "--json")
        assert (table.returncode, table.stderr) == (0, "")
        assert " SERVER " in table.stdout
        assert "standin" in table.stdout
        assert "\x1b" not in table.stdout
        assert "/2 usable" in piped.stdout.splitlines()[0]
        assert (raw.returncode, raw.stderr) == (0, "")
        assert raw.stdout.startswith('{"servers":[{"url":')

    @pytest.mark.parametrize(
        ("arguments", "code", "message"),
        [
            pytest.param(["ftp://x"], 2, "'ftp://x': must be http://host:port", id="url"),
            pytest.param(["--once", "--json"], 2, "--once and --json exclude", id="both"),
            pytest.param(["127.0.0.1:1"], 1, f"http://127.0.0.1:1: {REFUSED}", id="not-reachable"),
        ],
    )
    def test_mistakes(self, arguments, code, message):
        done = run_command("top", *arguments)
        assert (done.returncode, done.stdout) == (code, "")
        assert done.stderr.startswith(f"fastroute: {message}")
        assert done.stderr.count("\n") == 1

    def test_another_program(self, server: StandInProcess):
        done = run_command("top", server.url)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"fastroute: {server.url}: not a fastroute: ")


RUN_DOWN = ("--host", "127.0.0.1", "--port", "0", "--server", "http://127.0.0.1:9")
