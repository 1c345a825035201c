"""Parameters of a worker process, and the command line that passes them."""

from typing import Self

import msgspec

from fastroute.ipc.child_process import python_command
from fastroute.ipc.logs import LogOptions

# Imported objects stay alive, so garbage collection would only add a tenth to the start-up time.
PROGRAM = "import gc; gc.disable(); from fastroute.cli.run_worker import main; main()"


class WorkerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Parameters of a worker process.

    Attributes:
        index: Index of the worker.
        listen_fd: Listening socket; this and the next are inherited descriptors.
        table_fd: The score table.
        admin_fd: Listening socket for fastroute's own endpoints; None for the same socket.
        logs: Log settings.
        channel_fd: Its end of the channel to the supervisor; -1 until there is one.
    """

    index: int
    listen_fd: int
    table_fd: int
    admin_fd: int | None
    logs: LogOptions
    channel_fd: int = -1

    @property
    def command(self) -> list[str]:
        """Return the command line; the child must inherit the descriptors."""
        return python_command(PROGRAM, msgspec.json.encode(self).decode())

    @classmethod
    def decode(cls, text: str) -> Self:
        """Decode the parameters from the command line.

        Raises:
            ValueError: The text is invalid.
        """
        return msgspec.json.decode(text, type=cls)

    @property
    def descriptors(self) -> tuple[int, ...]:
        """Return the descriptors that a worker inherits."""
        admin = () if self.admin_fd is None else (self.admin_fd,)
        return (self.listen_fd, self.table_fd, self.channel_fd, *admin)
