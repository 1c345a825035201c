"""Reading of a small file without blocking the event loop.

A hung mount blocks `stat` and `read` for as long as it hangs, and a FIFO blocks `open` until it has
a writer. Either would stop health checks and signal handling if the event loop did the reading.
"""

import os
import stat
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import NamedTuple

from fastroute.errors import ConfigError

READ_TIMEOUT = 5.0
"""Seconds until a file that has not been read counts as unreadable."""

MAX_BYTES = 16 * 1024 * 1024
"""Largest file that is read; a configuration of 10,000 servers has about 1 MB."""

KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFDIR: "a directory",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}

Stamp = tuple[int, int, int]
"""Modification time (ns), inode and size: at least one changes with the content of a file."""


class FileContent(NamedTuple):
    """Content of a file, or only its stamp where that is the known one."""

    stamp: Stamp
    data: bytes | None


Read = Callable[[Path, Stamp | None], FileContent]
"""Reads a file, given its path and the stamp that the caller knows."""


class RegularFile:
    """A regular file at a path, read in a thread of its own, with a time limit.

    The thread is a daemon: a process can end while it hangs. There is never more than one thread
    per file, so a mount that hangs for hours costs one thread.
    """

    __slots__ = ("_read", "_reading", "_timeout", "path")

    def __init__(self, path: Path, timeout: float = READ_TIMEOUT, read: Read | None = None) -> None:
        """Prepare to read.

        Args:
            path: Path of the file; links are followed.
            timeout: Seconds that one reading may take.
            read: Reads it in place of `read_regular`, which only the tests replace.
        """
        self.path = path
        self._timeout = timeout
        self._read = read or read_regular
        self._reading: Future[FileContent] | None = None

    def read(self) -> FileContent:
        """Read the file; block until it is read or the time is over.

        Raises:
            ConfigError: It cannot be read in time, or it is not a regular file.
        """
        reading = self._start(None)
        try:
            return reading.result(self._timeout)
        except TimeoutError:
            raise self._too_slow() from None

    async def read_if_changed(self, known: Stamp | None) -> FileContent:
        """Read the file, unless its stamp is still the known one.

        Args:
            known: Stamp of the content that the caller has, or None to read in any case.

        Raises:
            ConfigError: It cannot be read in time, or it is not a regular file.
        """
        import asyncio  # the command line reads without an event loop; the import takes 20 ms

        reading = self._start(known)
        try:
            async with asyncio.timeout(self._timeout):
                # Shielded: a timeout must not cancel the future that the thread will complete.
                return await asyncio.shield(asyncio.wrap_future(reading))
        except TimeoutError:
            raise self._too_slow() from None

    def _start(self, known: Stamp | None) -> Future[FileContent]:
        if self._reading is not None and not self._reading.done():
            return self._reading
        self._reading = reading = Future[FileContent]()
        name = f"read {self.path}"
        threading.Thread(
            target=self._complete, args=(reading, known), name=name, daemon=True
        ).start()
        return reading

    def _complete(self, reading: Future[FileContent], known: Stamp | None) -> None:
        try:
            reading.set_result(self._read(self.path, known))
        except OSError as error:
            reading.set_exception(ConfigError(f"{self.path}: cannot be read: {error.strerror}"))
        except ConfigError as error:
            reading.set_exception(error)

    def _too_slow(self) -> ConfigError:
        return ConfigError(
            f"{self.path}: cannot be read within {self._timeout:g} s: does its file system hang?"
        )


def read_regular(path: Path, known: Stamp | None) -> FileContent:
    """Read a regular file, unless its stamp is the known one.

    Raises:
        ConfigError: It is not a regular file, or too large.
        OSError: It cannot be read.
    """
    # Without O_NONBLOCK, open() of a FIFO waits for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            kind = KINDS.get(stat.S_IFMT(found.st_mode), "a special file")
            raise ConfigError(f"{path}: is {kind}, not a regular file; give the path of a file")
        if found.st_size > MAX_BYTES:
            raise ConfigError(f"{path}: has {found.st_size} bytes; at most {MAX_BYTES} are read")
        # Taken before the content: a write between the two is then seen the next time.
        stamp = found.st_mtime_ns, found.st_ino, found.st_size
        if stamp == known:
            return FileContent(stamp, None)
        with open(descriptor, "rb", closefd=False) as file:
            return FileContent(stamp, file.read(MAX_BYTES))
    finally:
        os.close(descriptor)
