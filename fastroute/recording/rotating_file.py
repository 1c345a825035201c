"""A file to which lines are appended; it is rotated by size and reopened after it was moved.

Only one process writes it, so lines are not interleaved. Writing to a pipe never waits for its
reader: it raises an exception, and the caller retries.
"""

import contextlib
import os
import select
import stat

from fastroute.ipc.logs import FILE_MODE, rename_to_backup

STDOUT = "-"


class RotatingFile:
    """A file, given by its path, or stdout.

    Rotation renames FILE to FILE.1, FILE.1 to FILE.2, and so on.
    """

    def __init__(self, path: str, max_bytes: int, backups: int) -> None:
        """Open the file.

        Args:
            path: Path of the file, or `STDOUT`.
            max_bytes: Size at which the file is rotated; 0 for never.
            backups: Number of rotated files to keep.

        Raises:
            OSError: The file cannot be opened. A pipe without a reader is not an error here.
        """
        self.path = path
        self._max_bytes = max_bytes
        self._backups = backups
        self._fd: int | None = None
        self._is_regular = False
        self._inode = (0, 0)
        with contextlib.suppress(_Unread):
            self._open()

    def write(self, data: memoryview) -> int:
        """Append as many bytes as can be written without waiting.

        Args:
            data: Complete lines, or the rest of a line whose start was written.

        Returns:
            Number of bytes that were written.

        Raises:
            OSError: No byte was written; the caller may retry.
        """
        if self._fd is None:
            self._open()
        assert self._fd is not None, "an open file has a descriptor"
        try:
            return os.write(self._fd, data)
        except BrokenPipeError:
            self.close()  # for a reader that comes back, the pipe must be reopened
            raise

    def prepare(self, length: int, *, reopen: bool = False, may_rotate: bool = True) -> bool:
        """Reopen the file if it was moved, and rotate it if the next lines would be too much.

        Args:
            length: Number of bytes that are written next.
            reopen: True to reopen it in any case.
            may_rotate: True if the last line in the file is complete.

        Returns:
            True if the next bytes go to another file than the last ones.

        Raises:
            OSError: The file cannot be reopened.
        """
        if self.path == STDOUT:
            return False
        if reopen or self._fd is None or (self._is_regular and self._was_moved()):
            self.close()
            self._open()
            return True
        if not (self._is_regular and may_rotate and self._max_bytes):
            return False
        # Ask for the size: other programs may have changed it (logrotate's copytruncate).
        size = os.fstat(self._fd).st_size
        if not size or size + length <= self._max_bytes:
            return False
        self._rotate()
        return True

    def wait_writable(self, seconds: float) -> None:
        """Wait until a pipe accepts more bytes, at most `seconds`."""
        if self._fd is not None:
            select.select([], [self._fd], [], seconds)

    def close(self) -> None:
        """Close the file; stdout stays open, because others use it too."""
        if self._fd is not None and self.path != STDOUT:
            os.close(self._fd)
        self._fd = None

    def _open(self) -> None:
        if self.path == STDOUT:
            self._fd = 1
            return
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            self._fd = os.open(self.path, flags, FILE_MODE)
        except OSError as error:
            if _is_unread_pipe(self.path):
                raise _Unread(error.errno, "the pipe has no reader") from None
            raise
        found = os.fstat(self._fd)
        self._is_regular = stat.S_ISREG(found.st_mode)
        self._inode = (found.st_dev, found.st_ino)

    def _was_moved(self) -> bool:
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            return True
        return (found.st_dev, found.st_ino) != self._inode

    def _rotate(self) -> None:
        rename_to_backup(self.path, self._backups)
        self.close()
        self._open()


class _Unread(OSError):
    """The pipe has no reader now."""


def _is_unread_pipe(path: str) -> bool:
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)
    except OSError:
        return False
