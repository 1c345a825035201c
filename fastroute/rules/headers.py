"""Headers: functions that request heads and response heads share.

Hop-by-hop headers (RFC 9110 section 7.6.1) are not forwarded. All others keep their names, order,
letter case and values.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache

Fields = Sequence[tuple[bytes, bytes]]

# Hop-by-hop headers, whether or not Connection names them.
HOP_BY_HOP = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"te", b"upgrade", b"http2-settings")
)
MAX_FIELDS = 200
"""Maximum number of headers of a message; each costs as much as 100 bytes of a long one."""
MAX_MEMBERS = 32
"""Maximum number of members of Connection."""
# Longer values of Connection are not cached, which bounds the cache to 256 times a few KB.
_MAX_CACHED_BYTES = 64
NO_TOKENS: frozenset[bytes] = frozenset()
SCHEMES = (b"http://", b"https://")


def header_lines(fields: Fields, dropped: AbstractSet[bytes]) -> list[bytes]:
    """Return the pieces of the lines of all headers except those in `dropped` (lower case)."""
    lines: list[bytes] = []
    for name, value in fields:
        if name.lower() not in dropped:
            lines += (name, b": ", value, b"\r\n")
    return lines


def connection_tokens(special: Mapping[bytes, bytes]) -> AbstractSet[bytes]:
    """Return the members of Connection in lower case.

    `close` in the obsolete Proxy-Connection counts, too, because the parser respects it.

    Raises:
        ValueError: There are too many.
    """
    tokens = NO_TOKENS
    if b"connection" in special:
        tokens = _tokens(special[b"connection"])
    if b"proxy-connection" in special:
        tokens |= _tokens(special[b"proxy-connection"]) & {b"close"}
    return tokens


def _tokens(value: bytes) -> frozenset[bytes]:
    if len(value) <= _MAX_CACHED_BYTES:
        return _short_tokens(value)
    if value.count(b",") >= MAX_MEMBERS:
        raise ValueError(f"Connection has more than {MAX_MEMBERS} members")
    return _members(value)


@lru_cache(256)  # nearly always the same: 0.1 us instead of 0.7
def _short_tokens(value: bytes) -> frozenset[bytes]:
    return _members(value)


def _members(value: bytes) -> frozenset[bytes]:
    return frozenset(token.strip(b" \t") for token in value.lower().split(b",")) - {b""}
