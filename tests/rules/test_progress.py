import pytest

from fastroute.rules.load import LoadReport
from fastroute.rules.progress import Progress, stalled


def report(running: int = 1, tokens: int | None = 5, prompt: int | None = 7) -> LoadReport:
    return LoadReport(running=running, waiting=0, generation_tokens=tokens, prompt_tokens=prompt)


FROZEN = report()


def stuck(own_waiting: int = 1, until: float = 61.0) -> Progress:
    """A server whose counters stand still from second 1 on, while requests wait."""
    progress = Progress(0.0, 0)
    progress.note_report(FROZEN, own_waiting, 1.0)
    progress.note_report(FROZEN, own_waiting, until)
    return progress


def moving(at: float) -> Progress:
    progress = Progress(0.0, 0)
    progress.note_report(FROZEN, 1, 0.0)
    progress.note_report(report(tokens=6), 1, at)
    return progress


def idle() -> Progress:
    return stuck(own_waiting=0)


@pytest.mark.parametrize(
    ("then", "own_waiting", "moved", "still"),
    [
        pytest.param(report(), 1, False, True, id="frozen"),
        pytest.param(report(running=0), 1, False, True, id="hung-while-idle"),
        pytest.param(report(), 0, False, False, id="only-others-requests"),
        pytest.param(report(tokens=6), 1, True, False, id="tokens"),
        pytest.param(report(prompt=8), 1, True, False, id="prompt-tokens"),
        pytest.param(report(tokens=0, prompt=0), 1, True, False, id="restarted"),
        pytest.param(report(tokens=6), 0, True, False, id="others-requests-move"),
    ],
)
def test_what_counts_as_moving(then, own_waiting, moved, still):
    progress = Progress(0.0, 0)
    assert not progress.note_report(report(), own_waiting, 1.0), "nothing to compare with yet"
    assert progress.note_report(then, own_waiting, 61.0) is moved
    assert progress.has_moved(60.0, 61.0) is moved
    assert progress.stands_still(60.0) is still


def test_a_server_without_counters_is_never_stalled():
    progress = Progress(0.0, 0)
    for now in range(100):
        assert not progress.note_report(report(tokens=None, prompt=None), 3, now)
        assert not progress.stands_still(60.0)


def test_bytes_of_streams_are_progress():
    progress = Progress(0.0, 10)
    progress.note_report(FROZEN, 1, 1.0)
    progress.note_events(11, 30.0)
    progress.note_report(FROZEN, 1, 89.9)
    assert not progress.stands_still(60.0)
    progress.note_report(FROZEN, 1, 90.0)
    assert progress.stands_still(60.0)
    progress.note_events(12, 91.0)
    assert not progress.stands_still(60.0)


@pytest.mark.parametrize(
    ("timeout", "until", "still"),
    [(60, 60.9, False), (60, 61.0, True), (0, 1e6, False), (0.5, 1.5, True)],
)
def test_the_time_it_takes(timeout, until, still):
    assert stuck(until=until).stands_still(timeout) is still


def test_the_time_begins_with_the_first_request_that_waits():
    progress = Progress(0.0, 0)
    progress.note_report(FROZEN, 0, 100.0)
    progress.note_report(FROZEN, 1, 159.0)
    assert not progress.stands_still(60.0)
    progress.note_report(FROZEN, 1, 160.0)
    assert progress.stands_still(60.0)


def test_on_trial_it_gets_the_time_once_more():
    progress = stuck()
    progress.restart(61.0)
    assert not progress.stands_still(60.0)
    progress.note_report(FROZEN, 1, 120.9)
    assert not progress.stands_still(60.0)
    progress.note_report(FROZEN, 1, 121.0)
    assert progress.stands_still(60.0)


def test_without_reports_nothing_is_known():
    progress = Progress(0.0, 0)
    progress.note_report(FROZEN, 1, 1.0)
    progress.note_report(FROZEN, 1, 30.0)
    assert stalled({"a": progress}, {"m": ["a"]}, 60.0, 1000.0) == []


@pytest.mark.parametrize(
    ("peers", "expected"),
    [
        pytest.param({}, ["a"], id="no-peer"),
        pytest.param({"b": idle()}, ["a"], id="idle-peer"),
        pytest.param({"b": moving(at=1.0)}, ["a"], id="peer-moves"),
        pytest.param({"b": moving(at=0.9)}, [], id="peer-moved-too-long-ago"),
        pytest.param({"b": stuck()}, [], id="peer-stands-still"),
        pytest.param({"b": stuck(), "c": moving(at=61.0)}, ["a", "b"], id="one-of-three-moves"),
        pytest.param({"b": stuck(), "c": idle()}, [], id="none-of-three-moves"),
    ],
)
def test_compared_with_peers(peers, expected):
    servers = {"a": stuck(), **peers}
    assert stalled(servers, {"m": list(servers)}, 60.0, 61.0) == expected


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        pytest.param({"m": ["a"], "n": ["b", "c"]}, ["a", "b"], id="alone-with-its-model"),
        pytest.param({"m": ["a", "b"], "n": ["a", "c"]}, ["a"], id="one-model-in-common"),
        pytest.param({"m": ["a", "b"], "n": ["c"]}, [], id="peer-stands-still"),
        pytest.param({"m": ["a", "gone"], "n": ["b", "c"]}, ["a", "b"], id="a-server-is-gone"),
    ],
)
def test_peers_are_the_servers_of_its_models(models, expected):
    servers = {"a": stuck(), "b": stuck(), "c": moving(at=61.0)}
    assert stalled(servers, models, 60.0, 61.0) == expected


def test_delivered():
    progress = Progress(0.0, 10)
    assert not progress.has_delivered(10.0, 0.0)
    progress.note_events(10, 1.0)
    assert not progress.has_delivered(10.0, 1.0)
    progress.note_events(12, 2.0)
    assert progress.has_delivered(10.0, 12.0)
    assert not progress.has_delivered(10.0, 12.1)
