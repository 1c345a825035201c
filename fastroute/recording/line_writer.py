"""Writes the access log from a thread of its own, so that a slow or full disk holds up nobody."""

import logging
import threading
from collections.abc import Callable, Iterable
from time import monotonic

from fastroute.ipc.request_record import RequestRecord
from fastroute.recording.backlog import Backlog
from fastroute.recording.rotating_file import RotatingFile

BACKLOG = 20_000
"""Records, of some 1 KB each, that wait for a disk that is full or slow."""

BATCH = 50
"""Lines that are written at once, and never to two files."""

RETRY_S = 0.2
"""Seconds between two tries to write."""

PATIENCE_S = 1.0
"""Seconds that writing may fail before it is complained of; a reader may be slow for a moment."""

log = logging.getLogger("access_log")


class LineWriter:
    """The access log as it is written to one file, in one form."""

    def __init__(
        self, file: RotatingFile, form: Callable[[RequestRecord], bytes], backlog: int = BACKLOG
    ) -> None:
        """Begin to write.

        Args:
            file: Where; ours to close from now on.
            form: Makes a line of a record.
            backlog: How many records may wait.
        """
        self._file = file
        self._form = form
        self._backlog = Backlog(backlog)
        self._must_reopen = False
        self._failing_since: float | None = None
        self._has_complained = False
        self._told_lost = 0
        # A daemon: a write that never returns must not keep the process from its end.
        self._thread = threading.Thread(target=self._run, name="access log", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> int:
        """How many lines could not be written."""
        return self._backlog.lost

    def put(self, records: Iterable[RequestRecord]) -> None:
        """Have records written soon; never waits."""
        self._backlog.put(records)

    def reopen(self) -> None:
        """Have the file opened anew by its name, also if there is nothing to write."""
        self._must_reopen = True
        self._backlog.wake()

    def close(self, seconds: float) -> None:
        """Write what waits, for at most so long; what is left then is lost."""
        self._backlog.end()
        self._thread.join(seconds)
        self._backlog.give_up(len(self._backlog))
        lost = self._backlog.lost - self._told_lost
        if lost:
            log.error("access log %s: lines lost: %d", self._file.path, lost)

    def _run(self) -> None:
        while True:
            records = self._backlog.take(BATCH)
            if records:
                self._write(b"".join(map(self._form, records)))
            elif self._must_reopen:
                self._try(self._turn, 0)
            elif self._backlog.has_ended:
                break
        self._file.close()

    def _write(self, data: bytes) -> None:
        """Write lines, and keep at it until they are written or the end has come."""
        position = 0
        while position < len(data):
            if not position or self._must_reopen or self._failing_since is not None:
                line = data.rfind(b"\n", 0, position) + 1
                if self._try(self._turn, len(data) - line, position == line):
                    position = line  # the line that was begun stands in the file that is gone
            written = self._try(self._file.write, memoryview(data)[position:])
            if written:
                position += written
                self._note_success()
            elif self._backlog.has_ended:
                self._backlog.give_up(data.count(b"\n", position))
                return

    def _turn(self, length: int, may_rotate: bool = True) -> int:
        is_another = self._file.turn(length, anew=self._must_reopen, may_rotate=may_rotate)
        self._must_reopen = False
        return is_another

    def _try(self, work: Callable[..., int], *arguments: object) -> int:
        """Do what may fail for a while; after a failure wait a little, and return 0."""
        try:
            return work(*arguments)
        except BlockingIOError as error:
            self._note_failure(error)
            self._file.wait_writable(RETRY_S)
        except OSError as error:
            self._note_failure(error)
            self._backlog.pause(RETRY_S)
        return 0

    def _note_failure(self, error: OSError) -> None:
        now = monotonic()
        if self._failing_since is None:
            self._failing_since = now
        elif now - self._failing_since >= PATIENCE_S and not self._has_complained:
            self._has_complained = True
            log.error(
                "access log %s: %s; lines wait, %d at most, and beyond that are lost",
                *(self._file.path, error.strerror, BACKLOG),
            )

    def _note_success(self) -> None:
        self._failing_since = None
        lost = self._backlog.lost - self._told_lost
        if self._has_complained or lost:
            self._has_complained = False
            self._told_lost += lost
            log.warning("access log %s is written again; lines lost: %d", self._file.path, lost)
