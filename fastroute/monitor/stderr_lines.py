"""Standard error while the monitor uses the screen: lines are kept instead of written over it.

All output to standard error, also from workers and from code unaware of the monitor, goes through
a pipe. Writes to it never block: a blocked worker would delay its clients, so a line that does
not fit into the pipe is lost.
"""

import asyncio
import contextlib
import os
import select
from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from fastroute.printable import MAX_LINE, printable

STDERR = 2
KEPT_LINES = 1_000
SHOWN_AFTER = 10
"""Number of hidden lines that are written when the monitor ends: the newest."""
CHUNK = 65536
STALL_TIMEOUT = 0.5
"""Seconds to wait for a terminal to accept a line. A terminal that has stalled is not waited for
again until it accepts output."""


class StderrLines:
    """Replaces standard error while the context is entered.

    Attributes:
        kept: The last lines, newest last.
    """

    def __init__(self) -> None:
        self.kept: deque[str] = deque(maxlen=KEPT_LINES)
        self._unseen: deque[bytes] = deque(maxlen=SHOWN_AFTER)
        self._is_hidden = False
        self._is_stalled = False
        self._rest = b""

    def __enter__(self) -> Self:
        self._real = os.dup(STDERR)
        # Lines for a file are written immediately, whatever the screen shows.
        self._is_terminal = os.isatty(self._real)
        self._output = _reopened(self._real) if self._is_terminal else os.dup(self._real)
        self._reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.dup2(writing, STDERR)
        os.close(writing)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.dup2(self._real, STDERR)
        self._read()
        self.show()
        self._pass_on(self._rest)
        for descriptor in (self._reading, self._output, self._real):
            os.close(descriptor)

    @contextlib.contextmanager
    def followed(self) -> Iterator[None]:
        """Read lines as they arrive, until the context exits. Enter it in the running loop."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._reading, self._read)
        try:
            yield
        finally:
            loop.remove_reader(self._reading)

    def hide(self) -> None:
        """Stop writing to the terminal, on which the monitor is shown now."""
        self._is_hidden = self._is_terminal

    def show(self) -> None:
        """Write the last hidden lines, and every line from now on."""
        self._is_hidden = False
        while self._unseen:
            self._pass_on(self._unseen.popleft())

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._reading, CHUNK):
                *lines, self._rest = (self._rest + data).split(b"\n")
                for line in lines:
                    self._take(line)

    def _take(self, line: bytes) -> None:
        shown = printable(line.decode("utf-8", "replace"), MAX_LINE)
        self.kept.append(shown)
        if self._is_terminal:
            line = shown.encode("utf-8", "replace")
        if self._is_hidden:
            self._unseen.append(line + b"\n")
        else:
            self._pass_on(line + b"\n")

    def _pass_on(self, data: bytes) -> None:
        # As in the logging module, a line that cannot be written is dropped without an error.
        with contextlib.suppress(OSError):
            while data and self._is_writable():
                with contextlib.suppress(BlockingIOError):
                    data = data[os.write(self._output, data) :]

    def _is_writable(self) -> bool:
        timeout = 0.0 if self._is_stalled else STALL_TIMEOUT
        self._is_stalled = not select.select([], [self._output], [], timeout)[1]
        return not self._is_stalled


def _reopened(terminal: int) -> int:
    """Open a terminal for non-blocking writes, without changing it for other processes."""
    try:
        return os.open(
            os.ttyname(terminal), os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
        )
    except OSError:
        return os.dup(terminal)  # Its name is unknown in this container: writes may block.
