"""servers.toml: the servers to route to and every setting, checked, with defaults and units.

Each setting is one field of `Config`; its range, unit and description stand in the field's type,
where `setting_docs` finds them for the error messages, the documentation and the tests.
"""

import functools
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

import msgspec
from msgspec import Meta

from fastroute.errors import ConfigError
from fastroute.server_address import URL_FORM, ServerAddress

DAY = 86_400
FILE_FORM = 'must be a list such as [ { url = "http://gpu-1:8000", max_concurrent_requests = 8 } ]'
MAX_SHOWN_VALUE = 80
"""Characters of a wrong value that an error message repeats."""


Seconds = Annotated[float, Meta(ge=0.001, le=DAY, extra={"unit": "seconds"})]
SecondsOrZero = Annotated[float, Meta(ge=0, le=DAY, extra={"unit": "seconds"})]
# More than 20 a second would cost a server more than it tells.
ScrapeSeconds = Annotated[float, Meta(ge=0.05, le=DAY, extra={"unit": "seconds"})]


def _limits(unit: str, low: float, high: float) -> Meta:
    return Meta(ge=low, le=high, extra={"unit": unit})


def _form(allowed: str) -> Meta:
    """What a value that is no number must be."""
    return Meta(extra={"allowed": allowed})


def _about(description: str) -> Meta:
    return Meta(description=description)


PolicyName = Literal["load", "least_inflight", "power_of_two", "round_robin", "random"]
RetryReason = Literal["connect", "reset", "429", "502", "503", "504"]
AccessLogForm = Literal["off", "text", "json"]


def _listed(words: Any) -> str:
    return ", ".join(f'"{word}"' for word in get_args(words))


MODELS_FORM = _form('must be a list of names such as [ "llama3.1:8b" ]')
ModelName = Annotated[str, Meta(min_length=1, max_length=1000)]
# What a field of a head may hold, and no more.
SecretText = Annotated[str, Meta(pattern=r"\A[!-~]{1,8192}\Z")]
FilePath = Annotated[str, Meta(pattern=r"\A[^\0]{1,4096}\Z")]
# Without user name and password, which would be logged: OTEL_EXPORTER_OTLP_HEADERS is for keys.
OtlpEndpoint = Annotated[str, Meta(pattern=r"\A(https?://[!-?A-~]{1,2000})?\Z")]
KEY_FORM = "must be text of 1 to 8192 printable ASCII characters, without spaces"


