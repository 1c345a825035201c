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


# White space and numbers are read faster than strings and brackets: so many bytes are one step.
_BYTES_PER_STEP: Final = 64
# Comparing a key of the outermost object takes as long as so many steps, decoding one with escapes
# as long as these.
_STEPS_PER_KEY: Final = 3
_STEPS_PER_DECODING: Final = 10
_ESCAPE_BYTES: Final = len(r"\u0000")


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
    search: _Search = _Search()
    return search.run(text, key, max_steps)


class _Search:
    """A search, with the steps that are left.

    Everything in a text whose size a client decides costs steps: not only strings and brackets but
    also the bytes between them, escaped quotes, backslashes, and keys with escapes.
    """

    __slots__ = ("_end", "_key", "_steps", "_text")

    _end: int
    _key: bytes
    _steps: int
    _text: bytes

    def run(self, text: bytes, key: bytes, max_steps: int) -> tuple[int, int] | None:
        """Search all of a text. Compiled, arguments of a constructor cost 0.1 us more."""
        end: int = len(text)
        self._text = text
        self._end = end
        self._key = key
        self._steps = max_steps
        at: int = self._next(0)
        if at == end or text[at] != _OPENING_OBJECT:
            return None
        span = None
        start: int
        colon: int
        depth: int = 0
        while True:
            at = self._quote_or_bracket(at)
            if at < 0:
                return None
            if text[at] == _QUOTE:
                start = at
                at = self._string_end(start)
                colon = self._colon_of_key(start, at) if depth == 1 else -1
                if colon >= 0:
                    start = self._next(colon + 1)
                    at = self._string_end(start)
                    span = (start, at) if at > start else None
            else:
                depth += 1 if text[at] in (_OPENING_OBJECT, _OPENING_LIST) else -1
                at += 1
                if not depth:
                    return span if self._next(at) == end else None

    def _spend(self, steps: int) -> None:
        self._steps -= steps
        if self._steps < 0:
            raise TooManySteps

    def _quote_or_bracket(self, start: int) -> int:
        """Return the index of the next one; -1 if there is none."""
        stop: int = min(self._end, start + self._steps * _BYTES_PER_STEP)
        at: int = byte_search.find_quote_or_bracket(self._text, start, stop)
        if at < 0:
            if stop < self._end:
                raise TooManySteps
            return -1
        self._spend(1 + (at - start) // _BYTES_PER_STEP)
        return at

    def _next(self, start: int) -> int:
        """Return the index of the next byte that is not white space; the length if there is none.

        Such bytes are looked at one by one.
        """
        text: bytes = self._text
        at: int = start
        stop: int = min(self._end, start + self._steps + 1)
        while at < stop:
            byte: int = text[at]
            if byte not in (_SPACE, _LINE_FEED, _RETURN, _TAB):
                break
            at += 1
        self._spend(max(at - start, 0))
        return at

    def _string_end(self, start: int) -> int:
        """Return the index after the closing quote of the string that starts at `start`.

        The result is `start` if no string starts there, and beyond the text if it is truncated.
        """
        text: bytes = self._text
        end: int = self._end
        if start >= end or text[start] != _QUOTE:
            return start
        at: int = start + 1
        before: int
        while True:
            at = byte_search.find_byte(text, _QUOTE, at, end)
            if at < 0:
                return end + 1
            before = at - 1
            if text[before] != _BACKSLASH:
                return at + 1
            stop: int = max(start, before - self._steps)
            while before > stop and text[before] == _BACKSLASH:
                before -= 1
            self._spend(at - before)
            at += 1
            # Each pair of backslashes is an escaped backslash; an odd one escapes the quote.
            if not (at - before) & 1:
                return at

    def _colon_of_key(self, start: int, stop: int) -> int:
        """Return the index of the colon behind a string that equals the key; -1 for any other."""
        text: bytes = self._text
        key: bytes = self._key
        length: int = len(key)
        colon: int = self._next(stop)
        if colon >= self._end or text[colon] != _COLON:
            return -1
        self._spend(_STEPS_PER_KEY)
        if stop - start == length:
            return colon if text.startswith(key, start) else -1
        # With escapes it is longer, and longest if it has nothing else.
        if not length < stop - start <= 2 + (length - 2) * _ESCAPE_BYTES:
            return -1
        if byte_search.find_byte(text, _BACKSLASH, start, stop) < 0:
            return -1
        self._spend(_STEPS_PER_DECODING)
        try:
            is_key = msgspec.json.decode(text[start:stop]) == msgspec.json.decode(key)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return -1
        return colon if is_key else -1
