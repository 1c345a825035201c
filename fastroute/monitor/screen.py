"""The terminal: its alternate screen and single key presses, restored when the monitor ends.

Nothing here blocks on the terminal: the supervisor draws on it, and must not be delayed by a
terminal at the end of a stalled connection.
"""

import asyncio
import contextlib
import os
import select
import sys
import termios
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.text import Text

ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[H\x1b[2J"
"""Switch to the alternate screen, hide the cursor, disable wrapping, clear."""
LEAVE = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"
FRAME_BEGIN = "\x1b[H"
ERASE_REST = "\x1b[K"

INPUT_FLAGS, LOCAL_FLAGS, CONTROL_CHARACTERS = 0, 3, 6
"""Indices in the list that termios.tcgetattr returns."""

LEAVE_TIMEOUT = 0.5
"""Seconds for the terminal to accept the remaining output when the monitor leaves it."""


class Screen:
    """The terminal of standard input and output; can be entered and left repeatedly.

    Attributes:
        is_entered: True while the monitor uses the terminal.
        is_lost: True if the terminal is gone, for example because its window was closed.
    """

    def __init__(self) -> None:
        """Prepare, without touching the terminal.

        Raises:
            OSError: The terminal cannot be opened.
        """
        self._input = sys.stdin.fileno()
        # Reopened, because O_NONBLOCK belongs to the open file description, which this process
        # shares with the shell that started it.
        flags = os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
        self._output = os.open(os.ttyname(sys.stdout.fileno()), flags)
        self._console = Console(force_terminal=True, width=80)
        self._before: list[Any] | None = None
        self._unsent = b""
        self._next = b""
        self.is_lost = False

    @property
    def is_entered(self) -> bool:
        return self._before is not None

    def size(self) -> tuple[int, int]:
        """Return columns and lines; 80 and 24 if the terminal does not report them."""
        try:
            size = os.get_terminal_size(self._output)
        except OSError:
            return 80, 24
        return size.columns or 80, size.lines or 24

    def enter(self, on_keys: Callable[[bytes], None]) -> None:
        """Switch the terminal to the monitor.

        Args:
            on_keys: Called with the bytes of typed keys; with none once the terminal is gone.
        """
        try:
            before = termios.tcgetattr(self._input)
            termios.tcsetattr(self._input, termios.TCSANOW, _for_keys(before))
        except (termios.error, OSError):
            self.is_lost = True
            return
        self._before = before
        self._write(ENTER.encode())
        asyncio.get_running_loop().add_reader(self._input, self._read, on_keys)

    def leave(self) -> None:
        """Restore the terminal."""
        if self._before is None:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._input)
        loop.remove_writer(self._output)
        self._write_within_timeout(self._unsent + LEAVE.encode())
        self._unsent = self._next = b""
        with contextlib.suppress(termios.error, OSError):
            # Keys typed ahead were meant for the monitor, not for the shell.
            termios.tcflush(self._input, termios.TCIFLUSH)
            termios.tcsetattr(self._input, termios.TCSANOW, self._before)
        self._before = None

    def close(self) -> None:
        """Leave the terminal for good."""
        self.leave()
        if self._output >= 0:
            os.close(self._output)
            self._output = -1

    def draw(self, lines: list[Text], width: int) -> None:
        """Show lines that fill the terminal; while it stalls, keep only the newest frame."""
        with self._console.capture() as capture:
            self._console.print(Text("\n").join(lines), soft_wrap=True, end="")
        # After a full line the cursor stays on the last cell, which ERASE_REST would erase.
        ends = (ERASE_REST if line.cell_len < width else "" for line in lines)
        drawn = map("".join, zip(capture.get().split("\n"), ends, strict=True))
        frame = (FRAME_BEGIN + "\r\n".join(drawn)).encode(errors="replace")
        if self._unsent:
            self._next = frame
        else:
            self._write(frame)

    def _read(self, on_keys: Callable[[bytes], None]) -> None:
        try:
            data = os.read(self._input, 1024)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._input)
            self.is_lost = True
        on_keys(data)

    def _write(self, data: bytes) -> None:
        try:
            sent = os.write(self._output, data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.is_lost = True
            return
        self._unsent = data[sent:]
        if self._unsent:
            asyncio.get_running_loop().add_writer(self._output, self._flush)

    def _flush(self) -> None:
        asyncio.get_running_loop().remove_writer(self._output)
        data, self._unsent = self._unsent, b""
        self._write(data)
        if not self._unsent and self._next:
            frame, self._next = self._next, b""
            self._write(frame)

    def _write_within_timeout(self, data: bytes) -> None:
        deadline = time.monotonic() + LEAVE_TIMEOUT
        with contextlib.suppress(OSError):
            while data:
                left = max(0.0, deadline - time.monotonic())
                if not select.select([], [self._output], [], left)[1]:
                    return
                data = data[os.write(self._output, data) :]


def _for_keys(before: list[Any]) -> list[Any]:
    """Return settings that deliver single keys without echo; ctrl-c and ctrl-z remain signals."""
    wanted = list(before)
    wanted[LOCAL_FLAGS] &= ~(termios.ECHO | termios.ICANON | termios.IEXTEN)
    # With IXON ctrl-s would stop the screen.
    wanted[INPUT_FLAGS] &= ~termios.IXON
    characters = list(wanted[CONTROL_CHARACTERS])
    characters[termios.VMIN], characters[termios.VTIME] = 1, 0
    # ctrl-\ would end the process without restoring the terminal.
    characters[termios.VQUIT] = b"\0"
    wanted[CONTROL_CHARACTERS] = characters
    return wanted
