"""`fastroute route` on the command line. Its modules are imported when it runs."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fastroute.cli.options import ConfigOption, ServerOption, counted, servers_from
from fastroute.errors import ConfigError
from fastroute.printable import MAX_LINE, printable

if TYPE_CHECKING:
    from fastroute.route.explain import Known, Settings


def route(
    *,
    model: Annotated[
        str | None,
        typer.Option(help="Model that the request names, or an alias; by default none."),
    ] = None,
    config: ConfigOption = None,
    server: ServerOption = None,
    url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="URL of a running router, or of its admin port."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Show which server would get a request now, and why, with the scores of all servers.

    `fastroute route --model llama3.1:8b --url http://router:8888`

    `fastroute route --model llama3.1:8b --config servers.toml`

    With --url a running router is queried, and its own requests in flight are counted. Otherwise
    each server is queried once: all its load then counts as that of other clients, and the state
    that only a running router has (failed requests, overloaded servers) is not included. No
    request is sent to a model.

    Columns of the table: OWN: requests in flight from that router; OTHERS: requests from other
    clients; SCORE: both together as a share of the capacity CAP, from which the policy chooses.

    Exit codes:

    - 0: a server would be chosen

    - 1: no server would be chosen, or no fastroute answers at --url

    - 2: invalid options or file; one line on stderr gives the reason
    """
    from fastroute.route.explain import explain
    from fastroute.route.report import as_json, lines

    if url is None:
        servers, settings = _of_servers(config, server)
    elif server or config is not None:
        raise ConfigError("--url excludes --config and --server: the router has its servers")
    else:
        servers, settings = _of_router(url)
    explanation = explain(servers, model, settings)
    if json:
        sys.stdout.write(as_json(explanation).decode())
    else:
        typer.echo("\n".join(lines(explanation)))
    raise typer.Exit(not explanation.likely)


def _of_servers(
    config: Path | None, server: list[str] | None
) -> "tuple[Sequence[Known], Settings]":
    import asyncio

    from fastroute.cli.progress import progress
    from fastroute.control.watch.name_check import check_names
    from fastroute.net.resolver import Resolver
    from fastroute.route.sources import query_servers

    async def query() -> "tuple[Sequence[Known], Settings]":
        settings, names = await check_names(servers_from(config, server).config, Resolver().resolve)
        for name in names:
            for problem in name.problems:
                typer.echo(printable(f"warning: {name.url}: {problem}", MAX_LINE), err=True)
        count = len(settings.servers)
        with progress(f"querying {counted(count, 'server')}", count) as asked:
            return await query_servers(settings, asked)

    return asyncio.run(query())


def _of_router(url: str) -> "tuple[Sequence[Known], Settings]":
    import asyncio

    from fastroute.monitor.poller import NoResponse, target
    from fastroute.route.sources import query_router

    full, address = target(url)
    try:
        return asyncio.run(query_router(address))
    except NoResponse as error:
        typer.echo(printable(f"fastroute: {full}: {error}", MAX_LINE), err=True)
        raise typer.Exit(1) from None
