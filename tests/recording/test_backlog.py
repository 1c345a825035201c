import threading
import time

from fastroute.recording.backlog import Backlog
from tests.recording.records import numbered


def test_first_in_first_out():
    backlog = Backlog(10)
    backlog.put(numbered(3))
    assert backlog.take(2) == numbered(2)
    assert len(backlog) == 1
    assert backlog.take(2) == numbered(1, first=2)


def test_what_has_no_room_is_counted():
    backlog = Backlog(3)
    backlog.put(numbered(5))
    assert backlog.lost == 2
    assert backlog.take(9) == numbered(3)
    backlog.give_up(3)
    assert backlog.lost == 5


def test_taking_waits():
    backlog = Backlog(3)
    taken = []
    thread = threading.Thread(target=lambda: taken.append(backlog.take(9)))
    thread.start()
    backlog.put(numbered(1))
    thread.join(5)
    assert taken == [numbered(1)]


def test_the_end():
    backlog = Backlog(3)
    backlog.put(numbered(1))
    backlog.end()
    assert backlog.take(9) == numbered(1)
    assert backlog.take(9) == []
    assert backlog.has_ended


def test_waking():
    """Once: the next look waits again, and so does a pause."""
    backlog = Backlog(3)
    backlog.wake()
    assert backlog.take(9) == []
    backlog.wake()
    backlog.pause(60)
    began = time.monotonic()
    backlog.pause(0.02)
    assert time.monotonic() - began >= 0.02
