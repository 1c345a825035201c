"""Heads that were read before: the same bytes need not be parsed and checked again.

A client sends nearly the same head with each request, and a server with each reply: only the
Content-Length differs, and once a second a date. So heads are remembered without the digits of
their length. The rest of the bytes being the same, so is all that was found in them.
"""

import re
from typing import Generic, Protocol, TypeVar

# Only the form that everybody writes; another is remembered with its digits.
_LENGTH = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: ([0-9]{1,15})\r\n")
MAX_HEAD_BYTES = 4096
"""Longer heads are not remembered, so that the memory this takes is bounded."""


class Head(Protocol):
    """A checked head."""

    @property
    def content_length(self) -> int:
        """Of the body in bytes; 0 where there is none."""


H = TypeVar("H", bound=Head)


class KnownHeads(Generic[H]):
    """A bounded memory of heads by their bytes."""

    __slots__ = ("_any_length", "_exact", "_limit")

    def __init__(self, limit: int) -> None:
        """Remember nothing yet.

        Args:
            limit: How many heads are remembered at the most; then it starts anew.
        """
        self._limit = limit
        self._any_length: dict[bytes, H] = {}
        self._exact: dict[bytes, H] = {}

    def find(self, data: bytes) -> tuple[H, int, int] | None:
        """Find the head that `data` begins with.

        Returns:
            The head, where its body begins, and the length of the body in bytes; or None if it is
            not known. The head's own `content_length` is that of the first of its kind.
        """
        end = data.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES)
        if end < 0:
            return None
        match = _LENGTH.search(data, 0, end + 2)
        if match is None:
            head = self._exact.get(data[:end])
            return None if head is None else (head, end + 4, head.content_length)
        start, stop = match.span(1)
        head = self._any_length.get(data[:start] + data[stop:end])
        length = int(match[1])
        # Without a body a message can be of another kind.
        return None if head is None or not length else (head, end + 4, length)

    def remember(self, data: bytes, head: H) -> None:
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
