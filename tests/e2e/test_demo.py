"""`fastroute demo` as seen by a first-time user."""

import re
import signal

from tests.support.command import is_alive, running, wait_until
from tests.support.monitor_terminal import FASTROUTE, fills, untouched, wait_for_monitor
from tests.support.tmux import PROMPT, Terminal

OUTAGE = "6"
"""Seconds, during two of which the server is down."""


def start(shell: Terminal, *options: str) -> None:
    shell.type(f"{FASTROUTE} demo --port 0 {' '.join(options)}")


def rows(shell: Terminal) -> list[list[str]]:
    """Return the servers' lines: name, state and so on."""
    return re.findall(r"^.(\S+:\d+) +(\w+)", shell.screen(), re.MULTILINE)


def states(shell: Terminal) -> set[str]:
    return {state for _, state in rows(shell)}


class TestOnATerminal:
    def test_a_server_is_killed_and_restarted_and_q_quits(self, shell):
        with untouched(shell):
            start(shell, "--outage-every", OUTAGE)
            wait_for_monitor(shell)
            wait_until(lambda: re.search(r"[1-9]\S* req/s", shell.screen()), 20)
            victim = re.search(r"^demo: (\S+) will be killed in \d s", shell.screen(), re.M)[1]
            shell.wait_for(f"demo: {victim} was killed; restart in")
            shell.press("l")
            shell.wait_for(f"{victim} killed; it restarts in 2 s")
            shell.press("l")
            shell.wait_for(f"{victim}: down for")
            assert dict(rows(shell))[victim] == "down"
            wait_until(lambda: states(shell) == {"up"}, 20)
            assert "3/3 usable" in shell.screen()
            shell.resize(120, 30)
            wait_until(lambda: fills(shell, 30))
            shell.press("q")
            shell.wait_for(f"{PROMPT}\n")
        history = shell.history()
        assert "curl -N" in history
        # The last lines of the log; the earliest of them depends on the events.
        assert re.search(rf"{victim} (killed|restarted|is DOWN|is UP)", history)
        assert "Traceback" not in history

    def test_ctrl_c_stops_immediately_with_requests_in_flight(self, shell):
        with untouched(shell):
            start(shell, "--outage-every", "0")
            wait_for_monitor(shell)
            shell.wait_for("in flight")
            wait_until(lambda: re.search(r" [1-9]\d* in flight", shell.screen()), 20)
            assert "demo:" not in shell.screen()
            shell.press("C-c")
            # Its clients disconnect, so that nothing delays it.
            shell.wait_for(f"{PROMPT}\n", 5)

    def test_without_traffic(self, shell):
        start(shell, "--no-traffic", "--servers", "2", "--outage-every", "0")
        wait_for_monitor(shell)
        shell.wait_for("2/2 usable")
        shell.press("q")
        shell.wait_for(f"{PROMPT}\n")

    def test_console(self, shell):
        start(shell, "--console", "--outage-every", "3")
        shell.wait_for(" killed; it restarts in 1 s")
        shell.wait_for(" restarted")
        assert not shell.is_on_other_screen()
        shell.press("C-c")
        shell.wait_for("draining")
        shell.wait_for(f"{PROMPT}\n")


class TestWithoutOne:
    def test_it_logs_and_all_processes_end_with_it(self, tmp_path):
        with running(tmp_path, "demo", "--port", "0", "--outage-every", "3") as demo:
            wait_until(lambda: demo.get("/load-stats")["summary"]["total_in_flight"] > 3, 20)
            wait_until(lambda: "is DOWN" in demo.stderr(), 20)
            wait_until(lambda: "is UP" in demo.stderr(), 20)
            servers = demo.get("/load-stats")["servers"]
            # The faster a server, the more responses it sends.
            assert [server["max_capacity"] for server in servers] == [8, 6, 4]
            pids = demo.children()
            assert demo.stop() == 0
            wait_until(lambda: not any(map(is_alive, pids)))
            assert "Traceback" not in demo.stderr()

    def test_what_is_killed_takes_all_with_it(self, tmp_path):
        with running(tmp_path, "demo", "--port", "0") as demo:
            pids = demo.children()
            assert len(pids) >= 4
            demo.signal(signal.SIGKILL)
            wait_until(lambda: not any(map(is_alive, pids)))
