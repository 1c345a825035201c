"""servers.toml: the servers to route to and every setting, with defaults, ranges and units.

Each setting is one field of `Config`; its range, unit and description stand in the field's type.
"""

import functools
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from fastroute.config.setting import (
    DAY,
    Seconds,
    SecondsOrZero,
    about,
    choice,
    form,
    limits,
    listed,
)
from fastroute.rules.health_check import DEFAULT_PATH, HealthCheck
from fastroute.rules.policy import POLICIES
from fastroute.rules.retry import RETRY_REASONS
from fastroute.server_address import URL_FORM, ServerAddress


class AccessLogForm(StrEnum):
    """Form of the access log: off, for people, or for programs."""

    OFF = "off"
    TEXT = "text"
    JSON = "json"


# More than 20 a second would cost a server more than it tells.
ScrapeSeconds = Annotated[float, limits("seconds", 0.05, DAY)]
RetryReason = Annotated[str, choice(RETRY_REASONS)]
MODELS_FORM = form('must be a list of names such as [ "llama3.1:8b" ]')
ModelName = Annotated[str, Meta(min_length=1, max_length=1000)]
# What a field of a head may hold, and no more.
SecretText = Annotated[str, Meta(pattern=r"\A[!-~]{1,8192}\Z")]
KEY_FORM = "must be text of 1 to 8192 printable ASCII characters, without spaces"
HealthPath = Annotated[str, Meta(pattern=r"\A/[!-~]{0,999}\Z")]
HEALTH_PATH_FORM = 'must be a path such as "/health", of printable ASCII characters'
Statuses = tuple[Annotated[int, Meta(ge=200, le=599)], ...]
STATUSES_FORM = "must be a list of statuses from 200 to 599, such as [ 200, 204 ]"
FilePath = Annotated[str, Meta(pattern=r"\A[^\0]{1,4096}\Z")]
# Without user name and password, which would be logged: OTEL_EXPORTER_OTLP_HEADERS is for keys.
OtlpEndpoint = Annotated[str, Meta(pattern=r"\A(https?://[!-?A-~]{1,2000})?\Z")]


