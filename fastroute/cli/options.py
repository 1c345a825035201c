"""What several commands are told: the servers, from a file or one by one."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from fastroute.config import Config, ServerConfig, config_from_urls
from fastroute.control.config_file import FixedConfig, WatchedConfig
from fastroute.errors import ConfigError

DEFAULT_CONFIG = Path("servers.toml")
DEFAULT_MAX_LOAD: int = next(
    field.default
    for field in msgspec.structs.fields(ServerConfig)
    if field.name == "max_concurrent_requests"
)

ConfigOption = Annotated[
    Path | None,
    typer.Option(help="The file with servers and settings.", show_default=str(DEFAULT_CONFIG)),
]
ServerOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="URL",
        help="A server, in place of a file. May be given many times. http+dns://NAME:PORT "
        "stands for all addresses of the name.",
    ),
]


Override = Callable[[Config], Config]
"""Puts what the command line says in place of what the file says."""


def as_written(config: Config) -> Config:
    """Override nothing."""
    return config


def servers_from(
    config: Path | None,
    urls: list[str] | None,
    max_load: int | None = None,
    override: Override = as_written,
) -> WatchedConfig | FixedConfig:
    """Take servers and settings from the file or from the command line, never from both.

    Args:
        config: The file, if one was named.
        urls: Of servers, if any were.
        max_load: What each of these runs at once.
        override: Has the last word on settings.

    Raises:
        ConfigError: They exclude each other, or cannot be used.
    """
    if urls and config is not None:
        raise ConfigError("--server and --config exclude each other: servers come from one place")
    if urls:
        load = DEFAULT_MAX_LOAD if max_load is None else max_load
        return FixedConfig(override(config_from_urls(urls, load)), "--server")
    if max_load is not None:
        raise ConfigError("--max-load is for --server; in a file, set max_concurrent_requests")
    return servers_from_file(config, override)


def servers_from_file(config: Path | None, override: Override = as_written) -> WatchedConfig:
    """Take them from the file that was named, or from the one that is here.

    Raises:
        ConfigError: There is none, or it cannot be used.
    """
    if config is None and not DEFAULT_CONFIG.exists():
        raise ConfigError(
            f"no servers: there is no {DEFAULT_CONFIG} here; give --config FILE or --server URL"
        )
    return WatchedConfig(config or DEFAULT_CONFIG, override)


def counted(number: int, noun: str) -> str:
    """Return "1 server" or "3 servers"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
