"""servers.toml: servers and settings, with defaults, ranges, units and descriptions.

Each setting is one field of `Config`; the field's type has its range, unit and description.
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
    """Format of the access log: off, for people, or for programs."""

    OFF = "off"
    TEXT = "text"
    JSON = "json"


# More than 20 scrapes per second would load a server without better decisions.
ScrapeSeconds = Annotated[float, limits("seconds", 0.05, DAY)]
RetryReason = Annotated[str, choice(RETRY_REASONS)]
MODELS_FORM = form('must be a list of names such as [ "llama3.1:8b" ]')
ModelName = Annotated[str, Meta(min_length=1, max_length=1000)]
# Only characters that are valid in a header.
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
        about("URL of the server. With +dns, every address of the DNS name is a server."),
    ]
    max_concurrent_requests: Annotated[
        int,
        limits("requests", 1, 1_000_000),
        about(
            "Capacity: number of requests the server runs at once. It determines its share of the "
            "load."
        ),
    ] = 8
    models: Annotated[
        Annotated[tuple[ModelName, ...], Meta(min_length=1)] | None,
        MODELS_FORM,
        about("Models that the server has; by default the server is asked."),
    ] = None
    api_key: Annotated[
        SecretText | None,
        Meta(extra={"allowed": KEY_FORM, "secret": True}),
        about("Key that is sent to the server instead of the client's."),
    ] = None
    api_key_env: Annotated[
        ModelName | None,
        form("must be the name of an environment variable"),
        about("Environment variable with the key, read whenever the file is read."),
    ] = None
    weight: Annotated[
        float,
        limits("", 0.001, 1000),
        about("Factor for its share of the load, in addition to max_concurrent_requests."),
    ] = 1.0
    drain: Annotated[
        bool,
        form("must be true or false"),
        about("True to send no new requests to it and let it finish those in flight."),
    ] = False
    health_path: Annotated[
        HealthPath | None,
        form(HEALTH_PATH_FORM),
        about("Path of its health check, instead of the one in [config]."),
    ] = None
    health_statuses: Annotated[
        Statuses | None,
        form(STATUSES_FORM),
        about("Statuses of a successful health check, instead of those in [config]."),
    ] = None
    discovered_from: str | None = None
    """URL, with +dns, of the entry from which it was expanded; not a key of the file."""

    @functools.cached_property
    def address(self) -> ServerAddress:
        """Parsed URL."""
        return ServerAddress.from_url(self.url)

    @functools.cached_property
    def called(self) -> ServerAddress:
        """Address for the Host header and for verification of the server's certificate."""
        return ServerAddress.from_url(self.discovered_from or self.url)


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings: `servers` from section [servers], the others from section [config]."""

    servers: tuple[ServerConfig, ...]
    policy: Annotated[
        str,
        choice(POLICIES),
        about("Policy that chooses one of the usable servers."),
    ] = "load"
    scrape_interval: Annotated[
        ScrapeSeconds,
        about("Time between two scrapes of a server's metrics."),
    ] = 1.0
    scrape_timeout: Annotated[
        Seconds,
        about("Timeout of a scrape."),
    ] = 2.0
    waiting_weight: Annotated[
        float,
        limits("running requests", 0, 100),
        about("Load of a request that waits in a server's queue."),
    ] = 0.5
    busy_threshold: Annotated[
        float,
        limits("", 0, 1000),
        about("Score from which a server is busy; servers below it are preferred."),
    ] = 0.5
    aliases: Annotated[
        dict[ModelName, ModelName],
        form('must be a table such as { "gpt-4o" = "llama3.1:8b" }'),
        about("Other names of models; the server gets the name on the right."),
    ] = {}
    models_refresh_interval: Annotated[
        Seconds,
        about("Time between two requests to a server for its models."),
    ] = 30.0
    dns_interval: Annotated[
        float,
        limits("seconds", 0.1, DAY),
        about("Time between two resolutions of a discovered name (http+dns://)."),
    ] = 5.0
    dns_hold: Annotated[
        SecondsOrZero,
        about("Time without any address of a name after which its last servers are removed."),
    ] = 30.0
    health_check_interval: Annotated[
        Seconds,
        about("Time between two health checks of a server."),
    ] = 10.0
    health_check_timeout: Annotated[
        Seconds,
        about("Timeout of a health check."),
    ] = 10.0
    enable_active_health_check: Annotated[
        bool,
        form("must be true or false"),
        about(
            "True for active health checks; if false, only requests take a server out of service."
        ),
    ] = True
    health_path: Annotated[
        HealthPath,
        form(HEALTH_PATH_FORM),
        about(
            "Path of a health check. A server that answers /health with 404, 405 or 501 is asked "
            "for /v1/models."
        ),
    ] = DEFAULT_PATH
    health_statuses: Annotated[
        Statuses,
        form(STATUSES_FORM),
        about("Statuses of a successful health check; none for any 2xx."),
    ] = ()
    health_check_consecutive_failures: Annotated[
        int,
        limits("checks", 1, 1000),
        about("Number of failed health checks in a row that mark a server down."),
    ] = 3
    health_check_window_size: Annotated[
        int,
        limits("checks", 1, 10_000),
        about("Number of health checks from which success rate and response time are computed."),
    ] = 10
    health_check_min_success_rate: Annotated[
        float,
        limits("", 0, 1),
        about("Share of successful health checks below which a server is marked down."),
    ] = 0.5
    health_check_max_response_time: Annotated[
        Seconds,
        about("Mean response time of health checks above which a server is marked down."),
    ] = 10.0
    failure_threshold: Annotated[
        int,
        limits("moments", 1, 1000),
        about(
            "Number of moments with failed requests within 30 s from which a server is ejected, if "
            "it fails more than the other servers of the model (circuit breaker)."
        ),
    ] = 5
    max_ejection_percent: Annotated[
        float,
        limits("percent", 0, 100),
        about(
            "Largest share of a model's servers that failed requests eject at the same time; never "
            "the last usable one."
        ),
    ] = 50.0
    auto_recovery_threshold: Annotated[
        Seconds,
        about("Maximum time until an ejected server is tried again."),
    ] = 60.0
    stall_timeout: Annotated[
        SecondsOrZero,
        about(
            "Time without a byte and without a token after which a server with waiting requests is "
            "ejected, if other servers make progress."
        ),
    ] = 60.0
    request_timeout: Annotated[
        Seconds,
        about("Timeout of a server: time without a byte, before the first one and between two."),
    ] = 120.0
    max_retries: Annotated[
        int,
        limits("attempts", 0, 100),
        about("Maximum number of retries, all of them before the first byte for the client."),
    ] = 3
    retry_on: Annotated[
        tuple[RetryReason, ...],
        form(f"must be a list of some of {listed(RETRY_REASONS)}"),
        about("Causes of a retry on another server: failures, and statuses of responses."),
    ] = RETRY_REASONS
    connect_timeout: Annotated[
        Seconds,
        about("Timeout for connecting to a server, including TLS."),
    ] = 2.0
    tcp_timeout: Annotated[
        SecondsOrZero,
        about(
            "Time without an acknowledgement from the network after which a connection to a "
            "client or a server is closed (TCP keepalive, TCP_USER_TIMEOUT); 0 for the system's "
            "default."
        ),
    ] = 60.0
    pool_idle_timeout: Annotated[
        SecondsOrZero,
        about(
            "Time that an idle connection to a server is kept for reuse; vLLM closes it after 5."
        ),
    ] = 4.0
    client_idle_timeout: Annotated[
        Seconds,
        about("Timeout of a client's connection between two requests."),
    ] = 75.0
    client_header_timeout: Annotated[
        Seconds,
        about("Timeout for the headers of a request."),
    ] = 10.0
    client_body_timeout: Annotated[
        Seconds,
        about("Timeout between two pieces of a request's body."),
    ] = 30.0
    client_min_rate: Annotated[
        float,
        limits("bytes per second", 0, 1 << 30),
        about("Minimum upload rate of a body, in each client_body_timeout; 0 for none."),
    ] = 500.0
    max_header_bytes: Annotated[
        int,
        limits("bytes", 1024, 16 << 20),
        about("Maximum size of the headers of a request, and of a response."),
    ] = 65_536
    max_body_bytes: Annotated[
        int,
        limits("bytes", 1, 1 << 40),
        about("Maximum size of a request's body."),
    ] = 67_108_864
    max_buffered_bytes: Annotated[
        int,
        limits("bytes", 1 << 20, 1 << 40),
        about("Maximum size of all request bodies that a worker keeps; beyond it, 503."),
    ] = 1_073_741_824
    max_connections: Annotated[
        int,
        limits("connections", 1, 1_000_000),
        about("Maximum number of client connections per worker."),
    ] = 20_000
    max_connections_per_address: Annotated[
        int,
        limits("connections", 0, 1_000_000),
        about("Maximum number of them per client address; 0 for no limit."),
    ] = 0
    drain_timeout: Annotated[
        SecondsOrZero,
        about("Graceful shutdown: time for requests in flight to finish after SIGTERM or SIGINT."),
    ] = 30.0
    config_reload_interval: Annotated[
        float,
        limits("seconds", 0.1, DAY),
        about("Time between two checks of this file for changes."),
    ] = 1.0
    admin_port: Annotated[
        int,
        limits("", 0, 65535),
        about("Separate TCP port for /health, /metrics and the like; needs a restart."),
    ] = 0
    access_log: Annotated[
        AccessLogForm,
        form(f"must be one of {listed(AccessLogForm)}"),
        about("Format of the access log, one line per request."),
    ] = AccessLogForm.OFF
    access_log_file: Annotated[
        FilePath,
        form('must be the path of a file, or "-" for stdout'),
        about("File of the access log."),
    ] = "-"
    access_log_max_bytes: Annotated[
        int,
        limits("bytes", 0, 1 << 40),
        about("Size at which the access log's file is rotated."),
    ] = 104_857_600
    access_log_backups: Annotated[
        int,
        limits("files", 0, 1000),
        about("Number of rotated access log files to keep."),
    ] = 5
    explain: Annotated[
        bool,
        form("must be true or false"),
        about("True to say in x-fastroute-... response headers which server was chosen, and why."),
    ] = False
    otlp_endpoint: Annotated[
        OtlpEndpoint,
        form('must be an http:// or https:// URL without user name and password, or ""'),
        about("OpenTelemetry collector that receives a span per request, over OTLP/HTTP."),
    ] = ""
    otlp_sample_ratio: Annotated[
        float,
        limits("", 0, 1),
        about("Share of the requests without a traceparent that get a span."),
    ] = 1.0

    def health_check_of(self, server: ServerConfig) -> HealthCheck:
        """Return the health check of a server: its entry takes precedence over these settings."""
        path = self.health_path if server.health_path is None else server.health_path
        statuses = (
            self.health_statuses if server.health_statuses is None else server.health_statuses
        )
        return HealthCheck(path, statuses)
