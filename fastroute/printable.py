"""Text from outside, such as names of models, made safe to show: on one line, visible, and short.

Servers, clients and files choose such text. A line feed in it would forge a log line, an escape
sequence would control the terminal, a bidi control would show it in another order, and its length
would hide everything else.
"""

import re
from collections.abc import Collection

MAX_CHARACTERS = 256
"""Limit for one text from outside."""

MAX_LINE = 4096
"""Limit for a line that is composed of such texts and of our own words."""

ELLIPSIS = "…"

_SHORT_ESCAPES = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
_NOT_PLAIN = re.compile(rb"[^ -~]")


def escaped(text: str) -> str:
    r"""Replace characters that are not printable by their escapes in JSON, such as \\u001b.

    These are control characters (C0, DEL, C1), separators of lines and paragraphs, bidi controls
    and other invisible ones, surrogates, characters that Python does not know yet, and all blanks
    but the space. Backslashes stay, so it changes no text twice, and a JSON text means the same.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def printable(text: str, most: int = MAX_CHARACTERS) -> str:
    """Escape a text and shorten it to `most` characters, the last of which is then an ellipsis."""
    # Escaping makes a text longer, so the rest would be cut off anyway.
    shown = escaped(text[: most + 1])
    return shown if len(shown) <= most else shown[: most - 1] + ELLIPSIS


def printable_bytes(raw: bytes, most: int = MAX_CHARACTERS) -> str:
    """Escape and shorten bytes of a message head, as `printable` does."""
    return printable(raw[: most + 1].decode("latin-1"), most)


def listed(names: Collection[str], most: int = MAX_CHARACTERS) -> str:
    """Join names with commas; of those beyond `most` characters, only the number is given."""
    shown: list[str] = []
    room = most
    for name in names:
        word = printable(name)
        room -= len(word) + 2
        if room < 0 and shown:
            break
        shown.append(word)
    left = len(names) - len(shown)
    return ", ".join(shown) + (f" and {left} more" if left else "")


def escaped_json(data: bytes) -> bytes:
    """Escape compact JSON; its values stay the same."""
    return data if _NOT_PLAIN.search(data) is None else escaped(data.decode()).encode()


def _escape(character: str) -> str:
    if character in _SHORT_ESCAPES:
        return _SHORT_ESCAPES[character]
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
