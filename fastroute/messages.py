"""What supervisor and worker say to each other over a socket pair, and its form in bytes.

A message is a 4-byte big-endian length and that many bytes of msgpack. No I/O happens here.
EOF means that the other side is gone.
"""

import msgspec

from fastroute.config import Config

LENGTH_BYTES = 4
MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""Far above any real message; a longer one means that the two sides lost step."""


class RoutedServer(msgspec.Struct, frozen=True, kw_only=True):
    """A server that may be chosen, and where in the score table it is counted."""

    row: int
    generation: int
    url: str
    max_concurrent_requests: int


class Configure(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """To a worker: the settings and servers in force from now on."""

    config: Config
    servers: tuple[RoutedServer, ...]


class Drain(msgspec.Struct, frozen=True, tag=True):
    """To a worker: accept no more, finish what is in flight, then exit with 0."""


class Ready(msgspec.Struct, frozen=True, tag=True):
    """From a worker: the first Configure is in force and clients are accepted."""


class Drained(msgspec.Struct, frozen=True, tag=True):
    """From a worker: nothing is in flight any more, the process ends now."""


Message = Configure | Drain | Ready | Drained

# Neither holds anything between two calls, so both can be shared.
_ENCODER = msgspec.msgpack.Encoder()
_DECODER: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def encode(message: Message) -> bytes:
    """Return the bytes to send."""
    body = _ENCODER.encode(message)
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


class MessageReader:
    """Cuts a stream of bytes into messages."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """Take bytes as they came and return the messages they complete, oldest first.

        Raises:
            ValueError: The bytes are no message of ours; the channel is of no more use.
        """
        self._buffer += data
        messages = []
        while (body := self._take_body()) is not None:
            messages.append(_DECODER.decode(body))
        return messages

    def _take_body(self) -> bytes | None:
        length = int.from_bytes(self._buffer[:LENGTH_BYTES], "big")
        if length > MAX_MESSAGE_BYTES:
            raise ValueError(f"a message of {length} bytes was announced")
        end = LENGTH_BYTES + length
        if len(self._buffer) < end:
            return None
        body = bytes(self._buffer[LENGTH_BYTES:end])
        del self._buffer[:end]
        return body
