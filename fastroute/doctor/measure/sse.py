"""Arrival times of server-sent events, from the chunks of a response body."""

from collections.abc import Iterable

DONE = b"[DONE]"

MAX_EVENTS = 10_000
"""Number of events that are noted; a test asks for 32 tokens."""


def event_times(pieces: Iterable[tuple[float, bytes]]) -> tuple[tuple[float, ...], bool]:
    """Return the time at which each event was complete, and True if the last was [DONE].

    [DONE] itself and comments, which vLLM sends to keep a connection alive, do not count as events.

    Args:
        pieces: Arrival time and bytes of each chunk.
    """
    times: list[float] = []
    data: bytes | None = None
    is_done = False
    rest = b""
    for at, piece in pieces:
        # Lines end with a line feed here; a carriage return before it is dropped below.
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            line = line.removesuffix(b"\r")
            if line.startswith(b"data:"):
                data = line[5:].strip()
            elif not line and data is not None:
                is_done = data == DONE
                if not is_done and len(times) < MAX_EVENTS:
                    times.append(at)
                data = None
    return tuple(times), is_done
