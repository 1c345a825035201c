"""How our processes log: one line an event on stderr, time, level and process first."""

import logging
import sys

LINE = "%(asctime)s %(levelname)s %(name)s: %(message)s"
TIME = "%Y-%m-%dT%H:%M:%S"


def configure_logging(level: str) -> None:
    """Log to stderr from now on.

    Args:
        level: `debug`, `info`, `warning` or `error`; what is below it is dropped.
    """
    logging.basicConfig(stream=sys.stderr, level=level.upper(), format=LINE, datefmt=TIME)
