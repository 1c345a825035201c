"""Writing of the access log in a separate thread, so that a slow or full disk delays no request."""

import logging
import threading
from collections.abc import Callable, Iterable
from time import monotonic

from fastroute.ipc.request_record import RequestRecord
from fastroute.recording.backlog import Backlog
from fastroute.recording.rotating_file import RotatingFile

BACKLOG = 20_000
"""Maximum number of records, of about 1 KB each, that wait while the disk is full or slow."""

BATCH = 50
"""Number of lines that are written together, all to the same file."""

RETRY_S = 0.2
"""Seconds between two attempts to write."""

PATIENCE_S = 1.0
"""Seconds of failed writes after which an error is logged; a reader may be slow for a moment."""

log = logging.getLogger("access_log")


class LineWriter:
    """Writer of the access log to one file, in one format."""

    def __init__(
        self, file: RotatingFile, form: Callable[[RequestRecord], bytes], backlog: int = BACKLOG
    ) -> None:
        """Start the thread.

        Args:
            file: The file; the writer closes it.
            form: Formats a record as a line.
            backlog: Maximum number of records that wait to be written.
        """
        self._file = file
        self._form = form
        self._backlog = Backlog(backlog)
        self._must_reopen = False
        self._failing_since: float | None = None
        self._has_logged_failure = False
        self._reported_lost = 0
        # A daemon thread: a write that never returns must not keep the process from exiting.
        self._thread = threading.Thread(target=self._run, name="access log", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> int:
        """Number of lines that could not be written."""
        return self._backlog.lost

    def put(self, records: Iterable[RequestRecord]) -> None:
        """Queue records for writing; never wait."""
        self._backlog.put(records)

    def reopen(self) -> None:
        """Make the thread reopen the file by its path, even if there is nothing to write."""
        self._must_reopen = True
        self._backlog.wake()

    def close(self, seconds: float) -> None:
        """Write the waiting records within `seconds`; those that remain are lost."""
        self._backlog.end()
        self._thread.join(seconds)
        self._backlog.give_up(len(self._backlog))
        lost = self._backlog.lost - self._reported_lost
        if lost:
            log.error("access log %s: lines lost: %d", self._file.path, lost)

    def _run(self) -> None:
        while True:
            records = self._backlog.take(BATCH)
            if records:
                self._write(b"".join(map(self._form, records)))
            elif self._must_reopen:
                self._try(self._prepare, 0)
            elif self._backlog.has_ended:
                break
        self._file.close()

    def _write(self, data: bytes) -> None:
        """Write lines; retry until they are written or the backlog has ended."""
        position = 0
        while position < len(data):
            if not position or self._must_reopen or self._failing_since is not None:
                line = data.rfind(b"\n", 0, position) + 1
                if self._try(self._prepare, len(data) - line, position == line):
                    position = line  # the line was started in the file that is closed now
            written = self._try(self._file.write, memoryview(data)[position:])
            if written:
                position += written
                self._note_success()
            elif self._backlog.has_ended:
                self._backlog.give_up(data.count(b"\n", position))
                return

    def _prepare(self, length: int, may_rotate: bool = True) -> int:
        is_another = self._file.prepare(length, reopen=self._must_reopen, may_rotate=may_rotate)
        self._must_reopen = False
        return is_another

    def _try(self, work: Callable[..., int], *arguments: object) -> int:
        """Return the result of an operation; after an OSError wait a little and return 0."""
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
        elif now - self._failing_since >= PATIENCE_S and not self._has_logged_failure:
            self._has_logged_failure = True
            log.error(
                "access log %s: %s; up to %d lines wait in memory, further lines are lost",
                *(self._file.path, error.strerror, BACKLOG),
            )

    def _note_success(self) -> None:
        self._failing_since = None
        lost = self._backlog.lost - self._reported_lost
        if self._has_logged_failure or lost:
            self._has_logged_failure = False
            self._reported_lost += lost
            log.warning("access log %s is written again; lines lost: %d", self._file.path, lost)
