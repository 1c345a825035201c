"""What a check says: how grave, in plain words, and what to change."""

import enum
from collections.abc import Iterable

import msgspec


class Severity(enum.IntEnum):
    """How grave a finding is; a graver one is greater."""

    OK = 0
    UNKNOWN = 1
    """It could not be found out. Nothing is known to be wrong."""
    WARNING = 2
    """It works, but costs something or may break."""
    ERROR = 3
    """Requests fail, or what fastroute promises does not hold."""

    @property
    def word(self) -> str:
        return self.name.lower()


class Finding(msgspec.Struct, frozen=True):
    """One thing that a check found.

    Attributes:
        severity: How grave.
        words: What is, for people.
        remedy: What to change; "" where nothing has to be.
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
    """Return the gravest severity; what could not be found out does not count."""
    worst = max((finding.severity for finding in findings), default=Severity.OK)
    return Severity.OK if worst is Severity.UNKNOWN else worst
