"""What `fastroute check-config` writes: of each server what it answered, and what to look at."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fastroute.config import Config
from fastroute.control.name_check import NameCheck
from fastroute.control.server_check import ServerCheck

METRICS_PREFIX = "vllm:"


@contextmanager
def progress(servers: int) -> Iterator[Callable[[], None]]:
    """Show on a terminal that servers are asked; yields what to call for each that answered.

    Args:
        servers: How many are asked.
    """
    console = Console(stderr=True)
    done = 0

    def text() -> str:
        return f"asking {servers} servers: {done} answered"

    if not console.is_terminal:
        yield lambda: None
        return
    with console.status(text()) as status:

        def answered() -> None:
            nonlocal done
            done += 1
            status.update(text())

        yield answered


def print_report(
    config: Config, checks: Sequence[ServerCheck], names: Sequence[NameCheck] = ()
) -> None:
    """Write the report to stdout, as a table on a terminal, and the warnings to stderr.

    Args:
        config: With the servers that were found in the places of names.
        checks: Of its servers, in order.
        names: Of the names.
    """
    for name in names:
        found = ", ".join(name.addresses) or "none"
        print(f"{name.url}: addresses: {found}")  # noqa: T201  it is what this module is for
    if sys.stdout.isatty():
        _print_table(checks)
    else:
        for check in checks:
            print(_printable(_line(check)))  # noqa: T201  it is what this module is for
    for warning in warnings(config, checks, names):
        print(f"warning: {_printable(warning)}", file=sys.stderr)  # noqa: T201


def warnings(
    config: Config, checks: Sequence[ServerCheck], names: Sequence[NameCheck] = ()
) -> list[str]:
    """Return what to look at, a line each."""
    lines = [f"{name.url}: {problem}" for name in names for problem in name.problems]
    lines += [f"{check.url}: {problem}" for check in checks for problem in check.problems]
    unreachable = [f"{check.url} ({check.error})" for check in checks if check.error is not None]
    if unreachable:
        count = f"{len(unreachable)} of {len(checks)} servers cannot be reached"
        lines.append(f"{count}: {', '.join(unreachable)}")
    if all(name.addresses for name in names):
        lines += _lost_aliases(config, checks)
    return lines


def _lost_aliases(config: Config, checks: Sequence[ServerCheck]) -> list[str]:
    models: set[str] = set()
    for server, check in zip(config.servers, checks, strict=True):
        known = server.models or check.models
        if known is None:
            return []  # That server may have any.
        models.update(known)
    return [
        f"alias {alias} stands for {model}, which no server has"
        for alias, model in config.aliases.items()
        if model not in models
    ]


def _line(check: ServerCheck) -> str:
    if check.error is not None:
        return f"{check.url}: unreachable: {check.error}"
    return (
        f"{check.url}: reachable; version: {_version(check)}; models: {_models(check)}; "
        f"metrics: {_metrics(check)}"
    )


def _print_table(checks: Sequence[ServerCheck]) -> None:
    table = Table("server", "reachable", "version", "models", "metrics")
    for check in checks:
        if check.error is None:
            row = ("yes", _version(check), _models(check), _metrics(check))
        else:
            row = (f"no: {check.error}", "", "", "")
        # As it stands: brackets mean something to rich.
        table.add_row(*(Text(_printable(cell)) for cell in (check.url, *row)))
    Console().print(table)


def _version(check: ServerCheck) -> str:
    return check.version or "unknown"


def _models(check: ServerCheck) -> str:
    return ", ".join(check.models or ()) or "none"


def _metrics(check: ServerCheck) -> str:
    return ", ".join(name.removeprefix(METRICS_PREFIX) for name in check.metrics) or "none"


def _printable(text: str) -> str:
    """What servers say may hold anything, and terminals obey."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
