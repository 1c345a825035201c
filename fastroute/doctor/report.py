"""Output of `fastroute doctor`: findings, remedies and verdicts."""

import os
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from rich.console import Console
from rich.text import Text

from fastroute.doctor.examine import Diagnosis, verdict_of
from fastroute.doctor.findings import Finding, Severity
from fastroute.printable import MAX_LINE, escaped_json, printable

Named = Sequence[tuple[str, Finding]]

STYLES = {
    Severity.OK: "green",
    Severity.UNKNOWN: "cyan",
    Severity.WARNING: "yellow",
    Severity.ERROR: "bold red",
}
SEVERITY_WIDTH = max(len(severity.word) for severity in Severity)
NAME_WIDTH = 10
FINE = {
    Severity.OK: "no problems",
    Severity.WARNING: "works, with warnings",
    Severity.ERROR: "errors found",
}


def print_diagnosis(diagnosis: Diagnosis) -> None:
    """Write for users: wrapped and coloured on a terminal, otherwise one line per finding."""
    console = Console(highlight=False)
    width = console.width if console.is_terminal else None
    for line in lines(diagnosis, width):
        console.print(line, soft_wrap=True)


def lines(diagnosis: Diagnosis, width: int | None = None) -> Iterator[Text]:
    """Yield the report's lines, wrapped to a width if one is given."""
    for facts, named in zip(diagnosis.facts, diagnosis.servers, strict=True):
        yield from _section(facts.server.url, named, width)
    if diagnosis.fleet:
        yield from _section("all servers", diagnosis.fleet, width)
    worst = diagnosis.verdict
    yield Text(f"verdict: {FINE[worst]}{_where(diagnosis, worst)}", STYLES[worst])


def _section(title: str, named: Named, width: int | None) -> Iterator[Text]:
    worst = verdict_of(named)
    yield Text.assemble((printable(title), "bold"), ": ", (FINE[worst], STYLES[worst]))
    indent = " " * (2 + SEVERITY_WIDTH + 2 + NAME_WIDTH + 2)
    for name, finding in named:
        first, *more = _folded(finding.words, width, indent)
        severity = (f"{finding.severity.word:<{SEVERITY_WIDTH}}", STYLES[finding.severity])
        yield Text.assemble("  ", severity, f"  {name:<{NAME_WIDTH}}  {first}")
        yield from (Text(indent + line) for line in more)
        if finding.remedy:
            first, *more = _folded(finding.remedy, width, indent + "-> ")
            yield Text(f"{indent}-> {first}")
            yield from (Text(f"{indent}   {line}") for line in more)
    yield Text("")


def _folded(text: str, width: int | None, indent: str) -> list[str]:
    shown = printable(text, MAX_LINE)
    if width is None:
        return [shown]
    room = max(20, width - len(indent))
    return textwrap.wrap(shown, room, break_long_words=False, break_on_hyphens=False) or [""]


def _where(diagnosis: Diagnosis, worst: Severity) -> str:
    if worst is Severity.OK:
        return f", {len(diagnosis.servers)} of {len(diagnosis.servers)} servers"
    found = [
        f"{printable(facts.server.url)} ({_names(named, worst)})"
        for facts, named in zip(diagnosis.facts, diagnosis.servers, strict=True)
        if verdict_of(named) is worst
    ]
    if verdict_of(diagnosis.fleet) is worst:
        found.append(f"all servers ({_names(diagnosis.fleet, worst)})")
    return f": {', '.join(found)}"


def _names(named: Named, severity: Severity) -> str:
    return ", ".join(dict.fromkeys(name for name, finding in named if finding.severity is severity))


def as_json(diagnosis: Diagnosis) -> bytes:
    """Return the diagnosis as a JSON object; docs/doctor.md describes it."""
    whole = {
        "verdict": diagnosis.verdict.word,
        "servers": [
            {
                "url": facts.server.url,
                "verdict": verdict_of(named).word,
                "findings": _findings(named),
                "measured": _measured(msgspec.to_builtins(facts)),
            }
            for facts, named in zip(diagnosis.facts, diagnosis.servers, strict=True)
        ],
        "fleet": _findings(diagnosis.fleet),
    }
    return msgspec.json.format(escaped_json(msgspec.json.encode(whole))) + os.linesep.encode()


def _findings(named: Named) -> list[dict[str, str]]:
    return [
        {
            "check": name,
            "severity": finding.severity.word,
            "words": finding.words,
            "remedy": finding.remedy,
        }
        for name, finding in named
    ]


def _measured(facts: dict[str, Any]) -> dict[str, Any]:
    # Without the configuration, which holds API keys.
    return {name: value for name, value in facts.items() if name not in ("server", "config")}
