"""Heads that were read before: the same bytes need not be parsed and checked again.

A client sends nearly the same head with each request, and a server with each reply: only the
Content-Length differs, and once a second a date. So heads are remembered without the digits of
their length. The rest of the bytes being the same, so is all that was found in them.
"""

import re
from typing import Any, Final

# Only the form that everybody writes; another is remembered with its digits.
_LENGTH: Final = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: ([0-9]{1,15})\r\n")
_MAX_DIGITS: Final = 15
_ZERO: Final = ord("0")
_NINE: Final = ord("9")
MAX_HEAD_BYTES: Final = 4096
"""Longer heads are not remembered, so that the memory this takes is bounded."""


class Head:
    """A checked head.

    Attributes:
        content_length: Of the body in bytes; 0 where there is none.
    """

    __slots__ = ("content_length",)

    content_length: int


class KnownHeads:
    """A bounded memory of heads by their bytes; those of one kind, which `find` returns again.

    Attributes:
        body_start: Where the body of what `find` found last begins.
        body_length: And how many bytes it has, or will have; the head's own `content_length` is
            that of the first of its kind.
    """

    __slots__ = ("_after", "_any_length", "_before", "_exact", "_latest", "_limit",
                 "body_length", "body_start")  # fmt: skip

    def __init__(self, limit: int) -> None:
        """Remember nothing yet.

        Args:
            limit: How many heads are remembered at the most; then it starts anew.
        """
        self._limit = limit
        self.body_start = 0
        self.body_length = 0
        self._any_length: dict[bytes, Head] = {}
        self._exact: dict[bytes, Head] = {}
        # The one found last, which mostly comes again: its bytes before and after the digits.
        self._latest: Head | None = None
        self._before = b""
        self._after = b""

    def find(self, data: bytes) -> Any:
        """Return the head that `data` begins with, or None if it is not known."""
        if data.startswith(self._before) and self._is_latest(data):
            return self._latest
        end = data.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES)
        if end < 0:
            return None
        match = _LENGTH.search(data, 0, end + 2)
        if match is None:
            head = self._exact.get(data[:end])
            if head is None:
                return None
            self._latest, self._before, self._after = head, data[: end + 4], b""
            return self._found(end + 4, head.content_length)
        start, stop = match.span(1)
        head = self._any_length.get(data[:start] + data[stop:end])
        length = int(match[1])
        # Without a body a message can be of another kind.
        if head is None or not length:
            return None
        self._latest, self._before, self._after = head, data[:start], data[stop : end + 4]
        return self._found(end + 4, length)

    def _found(self, body_start: int, body_length: int) -> Head | None:
        self.body_start = body_start
        self.body_length = body_length
        return self._latest

    def _is_latest(self, data: bytes) -> bool:
        """Whether all of `data`'s head but the digits is as it was; the beginning is."""
        if self._latest is None:
            return False
        start = len(self._before)
        if not self._after:
            self._found(start, self._latest.content_length)
            return True
        length = 0
        stop = start
        end = min(len(data), start + _MAX_DIGITS)
        while stop < end and _ZERO <= data[stop] <= _NINE:
            length = length * 10 + data[stop] - _ZERO
            stop += 1
        if not length or not data.startswith(self._after, stop):
            return False
        self._found(stop + len(self._after), length)
        return True

    def remember(self, data: bytes, head: Head) -> None:
        """Remember the head that `data` begins with.

        The caller vouches that it is whole, that all that matters is in its bytes, and that its
        body is of the length it names, or none.
        """
        end = data.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES)
        if end < 0:
            return
        match = _LENGTH.search(data, 0, end + 2)
        if match is None:
            known, key = self._exact, data[:end]
        elif int(match[1]):
            start, stop = match.span(1)
            known, key = self._any_length, data[:start] + data[stop:end]
        else:
            return
        if len(known) >= self._limit:
            known.clear()
        known[key] = head
