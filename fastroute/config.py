"""servers.toml: the servers to route to and every setting, checked, with defaults and units.

Each setting is one field of `Config`; its range, unit and description stand in the field's type,
where `setting_docs` finds them for the error messages, the documentation and the tests.
"""

import difflib
import functools
import ipaddress
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints
from urllib.parse import SplitResult, urlsplit

import msgspec
from msgspec import Meta

from fastroute.errors import ConfigError

DAY = 86_400
DEFAULT_PORTS = {"http": 80, "https": 443}
PRINTABLE = re.compile(r"[!-~]+")
HOST_NAME = re.compile(r"[a-z0-9._-]{1,253}")
URL_FORM = "must be http://host:port or https://host:port"
FILE_FORM = 'must be a list such as [ { url = "http://gpu-1:8000", max_concurrent_requests = 8 } ]'
MAX_SHOWN_VALUE = 80
"""Characters of a wrong value that an error message repeats."""


class ServerAddress(msgspec.Struct, frozen=True):
    """Where a server listens.

    Attributes:
        host: Name or IP address, lower case, without the brackets of IPv6.
        port: TCP port.
        tls: Whether to speak https.
        authority: What a Host field says of it: host, and the port where it is not the usual one.
    """

    host: str
    port: int
    tls: bool
    authority: str

    @classmethod
    def from_url(cls, url: str) -> "ServerAddress":
        """Take a server's URL apart.

        Raises:
            ConfigError: It is no URL of a server; the message says what it must be.
        """
        # urlsplit drops line breaks and tabs without a word, so look at the whole first.
        if not PRINTABLE.fullmatch(url):
            raise ConfigError(URL_FORM)
        try:
            parts = urlsplit(url)
        except ValueError:
            raise ConfigError(URL_FORM) from None
        if parts.scheme not in DEFAULT_PORTS:
            raise ConfigError(URL_FORM)
        if "@" in parts.netloc:
            raise ConfigError(f"{URL_FORM}, without user name and password")
        if parts.path not in ("", "/") or "?" in url or "#" in url:
            raise ConfigError(f"{URL_FORM}, without path, query or fragment")
        host = _checked_host(parts.hostname or "")
        usual_port = DEFAULT_PORTS[parts.scheme]
        port = _checked_port(parts, usual_port)
        authority = f"[{host}]" if ":" in host else host
        if port != usual_port:
            authority += f":{port}"
        return cls(host=host, port=port, tls=parts.scheme == "https", authority=authority)


def _checked_port(parts: SplitResult, usual: int) -> int:
    try:
        port = usual if parts.port is None else parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise ConfigError(f"{URL_FORM}, with a port from 1 to 65535")
    return port


def _checked_host(host: str) -> str:
    if ":" not in host:
        if HOST_NAME.fullmatch(host) is None:
            raise ConfigError(f"{URL_FORM}, with a host name or an IP address")
        return host
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError:
        address = None
    if address is None or address.scope_id is not None:
        raise ConfigError(f"{URL_FORM}, with a plain IPv6 address in the brackets")
    return str(address)


Seconds = Annotated[float, Meta(ge=0.001, le=DAY, extra={"unit": "seconds"})]
SecondsOrZero = Annotated[float, Meta(ge=0, le=DAY, extra={"unit": "seconds"})]


def _limits(unit: str, low: int, high: int) -> Meta:
    return Meta(ge=low, le=high, extra={"unit": unit})


def _about(description: str) -> Meta:
    return Meta(description=description)


