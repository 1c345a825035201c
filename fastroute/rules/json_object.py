# cython: boundscheck=False, wraparound=False
# The tests also run it uncompiled, where an index beyond the end is an IndexError.
"""Search for the value of a key in a JSON object, without decoding anything else.

A prompt is one long string, and decoding it would take most of the time that a request costs. Here
strings are skipped by a search for their closing quote: 2 us for 100 KB, instead of 29 us in a
decoder that checks each byte. The server refuses invalid JSON that is not noticed here.
"""

from typing import Final

import msgspec

from fastroute.rules import byte_search

_QUOTE: Final = ord('"')
_BACKSLASH: Final = ord("\\")
_COLON: Final = ord(":")
_OPENING_OBJECT: Final = ord("{")
_OPENING_LIST: Final = ord("[")
_SPACE: Final = ord(" ")
_TAB: Final = ord("\t")
_LINE_FEED: Final = ord("\n")
_RETURN: Final = ord("\r")


# Numbers and the like are read faster than strings and brackets: 64 bytes, in bits, are one step.
_STEP_SHIFT: Final = 6
# Comparing a key of the outermost object takes as long as so many steps, decoding one with escapes
# as long as these.
_STEPS_PER_KEY: Final = 3
_STEPS_PER_DECODING: Final = 10
_ESCAPE_BYTES: Final = 6


class TooManySteps(Exception):
    """The search exceeded its limit."""


def string_span(text: bytes, key: bytes, max_steps: int) -> tuple[int, int] | None:
    """Find the string that is the value of a key of the outermost object.

    Args:
        text: JSON. Invalid JSON may have a result too, if its brackets are balanced.
        key: The key with its quotes. If it occurs several times, the last one counts, as in every
            JSON parser.
        max_steps: Maximum number of strings, brackets, escaped quotes and the like to visit. A step
            takes 1 to 7 ns compiled, about 1 us uncompiled.

    Returns:
        Start and end of the value, including its quotes. None if the key is missing, if its value
        is not a string, or if `text` is truncated, not an object, or followed by other bytes.

    Raises:
        TooManySteps: The search needs more steps.
    """
    steps: _Steps = _Steps()
    steps.left = max_steps
    end: int = len(text)
    at: int = _next(text, 0, steps)
    if at < end and text[at] != _OPENING_OBJECT:
        at = end
    span = None
    start: int
    colon: int
    depth: int = 0
    while True:
        at = _quote_or_bracket(text, at, steps)
        if steps.left < 0:
            raise TooManySteps
        if at < 0:
            return None
        if text[at] == _QUOTE:
            start = at
            at = _string_end(text, start, steps)
            colon = _colon_of_key(text, start, at, key, steps) if depth == 1 else -1
            if colon >= 0:
                start = _next(text, colon + 1, steps)
                at = _string_end(text, start, steps)
                span = (start, at) if at > start else None
        else:
            depth += 1 if text[at] in (_OPENING_OBJECT, _OPENING_LIST) else -1
            at += 1
            if not depth:
                return span if _is_blank(text, at, steps) else None


class _Steps:
    """The steps that a search may still take; below 0 it must end.

    Everything in a text whose size a client decides costs steps: not only strings and brackets but
    also the bytes between them, escaped quotes, backslashes, and keys with escapes.
    """

    __slots__ = ("left",)

    left: int


def _quote_or_bracket(text: bytes, start: int, steps: _Steps) -> int:
    """Return the index of the next one; -1 if there is none, or if the steps end before it."""
    end: int = len(text)
    stop: int = min(end, start + (steps.left << _STEP_SHIFT))
    at: int = byte_search.find_quote_or_bracket(text, start, stop)
    if at >= 0:
        steps.left -= 1 + ((at - start) >> _STEP_SHIFT)
    elif stop < end:
        steps.left = -1
    return at


def _is_blank(text: bytes, start: int, steps: _Steps) -> bool:
    """Return True if only white space follows."""
    at: int = _next(text, start, steps)
    if steps.left < 0:
        raise TooManySteps
    return at == len(text)


def _next(text: bytes, start: int, steps: _Steps) -> int:
    """Return the index of the next byte that is not white space; the length if there is none.

    Such bytes are looked at one by one.
    """
    at: int = start
    stop: int = min(len(text), start + steps.left + 1)
    while at < stop:
        byte: int = text[at]
        if byte not in (_SPACE, _LINE_FEED, _RETURN, _TAB):
            break
        at += 1
    steps.left -= at - start
    return at


def _string_end(text: bytes, start: int, steps: _Steps) -> int:
    """Return the index after the closing quote of the string that starts at `start`.

    The result is `start` if no string starts there, and beyond the text if it is truncated or if
    the steps end before it.
    """
    end: int = len(text)
    if start >= end or text[start] != _QUOTE:
        return start
    at: int = start + 1
    before: int
    stop: int
    while steps.left >= 0:
        at = byte_search.find_byte(text, _QUOTE, at, end)
        if at < 0:
            break
        before = at - 1
        at += 1
        if text[before] != _BACKSLASH:
            return at
        stop = before - steps.left
        while before >= stop and text[before] == _BACKSLASH:
            before -= 1
        steps.left -= at - before
        # Each pair of backslashes is an escaped backslash; an odd one escapes the quote.
        if not (at - before) & 1:
            return at
    return end + 1


def _colon_of_key(text: bytes, start: int, stop: int, key: bytes, steps: _Steps) -> int:
    """Return the index of the colon behind a string that equals the key; -1 for any other."""
    length: int = len(key)
    colon: int = _next(text, stop, steps)
    if colon >= len(text) or text[colon] != _COLON:
        return -1
    steps.left -= _STEPS_PER_KEY
    if stop - start == length:
        return colon if text.startswith(key, start) else -1
    # With escapes it is longer, and longest if it has nothing else.
    if not length < stop - start <= 2 + (length - 2) * _ESCAPE_BYTES:
        return -1
    if byte_search.find_byte(text, _BACKSLASH, start, stop) < 0:
        return -1
    steps.left -= _STEPS_PER_DECODING
    try:
        is_key = msgspec.json.decode(text[start:stop]) == msgspec.json.decode(key)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return -1
    return colon if is_key else -1
