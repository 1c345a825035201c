"""An in-memory transport that records the calls of a protocol, without kernel and loop."""

import asyncio
import enum
import socket


class End(enum.Enum):
    """Ways in which a protocol ended its connection."""

    OPEN = enum.auto()
    CLOSED = enum.auto()  # after sending what was written
    ABORTED = enum.auto()
    RESET = enum.auto()  # aborted with linger 0: the peer sees a reset


class RecordingSocket:
    """The part of a socket on which a protocol sets options."""

    def __init__(self) -> None:
        self.resets_on_close = False

    def setsockopt(self, level: int, option: int, value: bytes) -> None:
        assert (level, option) == (socket.SOL_SOCKET, socket.SO_LINGER)
        self.resets_on_close = value == b"\1\0\0\0\0\0\0\0"


class MemoryTransport(asyncio.Transport):
    """The network as seen by a protocol; methods from `feed` on simulate the peer.

    Attributes:
        protocol: The protocol it serves.
        writes: Written data, one item per write.
        end: How the protocol ended the connection.
        wrote_eof: True if the protocol shut down its sending side.
        reading: False while the protocol has paused reading.
        unsent: Result of `get_write_buffer_size`, in bytes.
        high: The protocol's limit for unsent bytes.
    """

    def __init__(self, protocol: asyncio.Protocol, address: str = "192.0.2.7") -> None:
        super().__init__()
        self.protocol = protocol
        self.writes: list[bytes] = []
        self.end = End.OPEN
        self.wrote_eof = False
        self.reading = True
        self.unsent = 0
        self.high = 0
        self._address = address
        self._socket = RecordingSocket()
        self._lost = False
        protocol.connection_made(self)

    def written(self) -> bytes:
        """Return everything written."""
        return b"".join(self.writes)

    def take(self) -> bytes:
        """Return everything written since the last call."""
        data = b"".join(self.writes)
        self.writes.clear()
        return data

    # The peer's part

    def feed(self, *segments: bytes) -> None:
        """Let bytes arrive, one read per segment; bytes after the end are lost."""
        for segment in segments:
            if self.end is not End.OPEN or self._lost:
                return
            assert self.reading, "bytes were delivered to a protocol that has paused reading"
            if segment:
                self.protocol.data_received(segment)

    def eof(self) -> None:
        """Let the peer's end arrive; as on a loop, the protocol may keep its own side open."""
        if self.end is End.OPEN and not self._lost and not self.protocol.eof_received():
            self.lose(None)

    def lose(self, error: Exception | None) -> None:
        """Let the connection be lost."""
        if not self._lost:
            self._lost = True
            self.protocol.connection_lost(error)

    def fill(self, unsent: int = 100_000) -> None:
        """Make the peer stop reading: written bytes stay unsent, and the protocol is notified."""
        self.unsent = unsent
        self.protocol.pause_writing()

    def drain(self) -> None:
        """Let the peer read all."""
        self.unsent = 0
        self.protocol.resume_writing()

    def settle(self) -> None:
        """Run one iteration of the loop, after which a closed or aborted connection is lost."""
        if self.end is not End.OPEN:
            self.lose(None)

    # The protocol's part

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert self.end is End.OPEN, f"written after the end: {bytes(data)!r}"
        assert not self.wrote_eof, f"written after EOF: {bytes(data)!r}"
        self.writes.append(bytes(data))

    def write_eof(self) -> None:
        self.wrote_eof = True

    def close(self) -> None:
        if self.end is End.OPEN:
            self.end = End.CLOSED

    def abort(self) -> None:
        self.end = End.RESET if self._socket.resets_on_close else End.ABORTED

    def is_closing(self) -> bool:
        return self.end is not End.OPEN

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high = high or 0

    def get_extra_info(self, name: str, default: object = None) -> object:
        if name == "peername":
            return (self._address, 4242)
        return self._socket if name == "socket" else default
