import pytest

from fastroute.ipc.messages import Records
from fastroute.ipc.request_record import RequestRecord
from fastroute.proxy.recorder import BATCH, MAX_BACKLOG_BYTES, Recorder
from fastroute.rules.outcome import Outcome


def record(number: int) -> RequestRecord:
    return RequestRecord(started_at=number, client="a", status=200, outcome=Outcome.ANSWERED)


class SupervisorLink:
    def __init__(self) -> None:
        self.told: list[Records] = []
        self.unsent = 0

    def report(self, message: Records) -> None:
        self.told.append(message)

    def backlog(self) -> int:
        return self.unsent


@pytest.fixture(name="way")
def way_fixture():
    return SupervisorLink()


@pytest.fixture(name="lost")
def lost_fixture():
    return memoryview(bytearray(8)).cast("q")


def test_sends_many_at_once(way, lost):
    recorder = Recorder(way, lost)
    for number in range(BATCH - 1):
        recorder.add(record(number))
    assert not way.told
    recorder.add(record(BATCH - 1))
    [message] = way.told
    assert [each.started_at for each in message.records] == list(range(BATCH))


def test_sends_what_there_is(way, lost):
    recorder = Recorder(way, lost)
    recorder.flush()
    assert not way.told
    recorder.add(record(1))
    recorder.flush()
    recorder.flush()
    assert way.told == [Records([record(1)])]


def test_drops_and_counts_what_has_no_room(way, lost):
    recorder = Recorder(way, lost)
    way.unsent = MAX_BACKLOG_BYTES + 1
    for number in range(3):
        recorder.add(record(number))
    recorder.flush()
    assert (way.told, lost[0]) == ([], 3)
    way.unsent = MAX_BACKLOG_BYTES
    recorder.add(record(3))
    recorder.flush()
    assert (way.told, lost[0]) == ([Records([record(3)])], 3)
