"""A log file that the supervisor and its workers write together."""

import logging
import sys
from logging.handlers import WatchedFileHandler


class LogFile(WatchedFileHandler):
    """A log file that several processes append to; one that was renamed is begun anew.

    What it cannot take goes to stderr: a full disk must not hide why a server is down.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        try:
            super().emit(record)
        except OSError:  # it was renamed, and cannot be begun anew
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Write to stderr what could not be written."""
        print(self.format(record), file=sys.stderr, flush=True)  # noqa: T201
