"""Standard error while the monitor has the screen: kept as lines, and not written over it.

Everything that is written there, also by workers and by what knows nothing of the monitor, goes
through a pipe. Its writers never wait: a worker that did would delay its clients, so a line for
which there is no room is lost.
"""

import asyncio
import contextlib
import os
import select
from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from fastroute.wording import printable

STDERR = 2
KEPT_LINES = 1_000
SHOWN_AFTER = 10
"""Of the lines that were not seen, so many are written when the monitor ends."""
CHUNK = 65536
PATIENCE = 0.5
"""Seconds that a terminal has to take a line; one that once did not has none, until it does."""


class StderrLines:
    """Takes the place of standard error while the context is entered.

    Attributes:
        kept: The last lines, the newest last.
    """

    def __init__(self) -> None:
        self.kept: deque[str] = deque(maxlen=KEPT_LINES)
        self._unseen: deque[bytes] = deque(maxlen=SHOWN_AFTER)
        self._is_hidden = False
        self._is_stalled = False
        self._rest = b""

    def __enter__(self) -> Self:
        self._real = os.dup(STDERR)
        # Into a file they go at once, whatever the screen shows.
        self._is_terminal = os.isatty(self._real)
        self._output = _opened_anew(self._real) if self._is_terminal else os.dup(self._real)
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
        """Take lines as they come, as long as this lasts; to be used in the running loop."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._reading, self._read)
        try:
            yield
        finally:
            loop.remove_reader(self._reading)

    def hide(self) -> None:
        """Write no more to a terminal: there is something else on it now."""
        self._is_hidden = self._is_terminal

    def show(self) -> None:
        """Write the last lines that were hidden, and from now on all."""
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
        self.kept.append(printable(line.decode("utf-8", "replace")))
        if self._is_hidden:
            self._unseen.append(line + b"\n")
        else:
            self._pass_on(line + b"\n")

    def _pass_on(self, data: bytes) -> None:
        # As logging does: who cannot be told is not told, and goes on.
        with contextlib.suppress(OSError):
            while data and self._has_room():
                with contextlib.suppress(BlockingIOError):
                    data = data[os.write(self._output, data) :]

    def _has_room(self) -> bool:
        patience = 0.0 if self._is_stalled else PATIENCE
        self._is_stalled = not select.select([], [self._output], [], patience)[1]
        return not self._is_stalled


def _opened_anew(terminal: int) -> int:
    """Open a terminal so that writes do not wait; others who have it open are not affected."""
    try:
        return os.open(
            os.ttyname(terminal), os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
        )
    except OSError:
        return os.dup(terminal)  # Its name means nothing in this container: then wait.
