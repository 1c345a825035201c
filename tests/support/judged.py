"""Findings as tuples of strings."""

from fastroute.doctor.findings import Findings


def said(findings: Findings) -> list[tuple[str, str, str]]:
    """Return severity, words and remedy of each finding."""
    return [(f.severity.word, f.words, f.remedy) for f in findings]


def one(findings: Findings) -> tuple[str, str, str]:
    """Return the same for a single finding."""
    (only,) = said(findings)
    return only
