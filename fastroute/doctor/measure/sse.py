"""Server-sent events in the pieces of a body as they arrived."""

from collections.abc import Iterable

DONE = b"[DONE]"


def event_times(pieces: Iterable[tuple[float, bytes]]) -> tuple[tuple[float, ...], bool]:
    """Return when each event was whole, and whether the last said [DONE].

    [DONE] itself and comments, which vLLM sends to keep a connection alive, are no events.

    Args:
        pieces: When each piece arrived, and its bytes.
    """
    times: list[float] = []
    data: bytes | None = None
    is_done = False
    rest = b""
    for at, piece in pieces:
        # A line feed alone ends lines here: the carriage return before it is dropped below.
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            line = line.removesuffix(b"\r")
            if line.startswith(b"data:"):
                data = line[5:].strip()
            elif not line and data is not None:
                is_done = data == DONE
                if not is_done:
                    times.append(at)
                data = None
    return tuple(times), is_done
