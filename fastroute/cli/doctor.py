"""`fastroute doctor` on the command line. Its modules are imported when it runs."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from fastroute.cli.options import ConfigOption, ServerOption, counted, servers_from
from fastroute.config import Config

if TYPE_CHECKING:
    from fastroute.doctor.checks import Kind
    from fastroute.doctor.examine import Diagnosis


def doctor(
    *,
    config: ConfigOption = None,
    server: ServerOption = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print findings and measurements as JSON.")
    ] = False,
    no_generate: Annotated[
        bool,
        typer.Option("--no-generate", help="Generate nothing: skip the checks stream and abort."),
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with code 1 also for warnings.")
    ] = False,
) -> None:
    """Diagnose each server: report problems and how to fix them.

    `fastroute doctor --config servers.toml`

    `fastroute doctor --server https://gpu-1:8000`

    It checks name and connection, certificate, clock, models, API key, metrics, capacity, the
    keep-alive timeout, whether responses are really streamed, and whether a client's disconnect
    really ends its generation; for all servers together, versions and aliases.

    All servers are checked concurrently. It takes about 6 s, because the keep-alive timeout is
    measured. Each server generates 33 tokens, and up to 512 more that are aborted immediately;
    --no-generate skips this. Nothing is changed on the servers.

    docs/doctor.md explains each check and the remedies.

    Exit codes:

    - 0: no errors; there may be warnings and unknown results

    - 1: errors; with --strict, warnings too

    - 2: invalid options or file; one line on stderr gives the reason
    """
    from fastroute.doctor.checks import Kind
    from fastroute.doctor.findings import Severity
    from fastroute.doctor.measure.generation import COST
    from fastroute.doctor.report import as_json, print_diagnosis

    settings = servers_from(config, server).config
    kinds = {Kind.QUICK, Kind.IDLE}
    if not no_generate:
        kinds.add(Kind.GENERATION)
        typer.echo(COST, err=True)
    diagnosis = diagnosed(settings, kinds)
    if json:
        sys.stdout.write(as_json(diagnosis).decode())
    else:
        print_diagnosis(diagnosis)
    raise typer.Exit(diagnosis.verdict >= (Severity.WARNING if strict else Severity.ERROR))


def diagnosed(settings: Config, kinds: "set[Kind]") -> "Diagnosis":
    """Examine the servers, with a progress display on a terminal."""
    import asyncio

    from fastroute.cli.progress import progress
    from fastroute.control.watch.name_check import check_names
    from fastroute.doctor.examine import diagnose, examine, measures
    from fastroute.net.resolver import Resolver

    async def found_and_examined() -> "Diagnosis":
        found, names = await check_names(settings, Resolver().resolve)
        steps = len(found.servers) * sum(map(len, measures(kinds).values()))
        with progress(f"checking {counted(len(found.servers), 'server')}", steps) as step:
            return diagnose(found, await examine(found, kinds, step), names)

    return asyncio.run(found_and_examined())
