"""Checks for a terminal on which the monitor can be shown."""

import os
import sys


def has_terminal() -> bool:
    """Return True if there is a terminal to draw on and this process is in its foreground."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    if os.environ.get("TERM", "dumb") == "dumb":
        return False
    return is_foreground()


def is_foreground() -> bool:
    """Return True if this process is in the terminal's foreground process group."""
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except OSError:
        return False
