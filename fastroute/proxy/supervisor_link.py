"""Sending of a worker's messages to the supervisor."""

import asyncio

from fastroute.ipc.messages import Message, encode


class SupervisorLink:
    """Sends messages while there is a channel; messages without a channel are dropped."""

    __slots__ = ("_transport",)

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None

    def attach(self, transport: asyncio.WriteTransport | None) -> None:
        """Use another channel from now on, or none."""
        self._transport = transport

    def report(self, message: Message) -> None:
        """Send a message."""
        if self._transport is not None:
            self._transport.write(encode(message))

    def backlog(self) -> int:
        """Return the number of bytes that wait to be sent."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()
