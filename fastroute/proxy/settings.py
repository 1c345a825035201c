"""The active settings, in the form in which requests look at them."""

from fastroute.config import Config


class Settings:
    """The settings of one configuration; another one makes another object.

    Attributes:
        config: All of them.
        client_idle_timeout: In seconds; like the next four it is looked at for each request.
        max_body_bytes: As configured, as are the next two.
        max_header_bytes: For a request and for a response.
        max_retries: Number of attempts after the first.
        retry_on: As a set.
        records: True if somebody wants records of ended requests.
        traces: True if a request is traced: for its record, or for `explain`.
    """

    __slots__ = (
        "client_idle_timeout",
        "config",
        "max_body_bytes",
        "max_header_bytes",
        "max_retries",
        "records",
        "retry_on",
        "traces",
    )

    client_idle_timeout: float
    max_body_bytes: int
    max_header_bytes: int
    max_retries: int

    def __init__(self, config: Config) -> None:
        self.config = config
        self.client_idle_timeout = config.client_idle_timeout
        self.max_body_bytes = config.max_body_bytes
        self.max_header_bytes = config.max_header_bytes
        self.max_retries = config.max_retries
        self.retry_on = frozenset(config.retry_on)
        self.records: bool = config.access_log != "off" or bool(config.otlp_endpoint)
        self.traces: bool = self.records or config.explain
