"""Records that workers send to the supervisor, passed to the access log and the span exporter."""

import importlib.util
import logging
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from fastroute.config import Config
from fastroute.errors import ConfigError
from fastroute.ipc.messages import Losses
from fastroute.ipc.request_record import RequestRecord
from fastroute.recording.line_writer import LineWriter
from fastroute.recording.lines import FORMS
from fastroute.recording.rotating_file import STDOUT, RotatingFile

if TYPE_CHECKING:
    from fastroute.recording.span_exporter import SpanExporter

CLOSE_S = 2.0
"""Seconds at shutdown for writing and sending the records that wait."""

CHANGE_S = 0.5
"""The same when settings change; shorter, because it blocks the supervisor's loop."""

SWITCH_INTERVAL_S = 0.0005
"""Seconds after which a thread that makes lines or spans gives way to the supervisor's loop; with
Python's default of 5 ms, each scrape of a server could be delayed as long."""

EXPORTER = "opentelemetry.exporter.otlp.proto.http"

log = logging.getLogger("supervisor")


class Recording:
    """Access log and spans, as set in the active configuration."""

    def __init__(self, *, has_screen: bool = False) -> None:
        """Start with both off.

        Args:
            has_screen: True if the monitor uses stdout, which then cannot take the access log.
        """
        self._has_screen = has_screen
        self._lines: LineWriter | None = None
        self._spans: SpanExporter | None = None
        self._log_settings: tuple[object, ...] = ("off",)
        self._endpoint = ""
        self._lost = Losses()

    def apply(self, config: Config) -> None:
        """Apply the settings of a new configuration.

        Raises:
            ConfigError: They cannot be applied; the old ones stay active.
        """
        settings = (
            *(config.access_log, config.access_log_file),
            *(config.access_log_max_bytes, config.access_log_backups),
        )
        log_changed = settings != self._log_settings
        if config.otlp_endpoint != self._endpoint:
            check_exporter(config)
        lines = self._open_file(config) if log_changed else None
        if config.otlp_endpoint != self._endpoint:
            self._close_spans(CHANGE_S)
            self._endpoint = config.otlp_endpoint
            if self._endpoint:
                from fastroute.recording.span_exporter import SpanExporter

                self._spans = SpanExporter(self._endpoint)
        if log_changed:
            self._close_lines(CHANGE_S)
            self._log_settings = settings
            if lines is not None:
                self._lines = LineWriter(lines, FORMS[config.access_log])
        if self._lines is not None or self._spans is not None:
            sys.setswitchinterval(SWITCH_INTERVAL_S)

    def take(self, records: Iterable[RequestRecord]) -> None:
        """Queue records for the access log and as spans; never wait."""
        if self._lines is not None:
            self._lines.put(records)
        if self._spans is not None:
            self._spans.put(records)

    def reopen(self) -> None:
        """Reopen the access log's file by its path."""
        if self._lines is not None:
            self._lines.reopen()

    def losses(self) -> Losses:
        """Return the numbers of lines and spans that were lost so far."""
        lines = 0 if self._lines is None else self._lines.lost
        spans = 0 if self._spans is None else self._spans.lost
        return Losses(lines=self._lost.lines + lines, spans=self._lost.spans + spans)

    def close(self) -> None:
        """Write and send the records that wait, then stop both."""
        self._close_lines(CLOSE_S)
        self._close_spans(CLOSE_S)

    def _open_file(self, config: Config) -> RotatingFile | None:
        path = config.access_log_file
        if config.access_log == "off":
            return None
        if path == STDOUT and self._has_screen:
            raise ConfigError(
                "the access log cannot go to stdout, which the monitor uses: "
                "set access_log_file, or start with --console"
            )
        try:
            return RotatingFile(path, config.access_log_max_bytes, config.access_log_backups)
        except OSError as error:
            raise ConfigError(
                f"access_log_file {path}: cannot be written: {error.strerror}"
            ) from None

    def _close_lines(self, seconds: float) -> None:
        if self._lines is not None:
            self._lines.close(seconds)
            self._lost = Losses(lines=self._lost.lines + self._lines.lost, spans=self._lost.spans)
            self._lines = None

    def _close_spans(self, seconds: float) -> None:
        if self._spans is not None:
            self._spans.close(seconds)
            self._lost = Losses(lines=self._lost.lines, spans=self._lost.spans + self._spans.lost)
            self._spans = None


def check_exporter(config: Config) -> None:
    """Check that the OpenTelemetry exporter is installed if `otlp_endpoint` is set.

    Raises:
        ConfigError: It is not installed.
    """
    if config.otlp_endpoint and not _is_installed(EXPORTER):
        raise ConfigError(
            "otlp_endpoint needs an optional dependency: pip install 'fastroute[otel]'"
        )


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
