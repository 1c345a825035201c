"""The assembled page; its behaviour is tested in a browser (tests/e2e)."""

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
def test_the_policy_allows_script_and_style_by_their_hashes(directive, text):
    digest = b64encode(hashlib.sha256(text.encode()).digest()).decode()
    assert POLICY[directive] == f"'sha256-{digest}'"


def test_it_contains_all_parts():
    for name in ("page.css", *SCRIPTS):
        assert (FOLDER / name).read_text() in TEXT
    assert {path.name for path in FOLDER.glob("*.js")} == set(SCRIPTS)
    assert TEXT.count("<script") == TEXT.count("</script>") == 1
    assert "/* scripts */" not in TEXT


def test_it_refers_to_no_other_host():
    """The only URLs in it are XML namespaces."""
    found = set(re.findall(r"https?://[^\s'\"`]+", TEXT))
    assert found == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"\bon\w+=|\bstyle=|innerHTML|insertAdjacentHTML|document\.write", TEXT)


def test_it_does_not_depend_on_the_view():
    assert dashboard(example_view()) is PAGE
    assert FIELDS[b"etag"].startswith(b'"')
    assert len(PAGE.body) < 64_000, "it must stay small"
