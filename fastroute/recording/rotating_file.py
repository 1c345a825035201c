"""A file that lines are appended to, put aside when it has grown, and opened anew when it is moved.

One process writes it, so a line is never torn by another. Writing never waits for a reader of a
pipe: what cannot be written now raises, and the caller tries again.
"""

import contextlib
import os
import select
import stat

from fastroute.ipc.logs import rename_to_backup

STDOUT = "-"


class RotatingFile:
    """A file by its path, or stdout.

    Rotation renames: FILE becomes FILE.1, FILE.1 becomes FILE.2, and so on.
    """

    def __init__(self, path: str, max_bytes: int, backups: int) -> None:
        """Open it.

        Args:
            path: Of the file, or `STDOUT`.
            max_bytes: The size from which it is rotated; 0 for never.
            backups: How many rotated files are kept.

        Raises:
            OSError: It cannot be opened. A pipe that nobody reads yet is no error here.
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
        """Append bytes, as far as they go at once.

        Args:
            data: Whole lines, or the rest of one that was begun.

        Returns:
            How many bytes were written.

        Raises:
            OSError: None could be written; nothing is lost or torn, so try again.
        """
        if self._fd is None:
            self._open()
        assert self._fd is not None, "an open file has a descriptor"
        try:
            return os.write(self._fd, data)
        except BrokenPipeError:
            self.close()  # a reader that comes back needs the pipe opened anew
            raise

    def turn(self, length: int, *, anew: bool = False, may_rotate: bool = True) -> bool:
        """Open it anew where it was moved, and rotate it where it is full.

        Args:
            length: Of what is about to be written.
            anew: Whether to open it anew in any case.
            may_rotate: Whether what was written so far ends with a whole line.

        Returns:
            Whether it is another file now, or none yet.

        Raises:
            OSError: It cannot be opened anew.
        """
        if self.path == STDOUT:
            return False
        if anew or self._fd is None or (self._is_regular and self._was_moved()):
            self.close()
            self._open()
            return True
        if not (self._is_regular and may_rotate and self._max_bytes):
            return False
        # What others wrote or cut off (logrotate's copytruncate) counts as well.
        size = os.fstat(self._fd).st_size
        if not size or size + length <= self._max_bytes:
            return False
        self._rotate()
        return True

    def wait_writable(self, seconds: float) -> None:
        """Wait until a pipe takes more, for at most so long."""
        if self._fd is not None:
            select.select([], [self._fd], [], seconds)

    def close(self) -> None:
        """Close it; stdout stays open, it is not ours."""
        if self._fd is not None and self.path != STDOUT:
            os.close(self._fd)
        self._fd = None

    def _open(self) -> None:
        if self.path == STDOUT:
            self._fd = 1
            return
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            self._fd = os.open(self.path, flags, 0o640)
        except OSError as error:
            if _is_unread_pipe(self.path):
                raise _Unread(error.errno, "nobody reads the pipe") from None
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
    """A pipe that has no reader now."""


def _is_unread_pipe(path: str) -> bool:
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)
    except OSError:
        return False
