import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastroute.printable import (
    MAX_CHARACTERS,
    escaped,
    escaped_json,
    listed,
    printable,
    printable_bytes,
)

FORBIDDEN = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
"""Unicode's categories of control, format (bidi controls among them) and separator characters."""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("llama3.1:8b ü 模型 \N{GRINNING FACE}", None, id="ordinary"),
        pytest.param("a\nb\r\tc", r"a\nb\r\tc", id="line-ends"),
        pytest.param("\x00\x1b[2J", r"\u0000\u001b[2J", id="C0"),
        pytest.param("\x7f", r"\u007f", id="DEL"),
        pytest.param("\x85\x9b31m", r"\u0085\u009b31m", id="C1"),
        pytest.param("\u2028\u2029", r"\u2028\u2029", id="separators"),
        pytest.param("\u202e\u2066\u200f\u061c", r"\u202e\u2066\u200f\u061c", id="bidi"),
        pytest.param("\u200b\ufeff", r"\u200b\ufeff", id="invisible"),
        pytest.param("\U000e0041", r"\udb40\udc41", id="invisible-beyond-16-bits"),
        pytest.param("\ud800", r"\ud800", id="surrogate"),
        pytest.param(r"\u001b \n", r"\u001b \n", id="backslashes-stay"),
    ],
)
def test_escapes(text, shown):
    assert escaped(text) == printable(text) == (text if shown is None else shown)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("abcde", "abcde", id="fits"),
        pytest.param("abcdef", "abcd…", id="longer"),
        pytest.param("\n\n\n", r"\n\n…", id="longer-when-escaped"),
        pytest.param("x" * 10**7, "xxxx…", id="much-longer"),
    ],
)
def test_shortens(text, shown):
    assert printable(text, 5) == shown


@given(st.text(st.characters(), max_size=400), st.integers(1, 400))
def test_no_text_gets_through(text, most):
    shown = printable(text, most)
    assert len(shown) <= most
    assert FORBIDDEN.isdisjoint(map(unicodedata.category, shown))
    assert printable(shown, most) == shown, "nothing is escaped or shortened twice"
    assert len(printable(text)) <= MAX_CHARACTERS


@given(st.recursive(st.text() | st.integers(), lambda value: st.dictionaries(st.text(), value)))
def test_json_stays_the_same(value):
    data = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    shown = escaped_json(data.encode())
    assert json.loads(shown) == value
    assert FORBIDDEN.isdisjoint(map(unicodedata.category, shown.decode()))


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        pytest.param([], "", id="none"),
        pytest.param(["a", "b"], "a, b", id="all"),
        pytest.param(["a\n", "b"], r"a\n, b", id="escaped"),
        pytest.param(["aaa", "bbb", "ccc", "ddd"], "aaa, bbb and 2 more", id="some"),
        pytest.param(["a" * 300, "b"], "a" * 255 + "… and 1 more", id="the-first-always"),
    ],
)
def test_listed(names, shown):
    assert listed(names, 12) == shown


def test_bytes_of_a_head():
    assert printable_bytes(b"/v1/\xe9\x1b") == "/v1/\u00e9\\u001b"
    assert len(printable_bytes(b"a" * 70_000)) == MAX_CHARACTERS
