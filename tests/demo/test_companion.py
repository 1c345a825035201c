import os
import signal
import subprocess
import sys

from fastroute.demo import companion
from fastroute.demo.companion import Companion
from tests.support.command import is_alive, wait_until

PARENT = """
import sys
from fastroute.demo.companion import Companion
print(Companion("tests.demo.obedient")._process.pid, flush=True)
sys.stdin.read()
"""


def test_read_line_and_stop():
    made = Companion("tests.demo.obedient", "hello")
    assert made.read_line() == "hello\n"
    made.stop()
    assert made._process.returncode == 0


def test_kill():
    made = Companion("tests.demo.obedient", "hello")
    made.read_line()
    made.kill()
    assert made._process.returncode == -signal.SIGKILL


def test_one_that_does_not_exit_is_killed(monkeypatch):
    monkeypatch.setattr(companion, "STOP_TIMEOUT", 0.1)
    made = Companion("tests.demo.obedient", "stubborn", "--stubborn")
    made.read_line()
    made.stop()
    assert made._process.returncode == -signal.SIGKILL


def test_it_exits_with_its_parent_however_that_ends():
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        pid = int(parent.stdout.readline())
        assert is_alive(pid)
        os.kill(parent.pid, signal.SIGKILL)
        wait_until(lambda: not is_alive(pid))


def test_ctrl_c_does_not_reach_it():
    made = Companion("tests.demo.obedient", "hello")
    made.read_line()
    assert os.getpgid(made._process.pid) != os.getpgrp()
    made.stop()
