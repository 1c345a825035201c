from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastroute.doctor.measure.sse import event_times


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        pytest.param([], ((), False), id="nothing"),
        pytest.param([(1.0, b"data: a\n\n")], ((1.0,), False), id="one"),
        pytest.param([(1.0, b"data: a\n\ndata: b\n\n")], ((1.0, 1.0), False), id="two-at-once"),
        pytest.param([(1.0, b"da"), (2.0, b"ta: a\n"), (3.0, b"\n")], ((3.0,), False), id="split"),
        pytest.param([(1.0, b"data: a\n\ndata: [DONE]\n\n")], ((1.0,), True), id="done"),
        pytest.param([(1.0, b"data: [DONE]\n\ndata: a\n\n")], ((1.0,), False), id="not-the-last"),
        pytest.param([(1.0, b": keep-alive\n\n")], ((), False), id="comment"),
        pytest.param([(1.0, b"data: a\r\n\r\n")], ((1.0,), False), id="crlf"),
        pytest.param([(1.0, b"data: a\n")], ((), False), id="unfinished"),
        pytest.param([(1.0, b"event: x\ndata: a\ndata: b\n\n")], ((1.0,), False), id="fields"),
        pytest.param([(1.0, b'{"object": "text_completion"}')], ((), False), id="json"),
    ],
)
def test_events(pieces, expected):
    assert event_times(pieces) == expected


@given(st.lists(st.sampled_from([b"a", b"{}", b"[DONE", b"data:"]), max_size=8), st.data())
def test_any_split(texts, data):
    """Each event is counted once, in the chunk that completes it."""
    whole = b"".join(b"data: %b\n\n" % text for text in texts)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(whole)), max_size=6)) | {0, len(whole)})
    pieces = [(float(b), whole[a:b]) for a, b in pairwise(cuts)]
    times, is_done = event_times(pieces)
    ends = []
    for text in texts:
        ends.append((ends[-1] if ends else 0) + len(text) + 8)
    assert list(times) == [float(min(cut for cut in cuts if cut >= end)) for end in ends]
    assert not is_done


@given(st.lists(st.tuples(st.floats(0, 10), st.binary(max_size=20)), max_size=10))
def test_any_bytes(pieces):
    times, _ = event_times(pieces)
    assert set(times) <= {at for at, _ in pieces}
