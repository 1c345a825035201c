"""The command line: commands, their options and exit codes.

Objects are wired together here. Modules that only a running router needs are imported when it
runs, so that `--help` and usage errors respond quickly.
"""

import math
from typing import Annotated

import typer
from msgspec import structs

from fastroute.cli.completion import Commands
from fastroute.cli.cpus import usable_cpus
from fastroute.cli.doctor import doctor
from fastroute.cli.logging_options import (
    AccessLogFileOption,
    AccessLogOption,
    LogBackupsOption,
    LogFileOption,
    LogFormatOption,
    LogLevelOption,
    LogMaxBytesOption,
    fills_stdout,
    log_options,
    overrides,
)
from fastroute.cli.options import (
    DEFAULT_MAX_LOAD,
    ConfigOption,
    ServerOption,
    servers_from,
    servers_from_file,
)
from fastroute.cli.route import route
from fastroute.cli.serve import Place, has_screen, serve
from fastroute.cli.version import VersionOption, version_line
from fastroute.control.config_file import FixedConfig
from fastroute.errors import ConfigError
from fastroute.ipc.logs import LogFormat, LogLevel, LogOptions
from fastroute.printable import MAX_LINE, printable

MAX_WORKERS = 256
MAX_DEMO_SERVERS = 24

app = typer.Typer(
    name="fastroute",
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


HostOption = Annotated[
    str, typer.Option(help="Address or name to listen on; 127.0.0.1 accepts only local clients.")
]
PortOption = Annotated[
    int,
    typer.Option(min=0, max=65535, metavar="PORT", help="TCP port to listen on; 0 for a free one."),
]
MaxLoadOption = Annotated[
    int | None,
    typer.Option(
        help="Capacity: number of requests each --server runs concurrently.",
        show_default=str(DEFAULT_MAX_LOAD),
    ),
]
WorkersOption = Annotated[
    str,
    typer.Option(
        metavar="N|auto",
        help="Number of worker processes; auto: one per usable CPU, by CPU affinity and quota.",
    ),
]
ConsoleOption = Annotated[
    bool, typer.Option("--console", help="Show the log instead of the monitor on a terminal.")
]


def main() -> None:
    """Run the command line; a user error prints one line and exits with code 2."""
    try:
        # The name is that of the command also for `python -m fastroute`.
        app(prog_name="fastroute")
    except ConfigError as error:
        typer.echo(printable(f"fastroute: {error}", MAX_LINE), err=True)
        raise SystemExit(2) from None


@app.callback()
def fastroute(
    *,
    version: VersionOption = False,
) -> None:
    """Router in front of vLLM servers: one OpenAI-compatible address, balanced by real load.

    Try it with three stand-in servers: `fastroute demo`

    Run it: `fastroute run --server http://gpu-1:8000 --server http://gpu-2:8000`
    """


@app.command(name="version")
def version() -> None:
    """Print the version, and whether the hot path is compiled."""
    typer.echo(version_line())


@app.command()
def run(  # noqa: PLR0913  the options are the interface
    *,
    config: ConfigOption = None,
    host: HostOption = "0.0.0.0",
    port: PortOption = 8888,
    server: ServerOption = None,
    max_load: MaxLoadOption = None,
    workers: WorkersOption = "1",
    console: ConsoleOption = False,
    log_level: LogLevelOption = LogLevel.INFO,
    log_format: LogFormatOption = LogFormat.TEXT,
    log_file: LogFileOption = None,
    log_max_bytes: LogMaxBytesOption = 104_857_600,
    log_backups: LogBackupsOption = 5,
    access_log: AccessLogOption = None,
    access_log_file: AccessLogFileOption = None,
) -> None:
    """Run the router.

    Servers are read from a file (servers.example.toml shows all settings) or from options:

    `fastroute run --config servers.toml`

    `fastroute run --server http://gpu-1:8000 --server http://gpu-2:8000 --max-load 16`

    Clients then use http://THIS-HOST:8888/v1 as their OpenAI base URL.

    On a terminal it shows a monitor of the servers (? for help); otherwise it logs to stderr.

    To log each request: `fastroute run --access-log text` (docs/logs.md)

    Changes of the file are applied within a second, or immediately on SIGHUP. An invalid file is
    logged and ignored.

    Graceful shutdown: on Ctrl-C, SIGTERM or q in the monitor the router stops accepting clients,
    waits for requests in flight (at most drain_timeout, by default 30 s) and exits. A second
    Ctrl-C or SIGTERM exits immediately.

    Exit codes:

    - 0: stopped by Ctrl-C or SIGTERM

    - 1: no worker process could be started

    - 2: invalid options, invalid file or port in use; one line on stderr gives the reason

    - 130, 143: ended immediately by a second Ctrl-C or SIGTERM
    """
    override = overrides(access_log=access_log, access_log_file=access_log_file)
    source = servers_from(config, server, max_load, override)
    place = Place(host, port, *_worker_count(workers))
    with_screen = not fills_stdout(source.config) and has_screen(console)
    logs = log_options(log_level, log_format, log_file, log_max_bytes, log_backups)
    logs = structs.replace(logs, also_stderr=with_screen)
    raise typer.Exit(serve(source, place, logs, with_screen=with_screen))


@app.command()
def top(
    *,
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL", help="URL of the router, or of its admin port if it has one."
        ),
    ] = "http://127.0.0.1:8888",
    once: Annotated[bool, typer.Option("--once", help="Print a table and exit.")] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print /load-stats as JSON and exit.")
    ] = False,
) -> None:
    """Show the monitor of a running router, local or remote.

    `fastroute top http://router:8888`

    Without a terminal it prints a table, as with --once.

    Exit codes:

    - 0: ended by q or Ctrl-C, or the output was printed

    - 1: no fastroute answers there

    - 2: invalid options or URL
    """
    import asyncio

    from fastroute.monitor.poller import NoResponse, target
    from fastroute.monitor.terminal import has_terminal
    from fastroute.monitor.top import print_json, print_once, show

    if once and json:
        raise ConfigError("--once and --json exclude each other")
    full, address = target(url)
    is_once = once or not has_terminal()
    work = print_json if json else print_once if is_once else show
    try:
        asyncio.run(work(full, address))
    except NoResponse as error:
        typer.echo(printable(f"fastroute: {full}: {error}", MAX_LINE), err=True)
        raise typer.Exit(1) from None


