"""Findings of checks: severity, description and remedy."""

import enum
from collections.abc import Iterable

import msgspec


class Severity(enum.IntEnum):
    """Severity of a finding; a more severe one is greater."""

    OK = 0
    UNKNOWN = 1
    """It could not be determined. Nothing is known to be wrong."""
    WARNING = 2
    """It works, but has a cost or may fail."""
    ERROR = 3
    """Requests fail, or fastroute cannot keep its guarantees."""

    @property
    def word(self) -> str:
        return self.name.lower()


class Finding(msgspec.Struct, frozen=True):
    """One finding of a check.

    Attributes:
        severity: Its severity.
        words: Description for users.
        remedy: Change that solves the problem; "" if none is needed.
    """

    severity: Severity
    words: str
    remedy: str = ""


Findings = list[Finding]


def ok(words: str) -> Findings:
    return [Finding(Severity.OK, words)]


def unknown(words: str, remedy: str = "") -> Findings:
    return [Finding(Severity.UNKNOWN, words, remedy)]


def warning(words: str, remedy: str) -> Findings:
    return [Finding(Severity.WARNING, words, remedy)]


def error(words: str, remedy: str) -> Findings:
    return [Finding(Severity.ERROR, words, remedy)]


def verdict(findings: Iterable[Finding]) -> Severity:
    """Return the highest severity; UNKNOWN does not count."""
    worst = max((finding.severity for finding in findings), default=Severity.OK)
    return Severity.OK if worst is Severity.UNKNOWN else worst
