"""The messages of a worker to the supervisor."""

import asyncio

from fastroute.ipc.messages import Message, encode


class SupervisorLink:
    """Sends messages as soon as there is a channel; before that and after its end they are lost."""

    __slots__ = ("_transport",)

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None

    def attach(self, transport: asyncio.WriteTransport | None) -> None:
        """Use a channel, or none from now on."""
        self._transport = transport

    def report(self, message: Message) -> None:
        """Send a message."""
        if self._transport is not None:
            self._transport.write(encode(message))

    def backlog(self) -> int:
        """Return how many bytes wait to be sent."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()
