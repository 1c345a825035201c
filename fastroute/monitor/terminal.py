"""Whether there is a terminal for the monitor."""

import os
import sys


def has_terminal() -> bool:
    """Whether there is a terminal to draw on, with somebody in front of it."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    if os.environ.get("TERM", "dumb") == "dumb":
        return False
    return is_foreground()


def is_foreground() -> bool:
    """Whether the terminal is ours: to a job in the background it is not."""
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except OSError:
        return False
