"""h11 as an independent HTTP implementation, to validate bytes."""

from typing import NamedTuple

import h11

# Everything in these tests is smaller; h11's default limit for headers is 16 KiB.
MAX_HEAD_BYTES = 2**20
HOP_BY_HOP = {
    *(b"connection", b"keep-alive", b"proxy-connection", b"te", b"upgrade", b"http2-settings"),
    *(b"transfer-encoding", b"content-length", b"trailer", b"expect"),
}

Fields = list[tuple[bytes, bytes]]


class JudgedRequest(NamedTuple):
    """A request as parsed by h11; header names are in lower case."""

    method: bytes
    target: bytes
    version: bytes
    fields: Fields
    body: bytes
    whole: bool

    def values(self, name: bytes) -> list[bytes]:
        return [value for field, value in self.fields if field == name]


class JudgedReply(NamedTuple):
    """A response as parsed by h11, with the informational ones before it."""

    status: int
    fields: Fields
    body: bytes
    trailers: Fields
    whole: bool
    informational: list[int]

    def values(self, name: bytes) -> list[bytes]:
        return [value for field, value in self.fields if field == name]


def judge_requests(raw: bytes) -> list[JudgedRequest]:
    """Read all requests on a connection.

    Raises:
        h11.RemoteProtocolError: The bytes are not valid HTTP for h11.
    """
    requests, refusal = judge_doubtful_requests(raw)
    if refusal is not None:
        raise refusal
    return requests


def judge_doubtful_requests(
    raw: bytes,
) -> tuple[list[JudgedRequest], h11.RemoteProtocolError | None]:
    """Read requests up to the first invalid one, and return the error."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
    connection.receive_data(raw)
    requests: list[JudgedRequest] = []
    try:
        while isinstance(request := connection.next_event(), h11.Request):
            body, _, whole = _read_body(connection)
            requests.append(
                JudgedRequest(
                    bytes(request.method), bytes(request.target), bytes(request.http_version),
                    list(request.headers), body, whole,
                )
            )  # fmt: skip
            if not whole:
                break
            connection.send(h11.Response(status_code=200, headers=[(b"content-length", b"0")]))
            connection.send(h11.EndOfMessage())
            if connection.our_state is not h11.DONE:
                break
            connection.start_next_cycle()
    except h11.RemoteProtocolError as error:
        return requests, error
    return requests, None


def judge_replies(raw: bytes, methods: list[bytes], *, closed: bool) -> list[JudgedReply]:
    """Read all responses to requests with these methods.

    Args:
        raw: All bytes that a client received.
        methods: Methods of its requests.
        closed: True if the connection was closed after that, without a reset.

    Raises:
        h11.RemoteProtocolError: The bytes are not valid HTTP for h11, or too many responses.
    """
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
    connection.receive_data(raw)
    if closed:
        connection.receive_data(b"")
    replies = []
    for method in methods:
        connection.send(h11.Request(method=method, target=b"/", headers=[(b"host", b"t")]))
        connection.send(h11.EndOfMessage())
        informational = []
        while isinstance(reply := _next_event(connection), h11.InformationalResponse):
            informational.append(reply.status_code)
        if reply is None:
            return replies
        assert isinstance(reply, h11.Response)
        body, trailers, whole = _read_body(connection)
        fields = list(reply.headers)
        replies.append(JudgedReply(reply.status_code, fields, body, trailers, whole, informational))
        if not whole or connection.their_state is not h11.DONE:
            break
        connection.start_next_cycle()
    if connection.their_state is h11.IDLE or connection.their_state is h11.DONE:
        left, _ = connection.trailing_data
        assert not left, f"more came than was asked for: {left!r}"
    return replies


def _next_event(connection: h11.Connection) -> object:
    """Return the next event, or None if bytes are missing."""
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError as error:
        # Truncated by the end of the connection; only then is it an error for h11.
        if "closed connection" in str(error):
            return None
        raise
    return None if event in (h11.NEED_DATA, h11.PAUSED) else event


def _read_body(connection: h11.Connection) -> tuple[bytes, Fields, bool]:
    body = bytearray()
    while isinstance(event := _next_event(connection), h11.Data):
        body += event.data
    if isinstance(event, h11.EndOfMessage):
        return bytes(body), list(event.headers), True
    return bytes(body), [], False
