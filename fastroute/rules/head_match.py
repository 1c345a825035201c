"""A cache of heads: a head with the same bytes as an earlier one is not parsed again.

A client sends nearly the same head with each request, and a server with each response: only the
Content-Length differs, and once a second the date. So heads are remembered without the digits of
their length. If all other bytes are the same, the parsed head is the same, too.
"""

import re
from typing import Any, Final

# Only the usual form; a head with another form is remembered with its digits.
_LENGTH: Final = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: ([0-9]{1,15})\r\n")
_MAX_DIGITS: Final = 15
_ZERO: Final = ord("0")
_NINE: Final = ord("9")
MAX_HEAD_BYTES = 4096
"""Maximum size of a remembered head, which limits the memory of the cache."""
# Maximum size of all remembered heads. What is found in a head, and what is rendered from it, takes
# up to 30 times as much: 8 MB for a cache that a client fills on purpose.
_MAX_BYTES: Final = 262_144


class MatchedHead:
    """A remembered head, matched to one message. It is shared: do not change it.

    Attributes:
        head: The remembered head, which is shared with other messages.
        body_start: Index of the first byte after the head.
        body_length: Number of bytes in this message's body.
    """

    __slots__ = ("body_length", "body_start", "head")

    def __init__(self, head: Any, body_start: int, body_length: int) -> None:
        self.head = head
        self.body_start = body_start
        self.body_length = body_length


class HeadMatcher:
    """A bounded cache of parsed heads by their bytes."""

    __slots__ = ("_after", "_any_length", "_before", "_bytes", "_exact", "_latest", "_limit")

    def __init__(self, limit: int) -> None:
        """Start with an empty cache.

        Args:
            limit: Maximum number of heads; when it is reached, the cache is cleared.
        """
        self._limit = limit
        self._bytes: int = 0
        self._any_length: dict[bytes, Any] = {}
        self._exact: dict[bytes, MatchedHead] = {}
        # The latest match, which usually matches again, with its bytes before and after the digits.
        self._latest: MatchedHead | None = None
        self._before = b""
        self._after = b""

    def find(self, data: bytes) -> MatchedHead | None:
        """Return the head at the start of `data`, or None if it is unknown."""
        if self._latest is not None and data.startswith(self._before):
            match = self._find_latest(data, self._latest)
            if match is not None:
                return match
        end = data.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES)
        if end < 0:
            return None
        digits = _LENGTH.search(data, 0, end + 2)
        if digits is None:
            match = self._exact.get(data[:end])
            if match is not None:
                self._latest, self._before, self._after = match, data[: end + 4], b""
            return match
        start, stop = digits.span(1)
        head = self._any_length.get(data[:start] + data[stop:end])
        length = int(digits[1])
        # A message without a body may have another kind of head.
        if head is None or not length:
            return None
        self._before, self._after = data[:start], data[stop : end + 4]
        self._latest = MatchedHead(head, end + 4, length)
        return self._latest

    def _find_latest(self, data: bytes, latest: MatchedHead) -> MatchedHead | None:
        """Return the latest head if `data`, which starts like it, has it with any length."""
        if not self._after:
            return latest
        length: int = 0
        stop: int = len(self._before)
        end: int = min(len(data), stop + _MAX_DIGITS)
        while stop < end and _ZERO <= data[stop] <= _NINE:
            length = length * 10 + data[stop] - _ZERO
            stop += 1
        if not length or not data.startswith(self._after, stop):
            return None
        stop += len(self._after)
        if stop == latest.body_start and length == latest.body_length:
            return latest
        self._latest = MatchedHead(latest.head, stop, length)
        return self._latest

    def remember(self, data: bytes, head: object, body_length: int) -> None:
        """Remember the head at the start of `data`.

        The caller guarantees that the head is complete, that its meaning depends on its bytes only,
        and that the body has the length that the head names, or that there is no body.

        Args:
            data: Bytes from the start of the head.
            head: The parsed head.
            body_length: Number of bytes in the body of this message.
        """
        end = data.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES)
        if end < 0:
            return
        digits = _LENGTH.search(data, 0, end + 2)
        if digits is None:
            self._make_room(end)
            self._exact[data[:end]] = MatchedHead(head, end + 4, body_length)
        elif int(digits[1]):
            start, stop = digits.span(1)
            self._make_room(end)
            self._any_length[data[:start] + data[stop:end]] = head

    def _make_room(self, size: int) -> None:
        """Count a new head of this size; clear the cache if it is full."""
        is_full = max(len(self._exact), len(self._any_length)) >= self._limit
        if is_full or self._bytes + size > _MAX_BYTES:
            self._exact.clear()
            self._any_length.clear()
            self._bytes = 0
        self._bytes += size
