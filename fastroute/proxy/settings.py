"""The active settings, in the form in which requests look at them."""

from fastroute.config import Config


class Settings:
    """The settings of one configuration; another one makes another object.

    Attributes:
        config: All of them.
        client_idle_timeout: In seconds; like the next two it is looked at for each request.
        max_retries: As configured.
        retry_on: As a set.
        records: True if somebody wants records of ended requests.
        traces: True if a request is traced: for its record, or for `explain`.
    """

    __slots__ = (
        "client_idle_timeout",
        "config",
        "max_retries",
        "records",
        "retry_on",
        "traces",
    )

    client_idle_timeout: float
    max_retries: int

    def __init__(self, config: Config) -> None:
        self.config = config
        self.client_idle_timeout = config.client_idle_timeout
        self.max_retries = config.max_retries
        self.retry_on = frozenset(config.retry_on)
        self.records: bool = config.access_log != "off" or bool(config.otlp_endpoint)
        self.traces: bool = self.records or config.explain
