"""How our processes log: one line an event, as text or as JSON, on stderr or in a file."""

import logging
import sys
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

LINE = "%(asctime)s %(levelname)s %(name)s: %(message)s"
TIME = "%Y-%m-%dT%H:%M:%S"

LogForm = Literal["text", "json"]


class LogOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How to log, the same for the supervisor and its workers.

    Attributes:
        level: `debug`, `info`, `warning` or `error`; what is below it is dropped.
        form: Of a line.
        file: Path of a file, or None for stderr.
        max_bytes: The size from which the file is put aside; 0 for never.
        backups: How many files that were put aside are kept.
        also_stderr: Whether lines go to stderr too where there is a file: the monitor shows them.
    """

    level: str = "info"
    form: LogForm = "text"
    file: str | None = None
    max_bytes: int = 0
    backups: int = 0
    also_stderr: bool = False


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, process, message, exception if any."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        moment = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, Any] = {
            "time": moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


def configure_logging(options: LogOptions) -> None:
    """Log so from now on.

    Raises:
        OSError: The file cannot be opened.
    """
    handlers: list[logging.Handler] = []
    if options.file is not None:
        from fastroute.ipc.log_file import LogFile

        handlers.append(LogFile(options.file, encoding="utf-8", errors="backslashreplace"))
    if options.file is None or options.also_stderr:
        handlers.append(logging.StreamHandler(sys.stderr))
    formatter = JsonFormatter() if options.form == "json" else logging.Formatter(LINE, TIME)
    for handler in handlers:
        handler.setFormatter(formatter)
    logging.basicConfig(level=options.level.upper(), handlers=handlers)
