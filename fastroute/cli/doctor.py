"""`fastroute doctor` on the command line. What it needs is imported when it runs."""

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
        typer.Option("--no-generate", help="Generate nothing: leave out streaming and aborting."),
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 for warnings, too.")
    ] = False,
) -> None:
    """Examine each server, and say in plain words what is wrong and what to change.

    `fastroute doctor --config servers.toml`

    `fastroute doctor --server https://gpu-1:8000`

    It looks at name and connection, certificate, clock, models, API key, metrics, capacity, how
    long idle connections are kept, whether a stream really streams and whether a client that goes
    away really ends its generation; and at versions and aliases over all servers.

    All servers are examined at once. It takes about 6 s, as idle connections are waited for.
    Each server is asked for 33 tokens, and for up to 512 more that are cancelled at once;
    --no-generate leaves that out. Nothing is changed anywhere.

    What each check means and what to do: docs/doctor.md.

    Exit codes:

    - 0: no errors; there may be warnings, and things that could not be found out

    - 1: errors; with --strict, warnings too

    - 2: wrong options or a wrong file; one line on stderr says which
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
    """Examine the servers, with a sign of life on a terminal."""
    import asyncio

    from fastroute.cli.progress import progress
    from fastroute.control.watch.name_check import check_names
    from fastroute.doctor.examine import diagnose, examine, measures
    from fastroute.net.resolver import Resolver

    async def found_and_examined() -> "Diagnosis":
        found, names = await check_names(settings, Resolver().resolve)
        steps = len(found.servers) * sum(map(len, measures(kinds).values()))
        with progress(f"asking {counted(len(found.servers), 'server')}", steps) as step:
            return diagnose(found, await examine(found, kinds, step), names)

    return asyncio.run(found_and_examined())
