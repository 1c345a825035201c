"""Keys, from the bytes a terminal sends."""

import re
from enum import Enum, auto

ESCAPE = "\x1b"
SEQUENCE = re.compile(r"\x1b[\[O][0-9;]*[A-Za-z~]|\x1b|[^\x1b]", re.DOTALL)
UNFINISHED = re.compile(r"\x1b([\[O][0-9;]*)?\Z")


class Key(Enum):
    """What the monitor understands."""

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
    """Takes bytes as they come; the sequence of a key may come in two pieces."""

    def __init__(self) -> None:
        self._rest = ""

    @property
    def is_unfinished(self) -> bool:
        """Whether the last bytes may be the begin of a key; if no more come, call `flush`."""
        return bool(self._rest)

    def feed(self, data: bytes) -> list[Key]:
        """Return the keys that are complete; what means nothing is left out."""
        text = self._rest + data.decode("utf-8", "replace")
        unfinished = UNFINISHED.search(text)
        self._rest = "" if unfinished is None else unfinished[0]
        return _keys(text[: len(text) - len(self._rest)])

    def flush(self) -> list[Key]:
        """Take what has come for all there is: an escape without more is the key of that name."""
        text, self._rest = self._rest, ""
        return _keys(text)


def _keys(text: str) -> list[Key]:
    return [MEANINGS[found] for found in SEQUENCE.findall(text) if found in MEANINGS]