class ServerConfig(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True
):
    """One entry of `servers`."""

    url: Annotated[
        str,
        _form(URL_FORM),
        _about("Where the server listens; with +dns, a name each of whose addresses is a server."),
    ]
    max_concurrent_requests: Annotated[
        int,
        _limits("requests", 1, 1_000_000),
        _about("How many requests the server runs at once; its share of the load follows."),
    ] = 8
    models: Annotated[
        Annotated[tuple[ModelName, ...], Meta(min_length=1)] | None,
        MODELS_FORM,
        _about("The models it serves; without it, the server is asked."),
    ] = None
    api_key: Annotated[
        SecretText | None,
        Meta(extra={"allowed": KEY_FORM, "secret": True}),
        _about("Sent to the server as its key, in place of the client's."),
    ] = None
    api_key_env: Annotated[
        ModelName | None,
        _form("must be the name of an environment variable"),
        _about("The environment variable that holds its key, read when the file is."),
    ] = None
    weight: Annotated[
        float,
        Meta(ge=0.001, le=1000, extra={"unit": ""}),
        _about("Its share of the load beyond what max_concurrent_requests says."),
    ] = 1.0
    drain: Annotated[
        bool,
        _form("must be true or false"),
        _about("Whether it gets no new requests and only finishes those it has."),
    ] = False
    discovered_from: str | None = None
    """The URL, with +dns, of the entry it was made from; no key of the file."""

    @functools.cached_property
    def address(self) -> ServerAddress:
        """The URL taken apart."""
        return ServerAddress.from_url(self.url)

    @functools.cached_property
    def called(self) -> ServerAddress:
        """What it is called to its face: in the Host field, and to check its certificate."""
        return ServerAddress.from_url(self.discovered_from or self.url)


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings: `servers` of section [servers], the rest of section [config]."""

    servers: tuple[ServerConfig, ...]
    policy: Annotated[
        PolicyName,
        _form(f"must be one of {_listed(PolicyName)}"),
        _about("How a server is chosen among those that can take a request."),
    ] = "load"
    scrape_interval: Annotated[
        ScrapeSeconds,
        _about("Time between two readings of a server's metrics."),
    ] = 1.0
    scrape_timeout: Annotated[
        Seconds,
        _about("How long a server may take to answer with its metrics."),
    ] = 2.0
    waiting_weight: Annotated[
        float,
        _limits("running requests", 0, 100),
        _about("What a request in a server's queue adds to its load."),
    ] = 0.5
    busy_threshold: Annotated[
        float,
        _limits("", 0, 1000),
        _about("The load for its capacity from which a server is busy; others are preferred."),
    ] = 0.5
    aliases: Annotated[
        dict[ModelName, ModelName],
        _form('must be a table such as { "gpt-4o" = "llama3.1:8b" }'),
        _about("Other names of models; the server is asked for the one on the right."),
    ] = {}
    models_refresh_interval: Annotated[
        Seconds,
        _about("Time between two questions to a server for its models."),
    ] = 30.0
    dns_interval: Annotated[
        Annotated[float, Meta(ge=0.1, le=DAY, extra={"unit": "seconds"})],
        _about("Time between two look-ups of a name that is followed (http+dns://)."),
    ] = 5.0
    dns_hold: Annotated[
        SecondsOrZero,
        _about("How long a name must have had no address until its last servers are removed."),
    ] = 30.0
    health_check_interval: Annotated[
        Seconds,
        _about("Time between two health checks of a server."),
    ] = 10.0
    health_check_timeout: Annotated[
        Seconds,
        _about("How long a server may take to answer a health check."),
    ] = 10.0
    enable_active_health_check: Annotated[
        bool,
        _form("must be true or false"),
        _about("Whether health is checked; without, only failing requests take a server out."),
    ] = True
    health_check_consecutive_failures: Annotated[
        int,
        _limits("checks", 1, 1000),
        _about("How many failed health checks in a row take a server out."),
    ] = 3
    health_check_window_size: Annotated[
        int,
        _limits("checks", 1, 10_000),
        _about("Over how many health checks success rate and response time are taken."),
    ] = 10
    health_check_min_success_rate: Annotated[
        float,
        _limits("", 0, 1),
        _about("The share of good health checks below which a server is taken out."),
    ] = 0.5
    health_check_max_response_time: Annotated[
        Seconds,
        _about("The mean response time of health checks above which a server is taken out."),
    ] = 10.0
    failure_threshold: Annotated[
        int,
        _limits("requests", 1, 1000),
        _about("How many failed requests in a row take a server out."),
    ] = 5
    auto_recovery_threshold: Annotated[
        Seconds,
        _about("The longest time until a server that failed requests is tried again."),
    ] = 60.0
    stall_timeout: Annotated[
        SecondsOrZero,
        _about("How long a server may have requests and make no token until it is taken out."),
    ] = 60.0
    request_timeout: Annotated[
        Seconds,
        _about("The longest silence of a server, before the first byte and between bytes."),
    ] = 120.0
    max_retries: Annotated[
        int,
        _limits("attempts", 0, 100),
        _about("How many other servers are tried when one fails before it answers."),
    ] = 3
    retry_on: Annotated[
        tuple[RetryReason, ...],
        _form(f"must be a list of some of {_listed(RetryReason)}"),
        _about("What lets another server be tried: failures, and statuses of answers."),
    ] = get_args(RetryReason)
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
    config_reload_interval: Annotated[
        Annotated[float, Meta(ge=0.1, le=DAY, extra={"unit": "seconds"})],
        _about("Within what time a change of this file is seen."),
    ] = 1.0
    admin_port: Annotated[
        int,
        _limits("", 0, 65535),
        _about("A TCP port of its own for /health, /metrics and the like; needs a restart."),
    ] = 0
    access_log: Annotated[
        AccessLogForm,
        _form(f"must be one of {_listed(AccessLogForm)}"),
        _about("Whether each request is written down on a line of its own, and in which form."),
    ] = "off"
    access_log_file: Annotated[
        FilePath,
        _form('must be the path of a file, or "-" for stdout'),
        _about("Where the access log is written."),
    ] = "-"
    access_log_max_bytes: Annotated[
        int,
        _limits("bytes", 0, 1 << 40),
        _about("The size from which the access log's file is put aside and a new one begun."),
    ] = 104_857_600
    access_log_backups: Annotated[
        int,
        _limits("files", 0, 1000),
        _about("How many files of the access log that were put aside are kept."),
    ] = 5
    explain: Annotated[
        bool,
        _form("must be true or false"),
        _about("Whether replies tell in x-fastroute-... fields which server was chosen, and why."),
    ] = False
    otlp_endpoint: Annotated[
        OtlpEndpoint,
        _form('must be an http:// or https:// URL without user name and password, or ""'),
        _about("The OpenTelemetry collector that gets a span of each request, over OTLP/HTTP."),
    ] = ""
    otlp_sample_ratio: Annotated[
        float,
        _limits("", 0, 1),
        _about("The share of the requests without a traceparent of which there are spans."),
    ] = 1.0


class SettingDoc(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be known about one key of servers.toml."""

    name: str
    type: Any
    unit: str
    description: str
    allowed: str
    secret: bool
    """Whether no message may repeat its value."""


