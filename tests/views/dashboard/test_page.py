"""The page as it is put together; what it does is tested in a browser (tests/e2e)."""

import hashlib
import re
from base64 import b64encode

import pytest

from fastroute.views.dashboard.page import FOLDER, SCRIPTS, dashboard
from tests.support.views import example_view, view

PAGE = dashboard(view())
TEXT = PAGE.body.decode()
FIELDS = dict(PAGE.fields)
POLICY = dict(
    part.split(" ", 1) for part in FIELDS[b"content-security-policy"].decode().split("; ")
)


def between(start: str, end: str) -> str:
    return TEXT.partition(start)[2].partition(end)[0]


@pytest.mark.parametrize(
    ("directive", "text"),
    [
        pytest.param("script-src", between('<script type="module">', "</script>"), id="script"),
        pytest.param("style-src", between("<style>", "</style>"), id="style"),
    ],
)
def test_the_policy_names_what_is_in_the_page_by_its_hash(directive, text):
    digest = b64encode(hashlib.sha256(text.encode()).digest()).decode()
    assert POLICY[directive] == f"'sha256-{digest}'"


def test_all_parts_are_in_it():
    for name in ("page.css", *SCRIPTS):
        assert (FOLDER / name).read_text() in TEXT
    assert {path.name for path in FOLDER.glob("*.js")} == set(SCRIPTS)
    assert TEXT.count("<script") == TEXT.count("</script>") == 1
    assert "/* scripts */" not in TEXT


def test_it_names_no_other_place():
    """All that looks like one are names of languages."""
    found = set(re.findall(r"https?://[^\s'\"`]+", TEXT))
    assert found == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"\bon\w+=|\bstyle=|innerHTML|insertAdjacentHTML|document\.write", TEXT)


def test_it_is_the_same_whatever_there_is_to_show():
    assert dashboard(example_view()) is PAGE
    assert FIELDS[b"etag"].startswith(b'"')
    assert len(PAGE.body) < 64_000, "it is to be small"
