"""Findings as plain words."""

from fastroute.doctor.findings import Findings


def said(findings: Findings) -> list[tuple[str, str, str]]:
    """Severity, words and remedy of each."""
    return [(f.severity.word, f.words, f.remedy) for f in findings]


def one(findings: Findings) -> tuple[str, str, str]:
    """The same of the only one."""
    (only,) = said(findings)
    return only
