"""Puts a log file aside that has grown too large. The supervisor does; all who write it follow."""

import logging
import os

from fastroute.ipc.logs import LogOptions
from fastroute.recording.rotating_file import put_aside

log = logging.getLogger("supervisor")


def rotate_log(options: LogOptions) -> None:
    """Put the log file aside if it is too large; each process begins the new one by itself.

    A line that a process writes in that moment goes to the file that was put aside.
    """
    path = options.file
    if path is None or not options.max_bytes:
        return
    try:
        if os.stat(path).st_size <= options.max_bytes:
            return
        put_aside(path, options.backups)
    except OSError:
        return  # it is gone, or there is no room; the next look may find it otherwise
    log.info("the log file was put aside")
