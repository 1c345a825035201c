import pytest

from fastroute.rules.load import LoadReport
from fastroute.rules.progress import Progress


def report(running: int = 1, tokens: int | None = 5, prompt: int | None = 7) -> LoadReport:
    return LoadReport(running=running, waiting=0, generation_tokens=tokens, prompt_tokens=prompt)


@pytest.mark.parametrize(
    ("then", "moved"),
    [
        pytest.param(report(), False, id="frozen"),
        pytest.param(report(tokens=6), True, id="tokens"),
        pytest.param(report(prompt=8), True, id="prompt-tokens"),
        pytest.param(report(tokens=0, prompt=0), True, id="restarted"),
        pytest.param(report(running=0), True, id="nothing-to-do"),
    ],
)
def test_what_counts_as_moving(then, moved):
    progress = Progress(0.0, 0)
    assert progress.note_report(report(), 0, 1.0)
    assert progress.note_report(then, 0, 61.0) is moved
    assert progress.has_stalled(60.0, 61.0) is not moved


@pytest.mark.parametrize(
    ("own_in_flight", "waiting", "moved"), [(0, 0, True), (1, 0, False), (0, 1, False)]
)
def test_one_that_hung_while_idle_counts_none_of_what_it_was_sent(own_in_flight, waiting, moved):
    progress = Progress(0.0, 0)
    frozen = LoadReport(running=0, waiting=waiting, generation_tokens=5)
    progress.note_report(frozen, 0, 1.0)
    assert progress.note_report(frozen, own_in_flight, 61.0) is moved


def test_a_server_without_counters_is_never_stalled():
    progress = Progress(0.0, 0)
    for now in range(100):
        assert progress.note_report(report(tokens=None, prompt=None), 3, now)
        assert not progress.has_stalled(60.0, now)


def test_bytes_of_streams_are_progress():
    progress = Progress(0.0, 10)
    progress.note_report(report(), 0, 1.0)
    progress.note_events(11, 30.0)
    assert not progress.note_report(report(), 0, 61.0)
    assert not progress.has_stalled(60.0, 89.9)
    assert progress.has_stalled(60.0, 90.0)


@pytest.mark.parametrize(
    ("timeout", "now", "stalled"),
    [(60, 59.9, False), (60, 60.0, True), (0, 1e6, False), (0.001, 0.001, True)],
)
def test_the_time_it_takes(timeout, now, stalled):
    assert Progress(0.0, 0).has_stalled(timeout, now) is stalled


def test_delivered():
    progress = Progress(0.0, 10)
    assert not progress.has_delivered(10.0, 0.0)
    progress.note_events(10, 1.0)
    assert not progress.has_delivered(10.0, 1.0)
    progress.note_events(12, 2.0)
    assert progress.has_delivered(10.0, 12.0)
    assert not progress.has_delivered(10.0, 12.1)