class ServerConfig(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True
):
    """One entry of `servers`."""

    url: Annotated[
        str,
        form(URL_FORM),
        about("Where the server listens; with +dns, a name each of whose addresses is a server."),
    ]
    max_concurrent_requests: Annotated[
        int,
        limits("requests", 1, 1_000_000),
        about("How many requests the server runs at once; its share of the load follows."),
    ] = 8
    models: Annotated[
        Annotated[tuple[ModelName, ...], Meta(min_length=1)] | None,
        MODELS_FORM,
        about("The models it serves; without it, the server is asked."),
    ] = None
    api_key: Annotated[
        SecretText | None,
        Meta(extra={"allowed": KEY_FORM, "secret": True}),
        about("Sent to the server as its key, in place of the client's."),
    ] = None
    api_key_env: Annotated[
        ModelName | None,
        form("must be the name of an environment variable"),
        about("The environment variable that holds its key, read when the file is."),
    ] = None
    weight: Annotated[
        float,
        limits("", 0.001, 1000),
        about("Its share of the load beyond what max_concurrent_requests says."),
    ] = 1.0
    drain: Annotated[
        bool,
        form("must be true or false"),
        about("Whether it gets no new requests and only finishes those it has."),
    ] = False
    health_path: Annotated[
        HealthPath | None,
        form(HEALTH_PATH_FORM),
        about("Path of its health check, in place of the one in [config]."),
    ] = None
    health_statuses: Annotated[
        Statuses | None,
        form(STATUSES_FORM),
        about("Statuses that a healthy server answers with, in place of those in [config]."),
    ] = None
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
        str,
        choice(POLICIES),
        about("How a server is chosen among those that can take a request."),
    ] = "load"
    scrape_interval: Annotated[
        ScrapeSeconds,
        about("Time between two readings of a server's metrics."),
    ] = 1.0
    scrape_timeout: Annotated[
        Seconds,
        about("How long a server may take to answer with its metrics."),
    ] = 2.0
    waiting_weight: Annotated[
        float,
        limits("running requests", 0, 100),
        about("What a request in a server's queue adds to its load."),
    ] = 0.5
    busy_threshold: Annotated[
        float,
        limits("", 0, 1000),
        about("The load for its capacity from which a server is busy; others are preferred."),
    ] = 0.5
    aliases: Annotated[
        dict[ModelName, ModelName],
        form('must be a table such as { "gpt-4o" = "llama3.1:8b" }'),
        about("Other names of models; the server is asked for the one on the right."),
    ] = {}
    models_refresh_interval: Annotated[
        Seconds,
        about("Time between two questions to a server for its models."),
    ] = 30.0
    dns_interval: Annotated[
        float,
        limits("seconds", 0.1, DAY),
        about("Time between two look-ups of a name that is followed (http+dns://)."),
    ] = 5.0
    dns_hold: Annotated[
        SecondsOrZero,
        about("How long a name must have had no address until its last servers are removed."),
    ] = 30.0
    health_check_interval: Annotated[
        Seconds,
        about("Time between two health checks of a server."),
    ] = 10.0
    health_check_timeout: Annotated[
        Seconds,
        about("How long a server may take to answer a health check."),
    ] = 10.0
    enable_active_health_check: Annotated[
        bool,
        form("must be true or false"),
        about("Whether health is checked; without, only failing requests take a server out."),
    ] = True
    health_path: Annotated[
        HealthPath,
        form(HEALTH_PATH_FORM),
        about(
            "Path of a health check. A server that answers 404, 405 or 501 to /health is asked for "
            "/v1/models."
        ),
    ] = DEFAULT_PATH
    health_statuses: Annotated[
        Statuses,
        form(STATUSES_FORM),
        about("Statuses that a healthy server answers with; none for any 2xx."),
    ] = ()
    health_check_consecutive_failures: Annotated[
        int,
        limits("checks", 1, 1000),
        about("How many failed health checks in a row take a server out."),
    ] = 3
    health_check_window_size: Annotated[
        int,
        limits("checks", 1, 10_000),
        about("Over how many health checks success rate and response time are taken."),
    ] = 10
    health_check_min_success_rate: Annotated[
        float,
        limits("", 0, 1),
        about("The share of good health checks below which a server is taken out."),
    ] = 0.5
    health_check_max_response_time: Annotated[
        Seconds,
        about("The mean response time of health checks above which a server is taken out."),
    ] = 10.0
    failure_threshold: Annotated[
        int,
        limits("requests", 1, 1000),
        about("How many failed requests in a row take a server out."),
    ] = 5
    auto_recovery_threshold: Annotated[
        Seconds,
        about("The longest time until a server that failed requests is tried again."),
    ] = 60.0
    stall_timeout: Annotated[
        SecondsOrZero,
        about("How long a server may have requests and make no token until it is taken out."),
    ] = 60.0
    request_timeout: Annotated[
        Seconds,
        about("The longest silence of a server, before the first byte and between bytes."),
    ] = 120.0
    max_retries: Annotated[
        int,
        limits("attempts", 0, 100),
        about("How many other servers are tried when one fails before it answers."),
    ] = 3
    retry_on: Annotated[
        tuple[RetryReason, ...],
        form(f"must be a list of some of {listed(RETRY_REASONS)}"),
        about("What lets another server be tried: failures, and statuses of answers."),
    ] = RETRY_REASONS
    connect_timeout: Annotated[
        Seconds,
        about("How long connecting to a server may take, TLS included."),
    ] = 2.0
    tcp_timeout: Annotated[
        SecondsOrZero,
        about(
            "Time without a sign of life from the network after which a connection to a client or "
            "a server is closed (TCP keepalive, TCP_USER_TIMEOUT); 0 for the system's default."
        ),
    ] = 60.0
    pool_idle_timeout: Annotated[
        SecondsOrZero,
        about("How long an idle connection to a server is kept for reuse; vLLM ends them at 5."),
    ] = 4.0
    client_idle_timeout: Annotated[
        Seconds,
        about("How long a client's connection may stay open between requests."),
    ] = 75.0
    client_header_timeout: Annotated[
        Seconds,
        about("How long a client may take to send the head of a request."),
    ] = 10.0
    client_body_timeout: Annotated[
        Seconds,
        about("The longest silence of a client that is sending a body."),
    ] = 30.0
    max_header_bytes: Annotated[
        int,
        limits("bytes", 1024, 16 << 20),
        about("The longest head of a request, and of a reply."),
    ] = 65_536
    max_body_bytes: Annotated[
        int,
        limits("bytes", 1, 1 << 40),
        about("The longest body of a request."),
    ] = 67_108_864
    max_connections: Annotated[
        int,
        limits("connections", 1, 1_000_000),
        about("How many clients may be connected to one worker at once."),
    ] = 20_000
    drain_timeout: Annotated[
        SecondsOrZero,
        about("How long answers in flight may take to finish after SIGTERM or SIGINT."),
    ] = 30.0
    config_reload_interval: Annotated[
        float,
        limits("seconds", 0.1, DAY),
        about("Within what time a change of this file is seen."),
    ] = 1.0
    admin_port: Annotated[
        int,
        limits("", 0, 65535),
        about("A TCP port of its own for /health, /metrics and the like; needs a restart."),
    ] = 0
    access_log: Annotated[
        AccessLogForm,
        form(f"must be one of {listed(AccessLogForm)}"),
        about("Whether each request is written down on a line of its own, and in which form."),
    ] = AccessLogForm.OFF
    access_log_file: Annotated[
        FilePath,
        form('must be the path of a file, or "-" for stdout'),
        about("Where the access log is written."),
    ] = "-"
    access_log_max_bytes: Annotated[
        int,
        limits("bytes", 0, 1 << 40),
        about("The size from which the access log's file is put aside and a new one begun."),
    ] = 104_857_600
    access_log_backups: Annotated[
        int,
        limits("files", 0, 1000),
        about("How many files of the access log that were put aside are kept."),
    ] = 5
    explain: Annotated[
        bool,
        form("must be true or false"),
        about("Whether replies tell in x-fastroute-... fields which server was chosen, and why."),
    ] = False
    otlp_endpoint: Annotated[
        OtlpEndpoint,
        form('must be an http:// or https:// URL without user name and password, or ""'),
        about("The OpenTelemetry collector that gets a span of each request, over OTLP/HTTP."),
    ] = ""
    otlp_sample_ratio: Annotated[
        float,
        limits("", 0, 1),
        about("The share of the requests without a traceparent of which there are spans."),
    ] = 1.0

    def health_check_of(self, server: ServerConfig) -> HealthCheck:
        """Return how a server's health is checked: as its entry says, else as these settings."""
        path = self.health_path if server.health_path is None else server.health_path
        statuses = (
            self.health_statuses if server.health_statuses is None else server.health_statuses
        )
        return HealthCheck(path, statuses)
