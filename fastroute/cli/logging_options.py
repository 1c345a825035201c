"""Options of `fastroute run` for logs and access logs."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from fastroute.cli.options import Override
from fastroute.config import AccessLogForm, Config, check_options
from fastroute.ipc.logs import LogFormat, LogLevel, LogOptions

LogLevelOption = Annotated[
    LogLevel, typer.Option(case_sensitive=False, help="Minimum level of log lines.")
]
LogFormatOption = Annotated[
    LogFormat, typer.Option(case_sensitive=False, help="Format of log lines.")
]
LogFileOption = Annotated[
    Path | None, typer.Option(help="Log to this file instead of stderr.", show_default="stderr")
]
LogMaxBytesOption = Annotated[
    int, typer.Option(min=0, help="Size at which the log file is rotated; 0 for never.")
]
LogBackupsOption = Annotated[
    int, typer.Option(min=0, max=1000, help="Number of rotated log files to keep.")
]
AccessLogOption = Annotated[
    AccessLogForm | None,
    typer.Option(
        case_sensitive=False,
        help="Format of the access log, one line per request.",
        show_default="as in the file",
    ),
]
AccessLogFileOption = Annotated[
    str | None,
    typer.Option(
        metavar="PATH|-",
        help="File of the access log; - for stdout.",
        show_default="as in the file",
    ),
]


def log_options(
    level: LogLevel, form: LogFormat, file: Path | None, max_bytes: int, backups: int
) -> LogOptions:
    """Return the log options that the command line names."""
    return LogOptions(
        level=level,
        form=form,
        file=None if file is None else str(file),
        max_bytes=max_bytes,
        backups=backups,
    )


def overrides(**options: str | None) -> Override:
    """Return a function that applies the given settings to a configuration; None changes nothing.

    Raises:
        ConfigError: A setting is invalid.
    """
    given = {name: str(value) for name, value in options.items() if value is not None}
    check_options(given)
    return lambda config: msgspec.structs.replace(config, **given)


def fills_stdout(config: Config) -> bool:
    """Return True if the access log uses stdout, so that the monitor cannot."""
    return config.access_log != "off" and config.access_log_file == "-"
