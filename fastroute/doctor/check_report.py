"""Output of `fastroute check-config`: what was measured of each server, and warnings."""

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fastroute.doctor.checks import REACHABLE
from fastroute.doctor.examine import Diagnosis
from fastroute.doctor.facts import Facts
from fastroute.doctor.findings import Severity
from fastroute.printable import MAX_LINE, listed, printable

METRICS_PREFIX = "vllm:"


def print_report(diagnosis: Diagnosis) -> None:
    """Write the report to stdout, as a table on a terminal, and the warnings to stderr."""
    for name in diagnosis.names:
        addresses = listed(name.addresses, MAX_LINE) or "none"
        print(f"{printable(name.url)}: addresses: {addresses}")  # noqa: T201
    if sys.stdout.isatty():
        _print_table(diagnosis.facts)
    else:
        for facts in diagnosis.facts:
            print(printable(_line(facts), MAX_LINE))  # noqa: T201  it is what this module is for
    for warning in warnings(diagnosis):
        print(f"warning: {printable(warning, MAX_LINE)}", file=sys.stderr)  # noqa: T201


def warnings(diagnosis: Diagnosis) -> list[str]:
    """Return the warnings, one line each."""
    lines = [
        f"{facts.server.url}: {finding.words}"
        for facts, named in zip(diagnosis.facts, diagnosis.servers, strict=True)
        for name, finding in named
        if finding.severity >= Severity.WARNING and (facts.is_reached or name != REACHABLE.name)
    ]
    unreachable = [
        f"{facts.server.url} ({_error(facts)})" for facts in diagnosis.facts if not facts.is_reached
    ]
    if unreachable:
        count = f"{len(unreachable)} of {len(diagnosis.facts)} servers cannot be reached"
        lines.append(f"{count}: {listed(unreachable, MAX_LINE // 2)}")
    lines += [f.words for _, f in diagnosis.fleet if f.severity >= Severity.WARNING]
    return lines


def _error(facts: Facts) -> str:
    return "" if facts.reach is None else facts.reach.error


def _line(facts: Facts) -> str:
    if not facts.is_reached:
        return f"{facts.server.url}: unreachable: {_error(facts)}"
    return (
        f"{facts.server.url}: reachable; version: {_version(facts)}; models: {_models(facts)}; "
        f"metrics: {_metrics(facts)}"
    )


def _print_table(servers: Sequence[Facts]) -> None:
    table = Table("server", "reachable", "version", "models", "metrics")
    for facts in servers:
        if facts.is_reached:
            row = ("yes", _version(facts), _models(facts), _metrics(facts))
        else:
            row = (f"no: {_error(facts)}", "", "", "")
        # Text objects are shown as they are; in a str, rich would interpret brackets as markup.
        table.add_row(*(Text(printable(cell, MAX_LINE)) for cell in (facts.server.url, *row)))
    Console().print(table)


def _version(facts: Facts) -> str:
    return printable(facts.version or "unknown")


def _models(facts: Facts) -> str:
    names = facts.models.names if facts.models else None
    return listed(names or ()) or "none"


def _metrics(facts: Facts) -> str:
    names = facts.metrics.names if facts.metrics else ()
    return ", ".join(name.removeprefix(METRICS_PREFIX) for name in names) or "none"
