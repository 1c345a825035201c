"""The table of checks is sound, and documented."""

import re
from pathlib import Path

import pytest

from fastroute.doctor.checks import CHECKS, FLEET_CHECKS, REACHABLE, Kind
from fastroute.doctor.report import NAME_WIDTH
from tests.support.facts import facts

DOCS = (Path(__file__).parents[2] / "docs" / "doctor.md").read_text(encoding="utf-8")
NAMES = [check.name for check in (*CHECKS, *FLEET_CHECKS)]


def test_reaching_it_comes_first():
    assert CHECKS[0] is REACHABLE


def test_names_are_unique_and_fit():
    assert len(set(NAMES)) == len(NAMES)
    assert max(map(len, NAMES)) <= NAME_WIDTH


def test_fleet_checks_use_cheap_measurements():
    kinds = {check.measure: check.kind for check in CHECKS}
    for check in FLEET_CHECKS:
        assert kinds.get(check.measure, Kind.QUICK) is Kind.QUICK


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_a_healthy_server(check):
    url = "https://gpu-1" if check.name == "TLS" else "http://gpu-1"
    findings = check.judge(facts(url))
    assert findings
    if check.name != "TLS":  # These facts have no certificate.
        assert [finding.severity.word for finding in findings] == ["ok"]


@pytest.mark.parametrize("name", NAMES)
def test_the_documentation_explains(name):
    assert re.search(rf"^\| `{re.escape(name)}` \|", DOCS, re.MULTILINE)
