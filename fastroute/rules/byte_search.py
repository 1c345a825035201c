"""Searches in JSON. Compiled callers take them from the `.pxd` beside, which calls C.

A method call would cost them 200 ns, and most strings of a JSON text are shorter than that.
"""

import re
from typing import Final

_QUOTE_OR_BRACKET: Final = re.compile(rb'["\[\]{}]')


def find_byte(text: bytes, byte: int, start: int, stop: int) -> int:
    """Return where `byte` first stands from `start` on and before `stop`; -1 if it does not."""
    return text.find(byte, start, stop)


def find_quote_or_bracket(text: bytes, start: int) -> int:
    """Return where the first of `"[]{}` stands from `start` on; -1 if none does."""
    found = _QUOTE_OR_BRACKET.search(text, start)
    return found.start() if found else -1
