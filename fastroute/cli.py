"""The command line: `fastroute run`, `top`, `check-config`, `demo` and `version`.

Objects are wired together here. What only a running router needs is imported when it runs, so that
`--help` and mistakes are answered at once.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from fastroute import __version__
from fastroute.cli_options import (
    AccessLogFileOption,
    AccessLogOption,
    LogBackupsOption,
    LogFileOption,
    LogFormat,
    LogFormatOption,
    LogLevel,
    LogLevelOption,
    LogMaxBytesOption,
    Override,
    fills_stdout,
    overrides,
)
from fastroute.config import ServerConfig, config_from_urls
from fastroute.control.logs import LogOptions, configure_logging
from fastroute.control.reload import FixedConfig, WatchedConfig
from fastroute.errors import ConfigError

DEFAULT_CONFIG = Path("servers.toml")
DEFAULT_MAX_LOAD: int = next(
    field.default
    for field in msgspec.structs.fields(ServerConfig)
    if field.name == "max_concurrent_requests"
)
MAX_WORKERS = 256
DEMO_SERVERS = 3

app = typer.Typer(
    name="fastroute",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


HostOption = Annotated[
    str, typer.Option(help="Address or name to listen on; 127.0.0.1 takes only local clients.")
]
PortOption = Annotated[
    int,
    typer.Option(
        min=0, max=65535, metavar="PORT", help="TCP port to listen on; 0 takes any free one."
    ),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(help="The file with servers and settings.", show_default=str(DEFAULT_CONFIG)),
]


class Place(msgspec.Struct, frozen=True):
    """Where to listen, and with how many workers."""

    host: str
    port: int
    workers: int


def main() -> None:
    """Run the command line; what the user got wrong ends it with one line and exit code 2."""
    try:
        app()
    except ConfigError as error:
        typer.echo(f"fastroute: {error}", err=True)
        raise SystemExit(2) from None


def _print_version(wanted: bool) -> None:
    if wanted:
        version()
        raise typer.Exit


@app.callback()
def fastroute(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """One OpenAI-compatible address in front of many vLLM servers: each request goes to the best.

    Try it, with three stand-in servers: `fastroute demo`

    Use it: `fastroute run --server http://gpu-1:8000 --server http://gpu-2:8000`
    """


@app.command(name="version")
def version() -> None:
    """Print the version."""
    typer.echo(f"fastroute {__version__}")


@app.command()
def run(  # noqa: PLR0913  the options are the interface
    *,
    config: ConfigOption = None,
    host: HostOption = "0.0.0.0",
    port: PortOption = 8888,
    server: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="A server, in place of a file. May be given many times."),
    ] = None,
    max_load: Annotated[
        int | None,
        typer.Option(
            help="How many requests each --server runs at once.",
            show_default=str(DEFAULT_MAX_LOAD),
        ),
    ] = None,
    workers: Annotated[
        str,
        typer.Option(metavar="N|auto", help="Worker processes; auto is one for each CPU core."),
    ] = "1",
    console: Annotated[
        bool,
        typer.Option("--console", help="Log also on a terminal, in place of the monitor."),
    ] = False,
    log_level: LogLevelOption = LogLevel.INFO,
    log_format: LogFormatOption = LogFormat.TEXT,
    log_file: LogFileOption = None,
    log_max_bytes: LogMaxBytesOption = 104_857_600,
    log_backups: LogBackupsOption = 5,
    access_log: AccessLogOption = None,
    access_log_file: AccessLogFileOption = None,
) -> None:
    """Run the router.

    Servers come from a file (servers.example.toml shows all it can say) or from options:

    `fastroute run --config servers.toml`

    `fastroute run --server http://gpu-1:8000 --server http://gpu-2:8000 --max-load 16`

    Clients then use http://THIS-HOST:8888/v1 as their OpenAI base URL.

    On a terminal it shows a monitor of the servers (? explains it); elsewhere it logs to stderr.

    Each request on a line: `fastroute run --access-log text` (docs/logs.md)

    A change of the file is taken over within a second, or at once on SIGHUP; one that cannot be
    used is logged and changes nothing.

    Ctrl-C, SIGTERM or q in the monitor stops accepting, lets answers in flight finish (for at
    most drain_timeout, 30 s unless the file says otherwise) and exits. A second Ctrl-C or SIGTERM
    exits at once.

    Exit codes:

    - 0: stopped by Ctrl-C or SIGTERM

    - 1: no worker process could be started

    - 2: wrong options, wrong file or port in use; one line on stderr says which

    - 130, 143: ended at once by a second Ctrl-C or SIGTERM
    """
    override = overrides(access_log=access_log, access_log_file=access_log_file)
    source = _source(config, server or [], max_load, override)
    place = Place(host=host, port=port, workers=_worker_count(workers))

    from fastroute.monitor.terminal import has_terminal

    with_screen = not console and not fills_stdout(source.config) and has_terminal()
    logs = LogOptions(
        level=log_level,
        form=log_format.value,
        file=None if log_file is None else str(log_file),
        max_bytes=log_max_bytes,
        backups=log_backups,
        also_stderr=with_screen,
    )
    raise typer.Exit(_serve(source, place, logs, with_screen=with_screen))


@app.command()
def top(
    *,
    url: Annotated[
        str, typer.Argument(metavar="URL", help="Where it listens, or its admin port if it has.")
    ] = "http://127.0.0.1:8888",
    once: Annotated[bool, typer.Option("--once", help="Print a table and exit.")] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print the raw figures (/load-stats) and exit.")
    ] = False,
) -> None:
    """Show the monitor of a fastroute that runs already, here or elsewhere.

    `fastroute top http://router:8888`

    Without a terminal it prints a table, as with --once.

    Exit codes:

    - 0: ended by q or Ctrl-C, or printed

    - 1: no fastroute answers there

    - 2: wrong options or URL
    """
    import asyncio

    from fastroute.monitor.poller import NoAnswer, target
    from fastroute.monitor.terminal import has_terminal
    from fastroute.monitor.top import print_json, print_once, show

    if once and json:
        raise ConfigError("--once and --json exclude each other")
    full, address = target(url)
    is_once = once or not has_terminal()
    work = print_json if json else print_once if is_once else show
    try:
        asyncio.run(work(full, address))
    except NoAnswer as error:
        typer.echo(f"fastroute: {full}: {error}", err=True)
        raise typer.Exit(1) from None


@app.command()
def check_config(*, config: ConfigOption = None) -> None:
    """Check a servers.toml, and ask each server in it how it is.

    Exit codes:

    - 0: the file can be used; a warning tells of servers that cannot be reached

    - 1: the file cannot be used; one line on stderr says why
    """
    import asyncio

    from fastroute.control.check_report import print_report, progress
    from fastroute.control.server_check import check_servers

    try:
        settings = _watched(config).config
    except ConfigError as error:
        typer.echo(f"fastroute: {error}", err=True)
        raise typer.Exit(1) from None
    with progress(len(settings.servers)) as answered:
        checks = asyncio.run(check_servers(settings.servers, answered))
    print_report(settings, checks)


@app.command()
def demo(
    *,
    host: HostOption = "127.0.0.1",
    port: PortOption = 8888,
    log_level: LogLevelOption = LogLevel.INFO,
) -> None:
    """Run the router in front of three stand-in servers, and print a curl line to try.

    The stand-ins answer like vLLM, with made-up text and no GPU. Ctrl-C ends everything.
    """
    from fastroute.control.demo_servers import SLOTS, demo_servers

    with demo_servers(DEMO_SERVERS) as urls:
        source = FixedConfig(config_from_urls(urls, SLOTS), "fastroute demo")
        place = Place(host=host, port=port, workers=1)
        logs = LogOptions(level=log_level)
        raise typer.Exit(_serve(source, place, logs, announced=_print_try_this))


def _source(
    config: Path | None, urls: list[str], max_load: int | None, override: Override
) -> WatchedConfig | FixedConfig:
    """Take servers from the file or from the command line, never from both."""
    if urls and config is not None:
        raise ConfigError("--server and --config exclude each other: servers come from one place")
    if urls:
        load = DEFAULT_MAX_LOAD if max_load is None else max_load
        return FixedConfig(override(config_from_urls(urls, load)), "--server")
    if max_load is not None:
        raise ConfigError("--max-load is for --server; in a file, set max_concurrent_requests")
    return _watched(config, override)


def _watched(config: Path | None, override: Override = lambda config: config) -> WatchedConfig:
    if config is None and not DEFAULT_CONFIG.exists():
        raise ConfigError(
            f"no servers: there is no {DEFAULT_CONFIG} here; give --config FILE or --server URL"
        )
    return WatchedConfig(config or DEFAULT_CONFIG, override)


def _worker_count(text: str) -> int:
    if text == "auto":
        return len(os.sched_getaffinity(0))
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_WORKERS):
        raise ConfigError(f"--workers {text}: must be auto or a number from 1 to {MAX_WORKERS}")
    return int(text)


def _serve(
    source: WatchedConfig | FixedConfig,
    place: Place,
    logs: LogOptions,
    *,
    announced: Callable[[str], None] = lambda _: None,
    with_screen: bool = False,
) -> int:
    """Run the supervisor until a signal ends it.

    Args:
        source: Servers and settings, and where changes of them come from.
        place: Where to listen.
        logs: For supervisor and workers.
        announced: Called with the router's URL once it accepts clients and has said so.
        with_screen: Whether to show the monitor.

    Returns:
        The exit code.

    Raises:
        ConfigError: The address cannot be listened on, a log cannot be written, or this is no
            Linux.
    """
    if sys.platform != "linux":
        raise ConfigError("only Linux has what fastroute needs (memfd_create, pidfd_open)")

    import asyncio

    from fastroute.control.descriptors import raise_descriptor_limit
    from fastroute.control.listeners import address_text, open_listeners
    from fastroute.control.supervisor import Sockets, Supervisor
    from fastroute.recording.recording import Recording

    config = source.config
    sockets = Sockets(open_listeners(place.host, place.port, place.workers))
    if config.admin_port:
        (sockets.admin,) = open_listeners(place.host, config.admin_port, 1, "see admin_port")
    url = "http://" + address_text(*sockets.clients[0].getsockname()[:2])

    ready = asyncio.Event()

    def announce() -> None:
        counts = f"{_count(len(config.servers), 'server')}, {_count(place.workers, 'worker')}"
        typer.echo(f"fastroute {__version__} listening on {url}, {counts}")
        announced(url)
        ready.set()

    async def supervise() -> int:
        supervisor = Supervisor(source, sockets, logs=logs, recording=recording, announce=announce)
        return await supervisor.run()

    _start_logging(logs)
    recording = Recording(has_screen=with_screen)
    recording.apply(config)
    raise_descriptor_limit(config.max_connections)
    if not with_screen:
        return asyncio.run(supervise())

    from fastroute.monitor.own import with_monitor
    from fastroute.monitor.stderr_lines import StderrLines

    own = sockets.admin or sockets.clients[0]
    with StderrLines() as stderr:
        return asyncio.run(with_monitor(supervise(), ready, own, stderr))


def _start_logging(logs: LogOptions) -> None:
    try:
        configure_logging(logs)
    except OSError as error:
        raise ConfigError(f"--log-file {logs.file}: cannot be written: {error.strerror}") from None


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _print_try_this(url: str) -> None:
    body = (
        '{"model": "standin", "stream": true, "messages": [{"role": "user", "content": "Hello"}]}'
    )
    typer.echo(
        f"Try it in another terminal:\n\n"
        f"  curl -N {url}/v1/chat/completions -H 'Content-Type: application/json' -d '{body}'\n"
    )
