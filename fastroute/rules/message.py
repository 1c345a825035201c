"""Request and reply heads: what a proxy reads in them, and how it writes them on.

Fields a proxy must not pass on (RFC 9110 section 7.6.1) go; the rest stays as it came: names,
order, letter case and values. Only fields named in the sets below are looked at.
"""

import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from http import HTTPStatus
from typing import Final

from fastroute.errors import BadReply, BadRequest
from fastroute.rules.framing import Body, is_authority, keeps_alive, reply_body, request_body

Fields = Sequence[tuple[bytes, bytes]]

# Meant for the next neighbour only, whether or not Connection names them.
_HOP_BY_HOP: Final = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"te", b"upgrade", b"http2-settings")
)
# Fields of a request that decide its framing or its way: Connection cannot take them away.
_REQUEST_OWN: Final = frozenset(
    (b"host", b"content-length", b"transfer-encoding", b"trailer", b"expect")
)
# Fields of a request that are not simply copied: dropped, or written anew.
_REQUEST_SPECIAL: Final = (
    _HOP_BY_HOP
    | _REQUEST_OWN
    | {b"via", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-request-id"}
    | {b"authorization"}
)
# Members of Connection that name no field of a request to drop.
_NOT_NAMED: Final = _HOP_BY_HOP | _REQUEST_OWN | {b"close"}
# Fields of a request that may stand there once only.
_REQUEST_SINGLE: Final = _REQUEST_OWN | {b"authorization"}
# Fields of a request that are looked at and copied too.
_REQUEST_NOTED: Final = b"content-type"
# Fields of a reply that decide its framing or are not always passed on as they came.
_REPLY_FRAMING: Final = frozenset(
    (b"content-length", b"transfer-encoding", b"trailer", b"content-type")
)
_REPLY_SPECIAL: Final = (
    _HOP_BY_HOP | _REPLY_FRAMING | {b"x-accel-buffering", b"location", b"retry-after"}
)
_CHUNKED_FIELDS: Final = frozenset((b"transfer-encoding", b"trailer"))
_DELAY: Final = re.compile(rb"[0-9]{1,6}")
_NO_TOKENS: Final[frozenset[bytes]] = frozenset()
_SCHEMES: Final = (b"http://", b"https://")
_NO_BODY: Final = Body.NONE
_CHUNKED_BODY: Final = Body.CHUNKED
_UNTIL_CLOSE: Final = Body.UNTIL_CLOSE
# One format costs 0.9 us, a list of the parts to join 1.5.
_REQUEST_PREFIX: Final = (
    b"%b %b HTTP/1.1\r\nHost: %b\r\n%bX-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\n"
    b"Via: %b\r\n%bX-Request-Id: "
)
_MAX_PREFIXES: Final = 16
_STATUS_LINES: Final = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n".encode() for s in HTTPStatus}


class RequestHead:
    """A client's request head, checked, with what the proxy needs to know of it.

    Attributes:
        method: As sent.
        target: Path and query exactly as sent (of an absolute URI: that part of it).
        path: The target without its query.
        keep_alive: Whether the client's connection may carry another request.
        http_1_0: Whether the client speaks HTTP/1.0, which knows no chunked coding.
        body: How the body ends.
        content_type: The field's value, or None.
        expects_continue: Whether the client waits for 100 Continue before its body.
        request_id: The client's X-Request-Id, or None.
    """

    __slots__ = (
        "_authorization",
        "_forwarded_for",
        "_forwarded_host",
        "_forwarded_proto",
        "_lines",
        "_prefixes",
        "_via",
        "body",
        "content_type",
        "expects_continue",
        "http_1_0",
        "keep_alive",
        "method",
        "path",
        "request_id",
        "target",
    )

    content_type: bytes | None
    path: bytes
    request_id: bytes | None
    target: bytes
    _lines: list[bytes]

    def __init__(self, method: bytes, target: bytes, version: str, fields: Fields) -> None:
        """Read a head.

        Args:
            method: As sent.
            target: The request target as sent, in origin, absolute or asterisk form.
            version: `1.0` or `1.1`; every other is refused.
            fields: Names and values in order, as the parser gave them.

        Raises:
            BadRequest: It is malformed, ambiguous, or of a kind that is not served.
        """
        if version != "1.1" and version != "1.0":
            raise BadRequest(400, f"HTTP version {version} is not served; use HTTP/1.1")
        lines, special = _sort_request_fields(fields)
        tokens = _connection_tokens(special)
        named = tokens and tokens - _NOT_NAMED
        if named:
            lines = _lines(fields, _REQUEST_SPECIAL | named)
            for name in named:
                special.pop(name, None)
        host = special.get(b"host")
        if host is None:
            if version == "1.1":
                raise BadRequest(400, "the Host field is missing")
        elif not is_authority(host):
            raise BadRequest(400, "the Host field is not a host name with an optional port")
        self.method = method
        self.target, authority = _origin_form(method, target)
        self.path = self.target.partition(b"?")[0]
        self.http_1_0 = version == "1.0"
        self.keep_alive = keeps_alive(version, tokens)
        self.body = request_body(
            version, special.get(b"transfer-encoding"), special.get(b"content-length")
        )
        self.expects_continue = (
            version == "1.1" and special.get(b"expect", b"").lower() == b"100-continue"
        )
        self.content_type = special.get(_REQUEST_NOTED)
        self.request_id = special.get(b"x-request-id")
        self._via = special.get(b"via")
        self._forwarded_for = special.get(b"x-forwarded-for")
        self._forwarded_proto = special.get(b"x-forwarded-proto", b"http")
        self._forwarded_host = special.get(b"x-forwarded-host") or authority or host
        self._authorization = special.get(b"authorization")
        self._lines = lines
        self._prefixes: dict[tuple[bytes, bytes | None, bytes], bytes] = {}

    def field(self, name: bytes) -> bytes | None:
        """Return the first value of a field that passes as it came; `name` is in lower case."""
        values = self.values(name)
        return values[0] if values else None

    def is_ordinary(self) -> bool:
        """Whether all that matters of the request is in its head's bytes and its length."""
        ordinary = self.keep_alive and not self.http_1_0 and not self.expects_continue
        return ordinary and self.body is not _CHUNKED_BODY

    def values(self, name: bytes) -> list[bytes]:
        """Return the values of a field that passes as it came; `name` is in lower case."""
        lines = self._lines
        return [lines[i + 2] for i in range(0, len(lines), 4) if lines[i].lower() == name]

    def render(
        self,
        authority: bytes,
        authorization: bytes | None,
        client: bytes,
        request_id: bytes,
        body_length: int,
    ) -> bytes:
        """Write the head for a server; the body that follows is whole and plain.

        Args:
            authority: The server's host and port, for Host.
            authorization: The server's own, which replaces the client's; or None.
            client: The client's address, for X-Forwarded-For.
            request_id: For X-Request-Id.
            body_length: In bytes, of the body after any chunked coding was taken off.
        """
        # A head that is known is rendered for the same server and client again and again.
        key = (authority, authorization, client)
        prefix = self._prefixes.get(key)
        if prefix is None:
            if len(self._prefixes) >= _MAX_PREFIXES:
                self._prefixes.clear()
            prefix = self._prefixes[key] = self._render_prefix(authority, authorization, client)
        if self.body is _NO_BODY:
            return prefix + request_id + b"\r\n\r\n"
        length = f"\r\nContent-Length: {body_length}\r\n\r\n".encode()
        return b"".join([prefix, request_id, length])

    def _render_prefix(self, authority: bytes, authorization: bytes | None, client: bytes) -> bytes:
        """Write all but the request id's value and what follows it."""
        chain = self._forwarded_for
        forwarded = client if chain is None else chain + b", " + client
        via = b"1.1 fastroute" if self._via is None else self._via + b", 1.1 fastroute"
        more = b""
        if self._forwarded_host is not None:
            more = b"X-Forwarded-Host: %b\r\n" % self._forwarded_host
        if authorization is None:
            authorization = self._authorization
        if authorization is not None:
            more += b"Authorization: %b\r\n" % authorization
        return _REQUEST_PREFIX % (
            self.method,
            self.target,
            authority,
            b"".join(self._lines),
            forwarded,
            self._forwarded_proto,
            via,
            more,
        )


class ReplyHead:
    """A server's reply head, checked, with what the proxy needs to know of it.

    Attributes:
        status: HTTP status.
        body: How the body ends.
        keep_alive: Whether the server's connection may carry another request.
        is_event_stream: Whether the body is a stream of server-sent events.
        retry_after: In seconds; 0 where the server names none, or a date.
    """

    __slots__ = (
        "_coded",
        "_dropped",
        "_fields",
        "_location",
        "_unbuffered",
        "_version",
        "body",
        "is_event_stream",
        "keep_alive",
        "retry_after",
        "status",
    )

    def __init__(self, method: bytes, status: int, version: str, fields: Fields) -> None:
        """Read a head.

        Args:
            method: Of the request answered.
            status: As the parser read it.
            version: `1.0` or `1.1`; every other is refused.
            fields: Names and values in order, as the parser gave them.

        Raises:
            BadReply: It is malformed, ambiguous, or of a kind that was not asked for.
        """
        if version != "1.1" and version != "1.0":
            raise BadReply(f"HTTP version {version}")
        if status < 100 or status == 101:
            raise BadReply(f"status {status}, which was not asked for")
        special: dict[bytes, bytes] = {}
        for name, value in fields:
            lowered = name.lower()
            if lowered in _REPLY_SPECIAL:
                before = special.get(lowered)
                special[lowered] = value if before is None else before + b", " + value
        if version == "1.0" and b"transfer-encoding" in special:
            raise BadReply("Transfer-Encoding in an HTTP/1.0 reply")
        tokens = _connection_tokens(special)
        self._dropped: AbstractSet[bytes] = _NO_TOKENS
        if not _HOP_BY_HOP.isdisjoint(special):
            self._dropped = (_HOP_BY_HOP | tokens) - _REPLY_FRAMING
        self._fields = fields
        self._version = version
        self._coded = b"transfer-encoding" in special or b"trailer" in special
        self._location = special.get(b"location")
        self.status = status
        self.body = reply_body(
            method, status, special.get(b"transfer-encoding"), special.get(b"content-length")
        )
        self.keep_alive = self.body is not _UNTIL_CLOSE and keeps_alive(version, tokens)
        content_type = special.get(b"content-type", b"")
        self.is_event_stream = content_type[:17].lower() == b"text/event-stream"
        self._unbuffered = b"x-accel-buffering" in special
        retry_after = special.get(b"retry-after", b"")
        self.retry_after = int(retry_after) if _DELAY.fullmatch(retry_after) else 0

    def is_ordinary(self) -> bool:
        """Whether all that matters of the reply is in its head's bytes and its length."""
        plain = not self._dropped and self._location is None and self._version == "1.1"
        return plain and self.keep_alive and not self._coded

    def is_final(self) -> bool:
        """Whether this is the answer, not an informational reply before it."""
        return self.status >= 200

    def render(
        self,
        raw: bytes,
        authority: bytes,
        connection: bytes | None = None,
        unwrapped: bool = False,
    ) -> bytes:
        """Write the head for the client; it is the server's own bytes where nothing must change.

        Args:
            raw: The whole head as it came, with its final empty line.
            authority: The server's host and port; a redirect to it becomes a relative one, since
                vLLM builds Location from Host and the client cannot reach that address.
            connection: The Connection field the client needs, or None.
            unwrapped: Whether the client speaks HTTP/1.0, and must not be told of chunked coding.
        """
        head, fields = raw, self._fields
        if self._location is not None:
            fields = [(n, _relative(n, v, authority)) for n, v in fields]
        unwrapped = unwrapped and self._coded
        if self._dropped or self._version == "1.0" or unwrapped or fields is not self._fields:
            framing = _CHUNKED_FIELDS if unwrapped else _NO_TOKENS
            status_line = b"HTTP/1.1" + head[8 : head.index(b"\r\n") + 2]
            head = b"".join((status_line, *_lines(fields, self._dropped | framing), b"\r\n"))
        if self.is_event_stream and not self._unbuffered:
            # nginx in front of us would hold events back otherwise.
            head = head[:-2] + b"x-accel-buffering: no\r\n\r\n"
        if connection is not None:
            head = head[:-2] + b"connection: " + connection + b"\r\n\r\n"
        return head


def render_reply(status: int, fields: Fields, body: bytes, *, with_body: bool = True) -> bytes:
    """Write a whole reply of fastroute's own, Content-Length included.

    Args:
        status: HTTP status.
        fields: All others.
        body: It is measured even when it is not sent, as in a reply to HEAD.
        with_body: Whether the body is sent.
    """
    lines = _lines(fields, _NO_TOKENS)
    length = b"content-length: %d\r\n\r\n" % len(body)
    return b"".join((_STATUS_LINES[status], *lines, length, body if with_body else b""))


def without_upgrade(fields: Fields) -> list[bytes]:
    """Render a request's fields as lines, all but Upgrade."""
    return _lines(fields, {b"upgrade"})


def _sort_request_fields(fields: Fields) -> tuple[list[bytes], dict[bytes, bytes]]:
    """Split fields into rendered lines to copy, and special ones by lower-case name."""
    lines: list[bytes] = []
    special: dict[bytes, bytes] = {}
    for name, value in fields:
        lowered = name.lower()
        if lowered not in _REQUEST_SPECIAL:
            lines += (name, b": ", value, b"\r\n")
            if lowered != _REQUEST_NOTED:
                continue
        value = value.rstrip(b" \t")
        if lowered not in special:
            special[lowered] = value
        elif lowered in _REQUEST_SINGLE:
            raise BadRequest(400, f"more than one {name.decode('latin-1')} field")
        else:
            # A list may come in several lines (RFC 9110 section 5.3).
            special[lowered] += b", " + value
    return lines, special


def _lines(fields: Fields, dropped: AbstractSet[bytes]) -> list[bytes]:
    lines: list[bytes] = []
    for name, value in fields:
        if name.lower() not in dropped:
            lines += (name, b": ", value, b"\r\n")
    return lines


def _connection_tokens(special: Mapping[bytes, bytes]) -> AbstractSet[bytes]:
    """Return the members of Connection in lower case.

    The parser takes `close` in the old Proxy-Connection for an end of the connection, too.
    """
    tokens = _NO_TOKENS
    if b"connection" in special:
        tokens = _tokens(special[b"connection"])
    if b"proxy-connection" in special:
        tokens |= _tokens(special[b"proxy-connection"]) & {b"close"}
    return tokens


@lru_cache(256)  # nearly always the same: 0.1 us in place of 0.7
def _tokens(value: bytes) -> frozenset[bytes]:
    return frozenset(token.strip(b" \t") for token in value.lower().split(b",")) - {b""}


def _origin_form(method: bytes, target: bytes) -> tuple[bytes, bytes | None]:
    """Return path and query as sent, and the authority of an absolute URI (RFC 9112 3.2)."""
    if b"#" in target:
        raise BadRequest(400, "a fragment is not allowed in a request target")
    if target.startswith(b"/"):
        return target, None
    if target == b"*" and method == b"OPTIONS":
        return target, None
    scheme = target[: target.find(b"://") + 3].lower()
    if scheme not in _SCHEMES:
        raise BadRequest(400, "the request target must be a path or an http URI")
    rest = target[len(scheme) :]
    end = min((i for i in (rest.find(b"/"), rest.find(b"?")) if i >= 0), default=len(rest))
    authority, path = rest[:end], rest[end:]
    if not authority or not is_authority(authority):
        raise BadRequest(400, "the request target's authority is not a host and port")
    return path if path.startswith(b"/") else b"/" + path, authority


def _relative(name: bytes, value: bytes, authority: bytes) -> bytes:
    """Return a field's value; of a Location that leads to `authority`, the path only."""
    if name.lower() != b"location":
        return value
    for scheme in _SCHEMES:
        origin = scheme + authority
        if value == origin or value.startswith((origin + b"/", origin + b"?")):
            path = value[len(origin) :]
            return path if path.startswith(b"/") else b"/" + path
    return value
