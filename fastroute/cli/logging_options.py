"""Options of `fastroute run` that say what is written down, and where."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from fastroute.cli.options import Override
from fastroute.config import AccessLogForm, Config, check_options
from fastroute.ipc.logs import LogFormat, LogLevel

LogLevelOption = Annotated[
    LogLevel, typer.Option(case_sensitive=False, help="Log this and everything more serious.")
]
LogFormatOption = Annotated[
    LogFormat, typer.Option(case_sensitive=False, help="What a log line looks like.")
]
LogFileOption = Annotated[Path | None, typer.Option(help="Log to a file.", show_default="stderr")]
LogMaxBytesOption = Annotated[
    int, typer.Option(min=0, help="Size at which the log file is put aside; 0 for never.")
]
LogBackupsOption = Annotated[
    int, typer.Option(min=0, max=1000, help="How many log files put aside are kept.")
]
AccessLogOption = Annotated[
    AccessLogForm | None,
    typer.Option(
        case_sensitive=False, help="Write each request down.", show_default="as in the file"
    ),
]
AccessLogFileOption = Annotated[
    str | None,
    typer.Option(metavar="PATH|-", help="Where to; - is stdout.", show_default="as in the file"),
]


def overrides(**options: str | None) -> Override:
    """Return what puts settings of the command line in force; those that are None stay.

    Raises:
        ConfigError: One cannot be used.
    """
    given = {name: str(value) for name, value in options.items() if value is not None}
    check_options(given)
    return lambda config: msgspec.structs.replace(config, **given)


def fills_stdout(config: Config) -> bool:
    """Whether stdout is for the access log, and so not for the monitor."""
    return config.access_log != "off" and config.access_log_file == "-"
