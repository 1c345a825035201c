import os
import signal
import subprocess
import sys
import time

import pytest

from fastroute.control.workers.activity import activity_of
from fastroute.rules.liveness import Activity
from tests.support.command import wait_until


@pytest.fixture(name="child")
def child_fixture(request):
    """A Python process that runs a program until the test ends."""
    child = subprocess.Popen([sys.executable, "-c", request.param])
    yield child
    child.kill()
    child.wait()


@pytest.mark.parametrize("child", ["import time; time.sleep(60)"], indirect=True)
def test_of_a_sleeping_process(child):
    wait_until(lambda: activity_of(child.pid).state == "S")
    assert activity_of(child.pid).is_idle
    child.send_signal(signal.SIGSTOP)
    wait_until(lambda: activity_of(child.pid).state == "T")
    assert activity_of(child.pid).state_name == "stopped"


@pytest.mark.parametrize("child", ["while 1: pass"], indirect=True)
def test_of_a_computing_process(child):
    wait_until(lambda: activity_of(child.pid).cpu_s > 0.3, 30)
    assert not activity_of(child.pid).is_idle


def test_is_the_cpu_time():
    before, used = activity_of(os.getpid()).cpu_s, time.process_time()
    while time.process_time() < used + 0.1:
        pass
    assert activity_of(os.getpid()).cpu_s - before >= 0.08


def test_of_no_process():
    assert activity_of(2**22 + 1) == Activity()
