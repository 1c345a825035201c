"""Which worker is killed; what is seen of it is real, only its heartbeat is not."""

import contextlib
import logging
import signal
import subprocess
import sys

import pytest

from fastroute.control.workers.activity import activity_of
from fastroute.control.workers.watchdog import KILL_INTERVAL, Watchdog
from fastroute.rules.liveness import Patience
from tests.support.command import wait_until

PATIENCE = Patience(hung_after=10, spinning_after=0.5)
SLEEPS = "import time; print(flush=True); time.sleep(60)"
SPINS = "print(flush=True)\nwhile 1: pass"


class Child:
    """A process in the place of a worker."""

    def __init__(self, index: int, program: str) -> None:
        self.index = index
        self.name = f"worker {index}"
        self.process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
        self.pid = self.process.pid
        assert self.process.stdout is not None
        self.process.stdout.readline()

    def kill(self) -> None:
        self.process.kill()

    def is_killed(self, within: float = 10.0) -> bool:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.process.wait(within) == -signal.SIGKILL
        return False


@pytest.fixture(name="start")
def start_fixture():
    """Start processes in the place of workers."""
    children = []

    def start(*programs: str) -> list[Child]:
        children.extend(Child(index, program) for index, program in enumerate(programs))
        return children

    yield start
    for child in children:
        child.process.kill()
        child.process.communicate()


def watchdog(workers: int, patience: Patience = PATIENCE) -> tuple[Watchdog, memoryview]:
    beats = memoryview(bytearray(8 * workers)).cast("q")
    beats[:] = memoryview(b"\1\0\0\0\0\0\0\0" * workers).cast("q")
    return Watchdog([beats[index : index + 1] for index in range(workers)], patience), beats


def look(dog: Watchdog, workers: list[Child], seconds: float) -> None:
    for _ in range(int(seconds)):
        dog.look(workers, 1.0)


def is_asleep(child: Child) -> bool:
    return activity_of(child.pid).state == "S"


def test_a_sleeping_one_is_killed(start, caplog):
    (child,) = workers = start(SLEEPS)
    wait_until(lambda: is_asleep(child))
    dog, _ = watchdog(1)
    look(dog, workers, 14)
    assert child.is_killed()
    assert caplog.messages[-1].startswith("worker 0 hangs: it had no heartbeat for 1")
    assert caplog.messages[-1].endswith("s of CPU time in them, and is sleeping; it is killed")


def test_a_computing_one_is_not(start, caplog):
    """It was: one costly request, and all streams of the worker ended."""
    (child,) = workers = start(SPINS)
    wait_until(lambda: activity_of(child.pid).cpu_s > 0.3, 30)
    dog, beats = watchdog(1, Patience(hung_after=10, spinning_after=1e9))
    look(dog, workers, 100)
    assert child.process.poll() is None
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert caplog.messages[0].startswith("worker 0 is busy: it had no heartbeat for 11.0 s, used ")
    assert caplog.messages[0].endswith("and is runnable; it is not killed")
    beats[0] += 1
    look(dog, workers, 9)
    assert caplog.messages[1].startswith("worker 0 is back: it had no heartbeat for 99.0 s")


def test_an_endless_loop_is_killed(start, caplog):
    (child,) = workers = start(SPINS)
    dog, _ = watchdog(1)
    dog.look(workers, 1.0)
    dog.look(workers, 1.0)
    used = activity_of(child.pid).cpu_s
    wait_until(lambda: activity_of(child.pid).cpu_s > used + 0.6, 30)
    dog.look(workers, 1.0)
    assert child.is_killed()
    assert "worker 0 is in an endless loop: " in caplog.messages[-1]


def test_one_that_beats_is_not(start, caplog):
    (child,) = workers = start(SLEEPS)
    dog, beats = watchdog(1)
    for _ in range(20):
        look(dog, workers, 9)
        beats[0] += 1
    assert child.process.poll() is None
    assert not caplog.messages


def test_one_a_minute(start, caplog):
    """All of them hang at once: an attack, or the machine. Their streams do not all end."""
    workers = start(SLEEPS, SLEEPS, SLEEPS)
    wait_until(lambda: all(map(is_asleep, workers)))
    dog, _ = watchdog(3)
    look(dog, workers, 20)
    assert workers[0].is_killed()
    assert [child.process.poll() for child in workers[1:]] == [None, None]
    spared = [message for message in caplog.messages if "is not killed now" in message]
    assert len(spared) == 2
    dog.forget(0)
    look(dog, workers[1:], KILL_INTERVAL)
    assert workers[1].is_killed()
    assert workers[2].process.poll() is None
    assert len(caplog.messages) == 4
