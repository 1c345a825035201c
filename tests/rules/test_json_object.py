"""Where a value stands: agreement with a real JSON parser, and no exception on anything else."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fastroute.rules.json_object import TooManySteps, string_span

KEY = b'"k"'
UNLIMITED = 1 << 40
TEXTS = st.text(max_size=5) | st.text('k"\\{}[]:, ', max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(TEXTS | st.just("k"), inner, max_size=3)
    ),
    max_leaves=10,
)


def value_of(text: bytes, max_steps: int = UNLIMITED) -> object:
    span = string_span(text, KEY, max_steps)
    return None if span is None else json.loads(text[slice(*span)])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(b'{"k":"v"}', (5, 8), id="alone"),
        pytest.param(b' {"x":[1,{"k":"no"}], "k"\t:\n"v" }\r\n', (28, 31), id="among-others"),
        pytest.param(b'{"k":"a","k":"b"}', (13, 16), id="the-last-counts"),
        pytest.param(b'{"k":"a","k":1}', None, id="the-last-is-no-string"),
        pytest.param(b'{"k":1,"k":"b"}', (11, 14), id="only-the-last-is-a-string"),
        pytest.param(b'{"x":"k","y":"v"}', None, id="a-value-that-looks-alike"),
        pytest.param(b'{"\\u006b":"v"}', (10, 13), id="escaped-key"),
        pytest.param(b'{"k":"a\\\\"}', (5, 10), id="backslashes-at-the-end"),
        pytest.param(b'{"k":"a\\\\\\""}', (5, 12), id="a-quote-behind-backslashes"),
        pytest.param(b'{"k":"v"', None, id="cut"),
        pytest.param(b'{"k":"v', None, id="cut-in-the-value"),
        pytest.param(b'{"k":"v\\"}', None, id="cut-by-an-escape"),
        pytest.param(b'{"k', None, id="cut-in-the-key"),
        pytest.param(b'{"k"', None, id="cut-behind-the-key"),
        pytest.param(b'{"k":', None, id="cut-behind-the-colon"),
        pytest.param(b'{"k":"v"}{', None, id="something-behind"),
        pytest.param(b'["k","v"]', None, id="list"),
        pytest.param(b'"k"', None, id="string"),
        pytest.param(b" ", None, id="blank"),
        pytest.param(b"", None, id="nothing"),
    ],
)
def test_spans(text, expected):
    assert string_span(text, KEY, UNLIMITED) == expected


@given(VALUES, st.booleans(), st.sampled_from([None, 0, 2]))
def test_as_python_reads_it(value, ascii_only, indent):
    for whole in (value, {"a": value, "k": value}, {"k": "v", "a": value}):
        found = value_of(json.dumps(whole, ensure_ascii=ascii_only, indent=indent).encode())
        expected = whole.get("k") if isinstance(whole, dict) else None
        assert found == (expected if isinstance(expected, str) else None)


@given(st.binary(max_size=30) | st.text('{}[]":,k\\ ', max_size=30).map(str.encode))
@example(b'{"k":"\\')
@example(b'{"k\\":"v"}')
@example(b'{"\\xk":"v"}')
def test_any_bytes(text):
    """Whatever comes, it is no exception, and a span lies within the text."""
    for whole in (text, b'{"k":"v",' + text, b'{"' + text + b'"}'):
        span = string_span(whole, KEY, UNLIMITED)
        assert span is None or 0 < span[0] < span[1] < len(whole)


def test_the_search_ends_after_so_many_steps():
    """A string is one, whatever its length, and so is a bracket; an outermost key is four."""
    text = json.dumps({"x": "y" * 1000, "a": [[1, 2]], "k": "v"}, separators=(",", ":")).encode()
    needed = 19  # six brackets, a string and three keys; "v" is looked at together with its key
    assert value_of(text, needed) == "v"
    with pytest.raises(TooManySteps):
        value_of(text, needed - 1)
