"""Decodes the bytes that a terminal sends into keys."""

import re
from enum import Enum, auto

ESCAPE = "\x1b"
SEQUENCE = re.compile(r"\x1b[\[O][0-9;]*[A-Za-z~]|\x1b|[^\x1b]", re.DOTALL)
UNFINISHED = re.compile(r"\x1b([\[O][0-9;]*)?\Z")


class Key(Enum):
    """Keys that have a function in the monitor."""

    QUIT = auto()
    SORT = auto()
    PAUSE = auto()
    UP = auto()
    DOWN = auto()
    PAGE_UP = auto()
    PAGE_DOWN = auto()
    HOME = auto()
    END = auto()
    ENTER = auto()
    ESCAPE = auto()
    LOG = auto()
    HELP = auto()


MEANINGS = {
    **dict.fromkeys(("q", "Q", "\x03"), Key.QUIT),
    **dict.fromkeys(("s", "S"), Key.SORT),
    **dict.fromkeys(("p", "P", " "), Key.PAUSE),
    **dict.fromkeys(("k", "\x1b[A", "\x1bOA"), Key.UP),
    **dict.fromkeys(("j", "\x1b[B", "\x1bOB"), Key.DOWN),
    "\x1b[5~": Key.PAGE_UP,
    "\x1b[6~": Key.PAGE_DOWN,
    **dict.fromkeys(("\x1b[H", "\x1bOH", "\x1b[1~", "\x1b[7~"), Key.HOME),
    **dict.fromkeys(("\x1b[F", "\x1bOF", "\x1b[4~", "\x1b[8~"), Key.END),
    **dict.fromkeys(("\r", "\n", "\x1b[C", "\x1bOC"), Key.ENTER),
    **dict.fromkeys((ESCAPE, "\x7f", "\x1b[D", "\x1bOD"), Key.ESCAPE),
    **dict.fromkeys(("l", "L"), Key.LOG),
    **dict.fromkeys(("?", "h", "H"), Key.HELP),
}


class KeyReader:
    """Decodes bytes as they arrive; the sequence of a key may be split between two reads."""

    def __init__(self) -> None:
        self._rest = ""

    @property
    def is_unfinished(self) -> bool:
        """True if the last bytes may start a sequence; if no more bytes follow, call `flush`."""
        return bool(self._rest)

    def feed(self, data: bytes) -> list[Key]:
        """Return the complete keys; sequences without a function are dropped."""
        text = self._rest + data.decode("utf-8", "replace")
        unfinished = UNFINISHED.search(text)
        self._rest = "" if unfinished is None else unfinished[0]
        return _keys(text[: len(text) - len(self._rest)])

    def flush(self) -> list[Key]:
        """Decode the remaining bytes as they are: a single escape byte is the Esc key."""
        text, self._rest = self._rest, ""
        return _keys(text)


def _keys(text: str) -> list[Key]:
    return [MEANINGS[found] for found in SEQUENCE.findall(text) if found in MEANINGS]
