import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastroute.rules.trace_context import TraceParent, read_traceparent, with_traceparent

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01".encode()
HEAD = b"POST / HTTP/1.1\r\nHost: a\r\n"


def hexadecimal(digits: int) -> st.SearchStrategy[str]:
    return st.integers(1, 16**digits - 1).map(lambda number: f"{number:0{digits}x}")


@pytest.mark.parametrize(
    ("value", "sampled"),
    [
        pytest.param(GOOD, True, id="sampled"),
        pytest.param(GOOD[:-1] + b"0", False, id="not-sampled"),
        pytest.param(GOOD[:-2] + b"03", True, id="other-flags-too"),
        pytest.param(GOOD[:-2] + b"02", False, id="other-flags-only"),
        pytest.param(b" " + GOOD + b"\t", True, id="blanks"),
        pytest.param(b"cc" + GOOD[2:], True, id="later-version"),
        pytest.param(b"cc" + GOOD[2:] + b"-what-ever", True, id="later-version-with-more"),
    ],
)
def test_reads(value, sampled):
    assert read_traceparent([value]) == TraceParent(TRACE, SPAN, sampled)


@pytest.mark.parametrize(
    "values",
    [
        pytest.param([], id="none"),
        pytest.param([GOOD, GOOD], id="two"),
        pytest.param([b""], id="empty"),
        pytest.param([b"ff" + GOOD[2:]], id="forbidden-version"),
        pytest.param([GOOD + b"-00"], id="more-than-version-0-has"),
        pytest.param([GOOD.upper()], id="upper-case"),
        pytest.param([GOOD.replace(TRACE.encode(), b"0" * 32)], id="no-trace"),
        pytest.param([GOOD.replace(SPAN.encode(), b"0" * 16)], id="no-span"),
        pytest.param([GOOD[:-1]], id="short"),
        pytest.param([GOOD + b"\n"], id="line-end"),
    ],
)
def test_does_not_take(values):
    assert read_traceparent(values) is None


@given(hexadecimal(32), hexadecimal(16), st.booleans())
def test_reads_what_it_writes(trace, span, sampled):
    parent = TraceParent(trace, span, sampled)
    assert read_traceparent([parent.render()]) == parent


@given(st.binary(max_size=80))
def test_never_fails(value):
    read_traceparent([value])


BOTH = (b"traceparent", b"tracestate")


@pytest.mark.parametrize(
    ("fields", "dropped", "left"),
    [
        pytest.param(b"", (), b"", id="none-before"),
        pytest.param(b"", BOTH, b"", id="none-to-drop"),
        pytest.param(b"traceparent: x\r\n", BOTH, b"", id="replaced"),
        pytest.param(
            b"a: b\r\nTraceParent:x\r\ntraceparent: y\r\nc: d\r\n",
            BOTH,
            b"a: b\r\nc: d\r\n",
            id="all-of-them",
        ),
        pytest.param(
            b"Traceparent: x\r\nTraceState: a=b\r\n",
            BOTH[:1],
            b"TraceState: a=b\r\n",
            id="state-of-the-same-trace",
        ),
        pytest.param(b"TraceState: a=b\r\nc: d\r\n", BOTH[1:], b"c: d\r\n", id="state-of-another"),
        pytest.param(
            b"x-traceparent: x\r\na: traceparent: b\r\n",
            BOTH,
            b"x-traceparent: x\r\na: traceparent: b\r\n",
            id="what-looks-like-it",
        ),
    ],
)
def test_goes_into_a_head(fields, dropped, left):
    parent = TraceParent(TRACE, SPAN, sampled=True)
    head = with_traceparent(HEAD + fields + b"\r\n", parent, dropped=dropped)
    assert head == HEAD + left + b"traceparent: " + GOOD + b"\r\n\r\n"


def test_dropping_costs_no_more_for_many():
    """Copying the head for each of them took 20 ms."""
    parent = TraceParent(TRACE, SPAN, sampled=True)
    fields = b"traceparent: x\r\n" * 3000 + b"a: b\r\n"
    assert with_traceparent(HEAD + fields + b"\r\n", parent, dropped=BOTH) == (
        HEAD + b"a: b\r\ntraceparent: " + GOOD + b"\r\n\r\n"
    )