@app.command()
def check_config(*, config: ConfigOption = None) -> None:
    """Validate a servers.toml, resolve its DNS names and check that each server responds.

    Exit codes:

    - 0: the file is valid; servers that cannot be reached are reported as warnings

    - 1: the file is invalid; one line on stderr gives the reason
    """
    from fastroute.cli.doctor import diagnosed
    from fastroute.doctor.check_report import print_report
    from fastroute.doctor.checks import Kind

    try:
        settings = servers_from_file(config).config
    except ConfigError as error:
        typer.echo(printable(f"fastroute: {error}", MAX_LINE), err=True)
        raise typer.Exit(1) from None
    print_report(diagnosed(settings, {Kind.QUICK}))


app.command()(doctor)
app.command()(route)


@app.command()
def demo(  # noqa: PLR0913  the options are the interface
    *,
    host: HostOption = "127.0.0.1",
    port: PortOption = 8888,
    servers: Annotated[
        int,
        typer.Option(min=2, max=MAX_DEMO_SERVERS, metavar="N", help="Number of stand-in servers."),
    ] = 3,
    traffic: Annotated[
        bool, typer.Option("--traffic/--no-traffic", help="Simulate clients.")
    ] = True,
    outage_every: Annotated[
        float,
        typer.Option(
            min=0,
            max=86_400,
            metavar="SECONDS",
            help="Interval of server failures; a third of it the server is down. 0: never.",
        ),
    ] = 30.0,
    console: ConsoleOption = False,
    log_level: LogLevelOption = LogLevel.INFO,
) -> None:
    """Show the router at work with three stand-in servers and simulated clients. Needs no GPU.

    The stand-ins respond like vLLM, with made-up text and at different speeds. One of them is
    killed repeatedly, while it has requests in flight, and restarted: watch how the router sends
    its requests to the others.

    On a terminal it shows the monitor, as `run` does; otherwise it logs. It prints a curl command
    to try in another terminal; with --no-traffic there are no other clients. Ctrl-C, or q in the
    monitor, ends everything.
    """
    if math.isnan(outage_every):  # typer's range lets it pass
        raise ConfigError("--outage-every nan: must be a number of seconds")

    from fastroute.demo.servers import demo_config, demo_servers
    from fastroute.demo.show import Plan, Show

    with demo_servers(servers) as running:
        source = FixedConfig(demo_config(running), "fastroute demo")
        place = Place(host=host, port=port, workers=1)
        show = Show(running, Plan(with_traffic=traffic, outage_every=outage_every))
        with_screen = has_screen(console)
        logs = LogOptions(level=log_level, also_stderr=with_screen)
        raise typer.Exit(serve(source, place, logs, show, with_screen=with_screen))


def _worker_count(text: str) -> tuple[int, str]:
    """Return the number of workers, and its reason if it was not given."""
    if text == "auto":
        cpus = usable_cpus()
        return min(cpus.count, MAX_WORKERS), str(cpus)
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_WORKERS):
        raise ConfigError(f"--workers {text}: must be auto or a number from 1 to {MAX_WORKERS}")
    return int(text), ""
