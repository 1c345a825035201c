"""Parsing and validation of servers.toml and of settings on the command line."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from fastroute.config.setting import SettingDoc, setting_docs
from fastroute.config.settings import KEY_FORM, Config, SecretText, ServerConfig
from fastroute.errors import ConfigError
from fastroute.printable import printable
from fastroute.server_address import URL_FORM, ServerAddress

FILE_FORM = 'must be a list such as [ { url = "http://gpu-1:8000", max_concurrent_requests = 8 } ]'
MAX_SHOWN_VALUE = 80
"""Maximum number of characters of a wrong value that an error message quotes."""


def load_config(path: Path) -> Config:
    """Read and check a servers.toml.

    Raises:
        ConfigError: The file cannot be read or is invalid; the message names file, section, key
            and remedy.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    return parse_config(data, str(path))


def parse_config(data: bytes | str, source: str) -> Config:
    """Check the text of a servers.toml; `source` names it in messages.

    API keys that `api_key_env` names are read from the environment.

    Raises:
        ConfigError: The text is invalid; the message is one line.
    """
    text = data if isinstance(data, str) else _decoded(data, source)
    import tomllib  # here, because workers do not need it

    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source}: not valid TOML: {_one_line(str(error))}") from None
    _refuse_unknown(document, ("servers", "config"), f"{source}:", "section")
    servers = _section(document, "servers", source)
    settings = _section(document, "config", source)
    _refuse_unknown(servers, ("servers",), f"{source}: [servers]", "key")
    return Config(
        servers=_servers(servers.get("servers", []), source),
        **_checked(settings, Config, f"{source}: [config]"),
    )


def _decoded(data: bytes, source: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{source}: line {line} is not UTF-8 text") from None


def config_from_urls(urls: Iterable[str], max_concurrent_requests: int) -> Config:
    """Make the configuration for `--server`: servers of one capacity, and default settings.

    Raises:
        ConfigError: A URL or the capacity is invalid.
    """
    name = "max_concurrent_requests"
    _converted(
        max_concurrent_requests,
        setting_docs(ServerConfig)[name],
        f"--max-load {max_concurrent_requests}",
    )
    servers = [{"url": url, name: max_concurrent_requests} for url in urls]
    return Config(servers=_servers(servers, "--server"))


def check_options(options: Mapping[str, Any]) -> None:
    """Check settings that were given as options.

    Args:
        options: Values by the names that the settings have in the file.

    Raises:
        ConfigError: A value is invalid; the message names the option.
    """
    docs = setting_docs(Config)
    for name, value in options.items():
        _converted(value, docs[name], f"--{name.replace('_', '-')} {_shown(value)}")


def _section(document: Mapping[str, Any], name: str, source: str) -> Mapping[str, Any]:
    section = document.get(name, {})
    if not isinstance(section, dict):
        raise ConfigError(f"{source}: {name} must be a section, written [{name}]")
    return section


def _servers(entries: Any, source: str) -> tuple[ServerConfig, ...]:
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ConfigError(f"{source}: [servers] servers = {_shown(entries)}: {FILE_FORM}")
    if not entries:
        raise ConfigError(f"{source}: no servers: [servers] servers {FILE_FORM}")
    first_with: dict[ServerAddress, int] = {}
    servers = []
    for number, entry in enumerate(entries, 1):
        server = _server(entry, f"{source}: server {number}:")
        # With and without +dns too: the servers of a name must not be counted twice.
        place = msgspec.structs.replace(server.address, follows_dns=False)
        earlier = first_with.setdefault(place, number)
        if earlier != number:
            raise ConfigError(f"{source}: server {number}: url is already used by server {earlier}")
        servers.append(server)
    return tuple(servers)


def _server(entry: Mapping[str, Any], where: str) -> ServerConfig:
    if "url" not in entry:
        raise ConfigError(f"{where} url is missing: {URL_FORM}")
    values = _checked(entry, ServerConfig, where)
    if "api_key_env" in values:
        values["api_key"] = _key_from_environment(values, where)
    server = ServerConfig(**values)
    try:
        _ = server.address
    except ConfigError as error:
        raise ConfigError(f"{where} url = {_shown(server.url)}: {error}") from None
    return server


def _key_from_environment(values: Mapping[str, Any], where: str) -> str:
    if "api_key" in values:
        raise ConfigError(f"{where} api_key and api_key_env exclude each other")
    name = values["api_key_env"]
    where = f"{where} api_key_env = {_shown(name)}"
    key = os.environ.get(name)
    if key is None:
        raise ConfigError(f"{where}: there is no such environment variable")
    try:
        return msgspec.convert(key, SecretText)
    except msgspec.ValidationError:
        raise ConfigError(f"{where}: the value of the variable {KEY_FORM}") from None


def _checked(table: Mapping[str, Any], struct: type[msgspec.Struct], where: str) -> dict[str, Any]:
    """Return the values of a table, converted to the types of the struct's fields.

    Raises:
        ConfigError: A key is unknown or a value is invalid.
    """
    docs = setting_docs(struct)
    _refuse_unknown(table, tuple(docs), where, "key")
    return {
        name: _converted(
            value,
            docs[name],
            f"{where} {name} = {'...' if docs[name].secret else _shown(value)}",
        )
        for name, value in table.items()
    }


def _converted(value: Any, doc: SettingDoc, what: str) -> Any:
    try:
        return msgspec.convert(value, doc.type)
    except msgspec.ValidationError:
        raise ConfigError(f"{what}: {doc.allowed}") from None


def _refuse_unknown(
    table: Mapping[str, Any], known: tuple[str, ...], where: str, kind: str
) -> None:
    for name in table:
        if name in known:
            continue
        import difflib

        near = difflib.get_close_matches(name.lower(), known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
        raise ConfigError(f"{where} unknown {kind} {_one_line(name)}: {hint}")


def _shown(value: Any) -> str:
    """Format a value like TOML, on one line and shortened."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{_one_line(msgspec.json.encode(value).decode()[1:-1])}"'
    return _one_line(str(value))


def _one_line(text: str) -> str:
    return printable(text, MAX_SHOWN_VALUE)
