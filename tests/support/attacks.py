"""Bytes of clients that want to stop a worker: each input costs as much as a client can make it."""

from collections.abc import Callable

MB = 1 << 20
HOST = b"Host: x\r\n"
CHAT = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
CLOSE = b"Connection: close\r\n"


def filled(piece: bytes, size: int) -> bytes:
    """Repeat a piece up to a size in bytes."""
    return piece * max(1, size // len(piece))


def with_body(body: bytes, head: bytes = CHAT) -> bytes:
    return b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body)


def json_of(piece: bytes, size: int, *, start: bytes = b'{"a":0', end: bytes = b"}") -> bytes:
    return with_body(start + filled(piece, size) + end)


def form_of(piece: bytes, size: int) -> bytes:
    head = CHAT.replace(b"application/json", b"multipart/form-data; boundary=b")
    return with_body(filled(piece, size) + b"--b--\r\n", head)


def chunked(piece: bytes, size: int, *, end: bytes = b"0\r\n\r\n") -> bytes:
    return CHAT + b"Transfer-Encoding: chunked\r\n\r\n" + filled(piece, size) + end


def get(path: bytes, fields: bytes = b"") -> bytes:
    return b"GET %b HTTP/1.1\r\n%b%b\r\n" % (path, HOST, fields)


BODIES: dict[str, Callable[[int], bytes]] = {
    "escaped keys": lambda size: json_of(rb',"\u006dodel":"m"', size),
    "other escaped keys": lambda size: json_of(rb',"\u006d":0', size),
    "escaped quotes": lambda size: json_of(rb"\"", size, start=b'{"a":"', end=b'"}'),
    "backslashes": lambda size: json_of(b"\\\\", size, start=b'{"a":"', end=b'"}'),
    "white space": lambda size: json_of(b" ", size, start=b'{"a"', end=b":0}"),
    "white space before": lambda size: json_of(b" ", size, start=b"", end=b"{}"),
    "nested arrays": lambda size: json_of(b"[", size, start=b'{"a":', end=b"}"),
    "nested objects": lambda size: json_of(b'{"":', size, start=b'{"a":', end=b"}"),
    "empty arrays": lambda size: json_of(b",[]", size, start=b'{"a":[0', end=b"]}"),
    "keys": lambda size: json_of(b',"":0', size),
    "numbers": lambda size: json_of(b",0", size, start=b'{"a":[0', end=b"]}"),
    "models": lambda size: json_of(b',"model":"standin"', size),
    "a long name": lambda size: json_of(b"m", size, start=b'{"model":"', end=b'"}'),
    "form parts": lambda size: form_of(b"--b\r\n\r\n\r\n", size),
    "form headers": lambda size: form_of(
        b"--b\r\nContent-Disposition: form-data" + b";a=b" * 1000 + b"\r\n\r\n\r\n", size
    ),
    "form without headers": lambda size: form_of(b"--b\r\n", size),
    "chunks": lambda size: chunked(b"1\r\n \r\n", size),
    "chunk extensions": lambda size: chunked(b"1;a=b;c=d\r\n \r\n", size),
}
"""Requests with a body of about this size in bytes."""

HEADS: dict[str, Callable[[int], bytes]] = {
    "small fields": lambda size: get(b"/livez", filled(b"a:\r\n", size)),
    "fields": lambda size: get(b"/livez", filled(b"abc: def\r\n", size)),
    "a repeated field": lambda size: get(b"/livez", filled(b"Via: a\r\n", size)),
    "cookies": lambda size: get(b"/livez", filled(b"Cookie: a=b\r\n", size)),
    "Connection members": lambda size: get(b"/livez", b"Connection: %b\r\n" % filled(b"a,", size)),
    "If-None-Match members": lambda size: get(
        b"/dashboard", b"If-None-Match: %b\r\n" % filled(b"a,", size)
    ),
    "a query": lambda size: get(b"/v1/models/x?model=&" + filled(b"a=b&", size)),
    "models in a query": lambda size: get(b"/v1/models/x?" + filled(b"model=&", size)),
    "escapes in a query": lambda size: get(b"/v1/models/x?model=" + filled(b"%41", size)),
    "a long path": lambda size: get(b"/fastroute/" + filled(b"a", size)),
    "trailers": lambda size: chunked(b"1\r\n \r\n0\r\n" + filled(b"a:\r\n", size), 1, end=b"\r\n"),
    "a long host": lambda size: get(b"/livez").replace(b"x", filled(b"h", size)),
}
"""Requests with a head of about this size in bytes."""
