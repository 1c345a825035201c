"""A router from its first socket to its end: listens, logs, starts workers, and supervises them.

What only a running router needs is imported when it runs, so that mistakes are reported at once.
"""

import sys
from typing import TYPE_CHECKING

import msgspec
import typer

from fastroute import __version__
from fastroute.cli.options import counted
from fastroute.config import Config
from fastroute.control.config_file import FixedConfig, WatchedConfig
from fastroute.errors import ConfigError
from fastroute.ipc.logs import LogOptions, configure_logging

if TYPE_CHECKING:
    from fastroute.control.workers.launch import Sockets
    from fastroute.demo.show import Show


class Place(msgspec.Struct, frozen=True):
    """Address to listen on, and number of workers.

    Attributes:
        workers_reason: Reason of the number of workers, if it was not given.
    """

    host: str
    port: int
    workers: int
    workers_reason: str = ""


def serve(
    source: WatchedConfig | FixedConfig,
    place: Place,
    logs: LogOptions,
    show: "Show | None" = None,
    *,
    with_screen: bool,
) -> int:
    """Run the supervisor until a signal ends it.

    Args:
        source: Servers and settings, and the source of changes to them.
        place: Address to listen on.
        logs: Log options of the supervisor and workers.
        show: Scenario to run at the same time, if any.
        with_screen: True to show the monitor.

    Returns:
        The exit code.

    Raises:
        ConfigError: The address cannot be listened on, a log cannot be written, or this is not
            Linux.
    """
    if sys.platform != "linux":
        raise ConfigError("fastroute needs Linux (memfd_create, pidfd_open)")

    from fastroute.control.workers.descriptors import raise_descriptor_limit
    from fastroute.control.workers.launch import Launch, create_table
    from fastroute.control.workers.listeners import address_text
    from fastroute.recording.recording import Recording

    config = source.config
    sockets = _listening(place, config.admin_port)
    url = "http://" + address_text(*sockets.clients[0].getsockname()[:2])

    def announce() -> None:
        typer.echo(_announcement(url, config, place))
        if show is not None:
            typer.echo(show.invitation(url))

    _start_logging(logs)
    recording = Recording(has_screen=with_screen)
    recording.apply(config)
    raise_descriptor_limit(config.max_connections, len(config.servers))
    launch = Launch(sockets, create_table(config, place.workers), logs)
    if not with_screen:  # otherwise their output belongs to the monitor, which does not exist yet
        launch.start_ahead()

    from fastroute.cli.run_router import run_router  # takes as long as the start of the workers

    return run_router(
        source, launch, recording, announce, url=url, show=show, with_screen=with_screen
    )


def has_screen(console: bool) -> bool:
    """Return True if the monitor is to be shown.

    Args:
        console: True if the user wants log lines in its place.
    """
    from fastroute.monitor.terminal import has_terminal

    return not console and has_terminal()


def _listening(place: Place, admin_port: int) -> "Sockets":
    from fastroute.control.workers.launch import Sockets
    from fastroute.control.workers.listeners import open_listeners

    sockets = Sockets(open_listeners(place.host, place.port, place.workers))
    if admin_port:
        (sockets.admin,) = open_listeners(place.host, admin_port, 1, "see admin_port")
    return sockets


def _announcement(url: str, config: Config, place: Place) -> str:
    counts = f"{_servers(config)}, {counted(place.workers, 'worker')}"
    reason = f" (auto: {place.workers_reason})" if place.workers_reason else ""
    return f"fastroute {__version__} listening on {url}, {counts}{reason}"


def _start_logging(logs: LogOptions) -> None:
    try:
        configure_logging(logs)
    except OSError as error:
        raise ConfigError(f"--log-file {logs.file}: cannot be written: {error.strerror}") from None


def _servers(config: Config) -> str:
    """Return the number of servers by URL and of DNS names that are resolved to servers."""
    names = sum(server.address.follows_dns for server in config.servers)
    servers = len(config.servers) - names
    counts = [counted(servers, "server")] if servers or not names else []
    if names:
        counts.append(counted(names, "DNS name"))
    return ", ".join(counts)
