from hypothesis import given
from hypothesis import strategies as st

from fastroute.rules.byte_search import find_byte, find_quote_or_bracket


@given(st.binary(max_size=8), st.integers(0, 255), st.integers(0, 9), st.integers(0, 9))
def test_it_finds_the_first_between_the_two(text, byte, start, stop):
    found = [at for at in range(start, min(stop, len(text))) if text[at] == byte]
    assert find_byte(text, byte, start, stop) == (found[0] if found else -1)


@given(
    st.text('"[]{}x:,\\', max_size=8).map(str.encode) | st.binary(max_size=8),
    st.integers(0, 9),
    st.integers(0, 9),
)
def test_it_finds_the_first_quote_or_bracket(text, start, stop):
    stop = min(stop, len(text))
    found = [at for at in range(start, stop) if text[at] in b'"[]{}']
    assert find_quote_or_bracket(text, start, stop) == (found[0] if found else -1)
