"""Request heads: parsing of what a client sent, and rendering for a server."""

from typing import Final

from fastroute.errors import BadRequest
from fastroute.rules.framing import Body, is_authority, keeps_alive, request_body
from fastroute.rules.headers import (
    HOP_BY_HOP,
    SCHEMES,
    Fields,
    connection_tokens,
    header_lines,
)

# Fields of a request that decide its framing or its way: Connection cannot take them away.
_REQUEST_OWN: Final = frozenset(
    (b"host", b"content-length", b"transfer-encoding", b"trailer", b"expect")
)
# Fields of a request that are not simply copied: dropped, or written anew.
_REQUEST_SPECIAL: Final = (
    HOP_BY_HOP
    | _REQUEST_OWN
    | {b"via", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-request-id"}
    | {b"authorization"}
)
# Members of Connection that name no field of a request to drop.
_NOT_NAMED: Final = HOP_BY_HOP | _REQUEST_OWN | {b"close"}
# Fields of a request that may stand there once only.
_REQUEST_SINGLE: Final = _REQUEST_OWN | {b"authorization"}
# Fields of a request that are looked at and copied too.
_REQUEST_NOTED: Final = b"content-type"
_NO_BODY: Final = Body.NONE
_CHUNKED_BODY: Final = Body.CHUNKED
# One format costs 0.9 us, a list of the parts to join 1.5.
_REQUEST_PREFIX: Final = (
    b"%b %b HTTP/1.1\r\nHost: %b\r\n%bX-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\n"
    b"Via: %b\r\n%bX-Request-Id: "
)
_MAX_PREFIXES: Final = 16


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
        tokens = connection_tokens(special)
        named = tokens and tokens - _NOT_NAMED
        if named:
            lines = header_lines(fields, _REQUEST_SPECIAL | named)
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


def without_upgrade(fields: Fields) -> list[bytes]:
    """Render a request's fields as lines, all but Upgrade."""
    return header_lines(fields, {b"upgrade"})


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


def _origin_form(method: bytes, target: bytes) -> tuple[bytes, bytes | None]:
    """Return path and query as sent, and the authority of an absolute URI (RFC 9112 3.2)."""
    if b"#" in target:
        raise BadRequest(400, "a fragment is not allowed in a request target")
    if target.startswith(b"/"):
        return target, None
    if target == b"*" and method == b"OPTIONS":
        return target, None
    scheme = target[: target.find(b"://") + 3].lower()
    if scheme not in SCHEMES:
        raise BadRequest(400, "the request target must be a path or an http URI")
    rest = target[len(scheme) :]
    end = min((i for i in (rest.find(b"/"), rest.find(b"?")) if i >= 0), default=len(rest))
    authority, path = rest[:end], rest[end:]
    if not authority or not is_authority(authority):
        raise BadRequest(400, "the request target's authority is not a host and port")
    return path if path.startswith(b"/") else b"/" + path, authority
