"""Byte searches for JSON. Compiled callers use the `.pxd` file of the same name, which calls C.

A method call takes 200 ns, longer than the search through most strings of a JSON text.
"""

import re
from typing import Final

_QUOTE_OR_BRACKET: Final = re.compile(rb'["\[\]{}]')


def find_byte(text: bytes, byte: int, start: int, stop: int) -> int:
    """Return the index of the first `byte` from `start` up to `stop`; -1 if there is none."""
    return text.find(byte, start, stop)


def find_quote_or_bracket(text: bytes, start: int, stop: int) -> int:
    """Return the index of the first of `"[]{}` from `start` up to `stop`; -1 if there is none."""
    found = _QUOTE_OR_BRACKET.search(text, start, stop)
    return found.start() if found else -1
