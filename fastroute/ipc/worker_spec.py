"""What a worker process is started with, and the command line that says so."""

import sys
from typing import Self

import msgspec

from fastroute.ipc.logs import LogOptions

# What is imported stays: to look for garbage meanwhile takes a tenth of the start.
PROGRAM = "import gc; gc.disable(); from fastroute.cli.run_worker import main; main()"


class WorkerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is started with.

    Attributes:
        index: Its place among the workers.
        listen_fd: Where to listen; this and the next are descriptors it inherits.
        table_fd: The score table.
        admin_fd: Where to serve fastroute's own endpoints, or None for the same place.
        logs: How to log.
        channel_fd: Its end of the channel to the supervisor; -1 as long as there is none.
    """

    index: int
    listen_fd: int
    table_fd: int
    admin_fd: int | None
    logs: LogOptions
    channel_fd: int = -1

    @property
    def command(self) -> list[str]:
        """The command line; the descriptors must be passed on."""
        return [sys.executable, "-c", PROGRAM, msgspec.json.encode(self).decode()]

    @classmethod
    def decode(cls, text: str) -> Self:
        """Read it from the command line.

        Raises:
            ValueError: It is none.
        """
        return msgspec.json.decode(text, type=cls)

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What a worker inherits."""
        admin = () if self.admin_fd is None else (self.admin_fd,)
        return (self.listen_fd, self.table_fd, self.channel_fd, *admin)
