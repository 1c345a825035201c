"""The active settings in the form that requests need."""

from fastroute.config import Config
from fastroute.rules.via import name_in_via


class Settings:
    """The settings of one configuration; a reload replaces the object.

    The settings that each request needs are attributes, because access through `config` is slower.

    Attributes:
        config: All settings.
        client_idle_timeout: Setting of that name, in seconds.
        max_body_bytes: Setting of that name.
        max_header_bytes: Setting of that name, for requests and responses.
        own_name: Name of this router in Via.
        max_retries: Maximum number of attempts after the first.
        retry_on: Causes of a retry.
        records: True if the access log or tracing needs records of ended requests.
        traces: True if a request is traced: for its record, or for `explain`.
    """

    __slots__ = (
        "client_idle_timeout",
        "config",
        "max_body_bytes",
        "max_header_bytes",
        "max_retries",
        "own_name",
        "records",
        "retry_on",
        "traces",
    )

    client_idle_timeout: float
    max_body_bytes: int
    max_header_bytes: int
    max_retries: int

    def __init__(self, config: Config, mark: str = "") -> None:
        """Take the settings.

        Args:
            config: All settings.
            mark: Text that tells this router from others.
        """
        self.config = config
        self.client_idle_timeout = config.client_idle_timeout
        self.max_body_bytes = config.max_body_bytes
        self.max_header_bytes = config.max_header_bytes
        self.max_retries = config.max_retries
        self.own_name = name_in_via(mark)
        self.retry_on = frozenset(config.retry_on)
        self.records: bool = config.access_log != "off" or bool(config.otlp_endpoint)
        self.traces: bool = self.records or config.explain
