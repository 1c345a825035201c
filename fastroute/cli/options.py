"""Options of several commands: the servers, from a file or from the command line."""

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
    typer.Option(help="File with servers and settings.", show_default=str(DEFAULT_CONFIG)),
]
ServerOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="URL",
        help="URL of a server, instead of a file. May be repeated. http+dns://NAME:PORT "
        "stands for all addresses of the name.",
    ),
]


Override = Callable[[Config], Config]
"""Replaces settings of the file by those of the command line."""


def as_written(config: Config) -> Config:
    """Return the configuration unchanged."""
    return config


def servers_from(
    config: Path | None,
    urls: list[str] | None,
    max_load: int | None = None,
    override: Override = as_written,
) -> WatchedConfig | FixedConfig:
    """Return servers and settings, either from the file or from the command line.

    Args:
        config: The given file, if any.
        urls: The given servers' URLs, if any.
        max_load: Capacity of each of these servers.
        override: Applies settings of the command line.

    Raises:
        ConfigError: The options exclude each other or are invalid.
    """
    if urls and config is not None:
        raise ConfigError("--server and --config exclude each other")
    if urls:
        load = DEFAULT_MAX_LOAD if max_load is None else max_load
        return FixedConfig(override(config_from_urls(urls, load)), "--server")
    if max_load is not None:
        raise ConfigError("--max-load needs --server; in a file, set max_concurrent_requests")
    return servers_from_file(config, override)


def servers_from_file(config: Path | None, override: Override = as_written) -> WatchedConfig:
    """Return servers and settings from the given file, or from the default file.

    Raises:
        ConfigError: There is no file, or it is invalid.
    """
    if config is None and not DEFAULT_CONFIG.exists():
        raise ConfigError(
            f"no servers: {DEFAULT_CONFIG} does not exist here; give --config FILE or --server URL"
        )
    return WatchedConfig(config or DEFAULT_CONFIG, override)


def counted(number: int, noun: str) -> str:
    """Return "1 server" or "3 servers"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