class ServerConfig(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True
):
    """One entry of `servers`."""

    url: Annotated[str, _about("Where the server listens.")]
    max_concurrent_requests: Annotated[
        int,
        _limits("requests", 1, 1_000_000),
        _about("How many requests the server runs at once; its share of the load follows."),
    ] = 8

    @functools.cached_property
    def address(self) -> ServerAddress:
        """The URL taken apart."""
        return ServerAddress.from_url(self.url)


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings: `servers` of section [servers], the rest of section [config]."""

    servers: tuple[ServerConfig, ...]
    health_check_interval: Annotated[
        Seconds,
        _about("Time between two health checks of a server."),
    ] = 10.0
    request_timeout: Annotated[
        Seconds,
        _about("The longest silence of a server, before the first byte and between bytes."),
    ] = 120.0
    max_retries: Annotated[
        int,
        _limits("attempts", 0, 100),
        _about("How many other servers are tried when one cannot be connected to."),
    ] = 3
    connect_timeout: Annotated[
        Seconds,
        _about("How long connecting to a server may take, TLS included."),
    ] = 2.0
    pool_idle_timeout: Annotated[
        SecondsOrZero,
        _about("How long an idle connection to a server is kept for reuse; vLLM ends them at 5."),
    ] = 4.0
    client_idle_timeout: Annotated[
        Seconds,
        _about("How long a client's connection may stay open between requests."),
    ] = 75.0
    client_header_timeout: Annotated[
        Seconds,
        _about("How long a client may take to send the head of a request."),
    ] = 10.0
    client_body_timeout: Annotated[
        Seconds,
        _about("The longest silence of a client that is sending a body."),
    ] = 30.0
    max_header_bytes: Annotated[
        int,
        _limits("bytes", 1024, 16 << 20),
        _about("The longest head of a request, and of a reply."),
    ] = 65_536
    max_body_bytes: Annotated[
        int,
        _limits("bytes", 1, 1 << 40),
        _about("The longest body of a request."),
    ] = 67_108_864
    max_connections: Annotated[
        int,
        _limits("connections", 1, 1_000_000),
        _about("How many clients may be connected to one worker at once."),
    ] = 20_000
    drain_timeout: Annotated[
        SecondsOrZero,
        _about("How long answers in flight may take to finish after SIGTERM or SIGINT."),
    ] = 30.0


class SettingDoc(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be known about one key of servers.toml."""

    name: str
    type: Any
    unit: str
    description: str
    allowed: str


def setting_docs(struct: type[msgspec.Struct]) -> dict[str, SettingDoc]:
    """Return the keys of `Config` (those of section [config]) or of `ServerConfig`, in order."""
    docs = {}
    for name, hint in get_type_hints(struct, include_extras=True).items():
        metas = [argument for argument in get_args(hint) if isinstance(argument, Meta)]
        if not metas:
            continue
        limits, about = metas[0], metas[-1]
        unit = (limits.extra or {}).get("unit", "")
        docs[name] = SettingDoc(
            name=name,
            type=hint,
            unit=unit,
            description=about.description or "",
            allowed=_allowed(get_args(hint)[0], limits, unit),
        )
    return docs


def _allowed(type_: type, limits: Meta, unit: str) -> str:
    if type_ is str:
        return URL_FORM
    kind = "whole number" if type_ is int else "number"
    return f"must be a {kind} of {unit} from {limits.ge} to {limits.le}"


def load_config(path: Path) -> Config:
    """Read and check a servers.toml.

    Raises:
        ConfigError: It cannot be read or used; the message names file, section, key and remedy.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}: line {line} is not UTF-8 text") from None
    return parse_config(text, str(path))


def parse_config(text: str, source: str) -> Config:
    """Check the text of a servers.toml; `source` names it in messages.

    Raises:
        ConfigError: It cannot be used; the message is one line.
    """
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


def config_from_urls(urls: Iterable[str], max_concurrent_requests: int) -> Config:
    """Make the configuration of a command line: servers alike, and default settings.

    Raises:
        ConfigError: A URL or the number cannot be used.
    """
    name = "max_concurrent_requests"
    _converted(
        max_concurrent_requests,
        setting_docs(ServerConfig)[name],
        f"--max-load {max_concurrent_requests}",
    )
    servers = [{"url": url, name: max_concurrent_requests} for url in urls]
    return Config(servers=_servers(servers, "--server"))


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
        earlier = first_with.setdefault(server.address, number)
        if earlier != number:
            raise ConfigError(f"{source}: server {number}: url is that of server {earlier} too")
        servers.append(server)
    return tuple(servers)


def _server(entry: Mapping[str, Any], where: str) -> ServerConfig:
    if "url" not in entry:
        raise ConfigError(f"{where} url is missing: {URL_FORM}")
    server = ServerConfig(**_checked(entry, ServerConfig, where))
    try:
        _ = server.address
    except ConfigError as error:
        raise ConfigError(f"{where} url = {_shown(server.url)}: {error}") from None
    return server


def _checked(table: Mapping[str, Any], struct: type[msgspec.Struct], where: str) -> dict[str, Any]:
    """Return the values of a table as the struct's fields, or say what is wrong with the first."""
    docs = setting_docs(struct)
    _refuse_unknown(table, tuple(docs), where, "key")
    return {
        name: _converted(value, docs[name], f"{where} {name} = {_shown(value)}")
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
        near = difflib.get_close_matches(name.lower(), known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
        raise ConfigError(f"{where} unknown {kind} {_one_line(name)}: {hint}")


def _shown(value: Any) -> str:
    """Write a value the way TOML does, on one line and not too long."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return msgspec.json.encode(_one_line(value)).decode()
    return _one_line(str(value))


def _one_line(text: str) -> str:
    line = "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )
    return line if len(line) <= MAX_SHOWN_VALUE else line[: MAX_SHOWN_VALUE - 3] + "..."
