"""Logging of supervisor and workers: text or JSON lines, to stderr or to a file that is rotated."""

import contextlib
import logging
import os
import sys
from datetime import UTC, datetime
from enum import StrEnum
from io import TextIOWrapper
from logging.handlers import WatchedFileHandler
from typing import Any

import msgspec

from fastroute.printable import MAX_LINE, printable

LINE = "%(asctime)s %(levelname)s %(name)s: %(message)s"
TIME = "%Y-%m-%dT%H:%M:%S"
INDENT = "    "
"""Start of each line of a traceback: no line that starts otherwise is made up by anybody."""

MAX_TRACEBACK_LINES = 500

FILE_MODE = 0o640
"""Permissions of a new log file: it has names of clients and servers."""

log = logging.getLogger("supervisor")


class LogLevel(StrEnum):
    """Lowest level that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """Format of a log line."""

    TEXT = "text"
    JSON = "json"


class LogOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Log settings, common to the supervisor and its workers.

    Attributes:
        level: Lowest level that is logged.
        form: Format of a line.
        file: Path of a file, or None for stderr.
        max_bytes: Size at which the file is rotated; 0 for never.
        backups: Number of rotated files to keep.
        also_stderr: True to log to stderr as well as to the file, for the monitor.
    """

    level: LogLevel = LogLevel.INFO
    form: LogFormat = LogFormat.TEXT
    file: str | None = None
    max_bytes: int = 0
    backups: int = 0
    also_stderr: bool = False


class TextFormatter(logging.Formatter):
    """Formats lines as text; only the lines of a traceback follow a line, indented."""

    def __init__(self) -> None:
        super().__init__(LINE, TIME)

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line without a traceback."""
        record.message = safe_message(record)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:
        """Return the lines of a traceback."""
        return "\n".join(INDENT + line for line in safe_lines(super().formatException(ei)))


class JsonFormatter(logging.Formatter):
    """Formats lines as JSON: time (UTC), level, logger, process, message, exception if any."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        moment = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, Any] = {
            "time": moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": safe_message(record),
        }
        if record.exc_info:
            line["exception"] = "\n".join(safe_lines(self.formatException(record.exc_info)))
        return msgspec.json.encode(line).decode()


def safe_message(record: logging.LogRecord) -> str:
    """Return the message of a record; texts from outside cannot break the line or fill the disk.

    They come as arguments, or in messages of other packages.
    """
    arguments = record.args
    if isinstance(arguments, tuple):
        arguments = tuple(map(_safe_argument, arguments))
    message = str(record.msg)
    return printable(message % arguments if arguments else message, MAX_LINE)


def safe_lines(traceback: str) -> list[str]:
    """Return the lines of a traceback, whose exceptions may have messages from outside."""
    return [printable(line, MAX_LINE) for line in traceback.split("\n")[:MAX_TRACEBACK_LINES]]


def _safe_argument(value: object) -> object:
    return value if isinstance(value, int | float) else printable(str(value))


class LogFile(WatchedFileHandler):
    """A log file to which several processes append; it is reopened after a rotation.

    Lines that cannot be written go to stderr: a full disk must not hide why a server is down.
    """

    def _open(self) -> TextIOWrapper:
        return open(
            self.baseFilename, "a", encoding=self.encoding, errors=self.errors, opener=_create
        )

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        try:
            super().emit(record)
        except OSError:  # it was rotated, and cannot be reopened
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Write a line to stderr that could not be written to the file."""
        print(self.format(record), file=sys.stderr, flush=True)  # noqa: T201


def _create(path: str, flags: int) -> int:
    return os.open(path, flags, FILE_MODE)


def configure_logging(options: LogOptions) -> None:
    """Configure logging of this process.

    Raises:
        OSError: The file cannot be opened.
    """
    handlers: list[logging.Handler] = []
    if options.file is not None:
        handlers.append(LogFile(options.file, encoding="utf-8", errors="backslashreplace"))
    if options.file is None or options.also_stderr:
        handlers.append(logging.StreamHandler(sys.stderr))
    formatter = JsonFormatter() if options.form == LogFormat.JSON else TextFormatter()
    for handler in handlers:
        handler.setFormatter(formatter)
    logging.basicConfig(level=options.level.upper(), handlers=handlers)


def rotate_log(options: LogOptions) -> None:
    """Rotate the log file if it is too large; each process opens the new one by itself.

    A line that another process writes at that moment goes to the rotated file.
    """
    path = options.file
    if path is None or not options.max_bytes:
        return
    try:
        if os.stat(path).st_size <= options.max_bytes:
            return
        rename_to_backup(path, options.backups)
    except OSError:
        return  # the file is gone, or the disk is full; the next attempt may succeed
    log.info("log file rotated")


def rename_to_backup(path: str, backups: int) -> None:
    """Rename a file to FILE.1, FILE.1 to FILE.2, and so on; delete those beyond `backups`.

    Raises:
        OSError: The file cannot be renamed.
    """
    if not backups:
        os.unlink(path)
        return
    for number in range(backups - 1, 0, -1):
        with contextlib.suppress(FileNotFoundError):
            os.replace(f"{path}.{number}", f"{path}.{number + 1}")
    os.replace(path, f"{path}.1")