def setting_docs(struct: type[msgspec.Struct]) -> dict[str, SettingDoc]:
    """Return the keys of `Config` (those of section [config]) or of `ServerConfig`, in order."""
    docs = {}
    for name, hint in get_type_hints(struct, include_extras=True).items():
        metas = [argument for argument in get_args(hint) if isinstance(argument, Meta)]
        if not metas:
            continue
        limits, about = next(meta for meta in metas if meta.extra), metas[-1]
        extra = limits.extra or {}
        docs[name] = SettingDoc(
            name=name,
            type=hint,
            unit=extra.get("unit", ""),
            description=about.description or "",
            allowed=extra.get("allowed") or _range(get_args(hint)[0], limits, extra["unit"]),
            secret=extra.get("secret", False),
        )
    return docs


def _range(type_: type, limits: Meta, unit: str) -> str:
    kind = "whole number" if type_ is int else "number"
    of_what = f" of {unit}" if unit else ""
    return f"must be a {kind}{of_what} from {limits.ge} to {limits.le}"


def load_config(path: Path) -> Config:
    """Read and check a servers.toml.

    Raises:
        ConfigError: It cannot be read or used; the message names file, section, key and remedy.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    return parse_config(data, str(path))


def parse_config(data: bytes | str, source: str) -> Config:
    """Check the text of a servers.toml; `source` names it in messages.

    Keys that `api_key_env` names are taken from the environment.

    Raises:
        ConfigError: It cannot be used; the message is one line.
    """
    text = data if isinstance(data, str) else _decoded(data, source)
    import tomllib  # Workers have no file to read.

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


def check_options(options: Mapping[str, Any]) -> None:
    """Check settings that the command line gives, by their names in the file.

    Raises:
        ConfigError: One cannot be used; the message names the option.
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
        # The servers behind a name are not to be counted twice.
        place = msgspec.structs.replace(server.address, follows_dns=False)
        earlier = first_with.setdefault(place, number)
        if earlier != number:
            raise ConfigError(f"{source}: server {number}: url is that of server {earlier} too")
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
        raise ConfigError(f"{where}: what the variable holds {KEY_FORM}") from None


def _checked(table: Mapping[str, Any], struct: type[msgspec.Struct], where: str) -> dict[str, Any]:
    """Return the values of a table as the struct's fields, or say what is wrong with the first."""
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
