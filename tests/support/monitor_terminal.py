"""The monitor in a terminal: wait for it, and check that the terminal is restored."""

import contextlib
import re
import shlex
import sys
from collections.abc import Iterator

from tests.support.command import wait_until
from tests.support.tmux import Terminal

FASTROUTE = f"{shlex.quote(sys.executable)} -m fastroute"


def sizes_aside(settings: str) -> str:
    return re.sub(r"rows \d+; columns \d+", "", settings)


@contextlib.contextmanager
def untouched(shell: Terminal) -> Iterator[None]:
    """Assert that the terminal is restored at the end."""
    before = shell.settings()
    yield
    wait_until(lambda: not shell.is_on_other_screen())
    shell.type("echo as be''fore")
    shell.wait_for("as before")
    assert shell.cursor_is_visible()
    assert sizes_aside(shell.settings()) == sizes_aside(before)


def wait_for_monitor(shell: Terminal) -> str:
    wait_until(shell.is_on_other_screen, 20)
    return shell.wait_for("usable")


def fills(shell: Terminal, height: int) -> bool:
    """Return True if the monitor fills the whole screen, once."""
    lines = shell.screen().splitlines()
    places = [number for number, line in enumerate(lines) if line.startswith("q quit")]
    return lines[0].startswith("fastroute ") and places == [height - 1] and "usable" in lines[1]
