"""Responses of fastroute itself: its own endpoints, and its errors."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from fastroute.errors import error_body
from fastroute.printable import MAX_LINE, listed, printable, printable_bytes
from fastroute.proxy.http_date import http_date
from fastroute.rules.request_head import RequestHead
from fastroute.rules.response_head import render_reply


class LocalReply(Protocol):
    """A complete response, as views return it."""

    @property
    def status(self) -> int:
        """HTTP status."""

    @property
    def body(self) -> bytes:
        """Body."""

    @property
    def content_type(self) -> str:
        """Value of the Content-Type header."""

    @property
    def fields(self) -> tuple[tuple[bytes, bytes], ...]:
        """Other headers, names in lower case."""


class LateClient(Protocol):
    """The connection of a client that waits for a response of fastroute itself.

    Attributes:
        address: IP address.
    """

    address: bytes

    def late_reply(self, reply: LocalReply, reason: str | None = None) -> None:
        """Send the response.

        Args:
            reply: The response.
            reason: Reason of an error, for the access log; None for a success.
        """


class LateReply:
    """A response of fastroute that is not ready yet; its connection treats it like an exchange.

    It ends with exactly one call of the client's `late_reply`, or with `cancel`.
    """

    __slots__ = ()

    trace: None = None
    """Such requests have no spans."""
    body = b""
    """Such requests have no body."""

    def start(self, client: LateClient, head: RequestHead) -> None:
        """Request the response.

        Args:
            client: Receives the response.
            head: Head of the client's request.
        """
        raise NotImplementedError

    def cancel(self) -> None:
        """Stop, because the client disconnected."""
        raise NotImplementedError

    def cut(self) -> None:
        """Stop and send an error, because this worker exits."""
        raise NotImplementedError

    def sweep(self, now: float) -> None:
        """Send an error if the timeout has passed."""
        raise NotImplementedError

    def pause_reply(self) -> None:
        """Do nothing: no part of the response exists yet."""

    def resume_reply(self) -> None:
        """Do nothing."""


LocalEndpoint = Callable[[], LocalReply | LateReply | None]
"""Responds to a GET, quickly and without I/O; None to forward the request to a server."""

OWN_PREFIX = b"/fastroute"
RETRY_AFTER_S = 1
MAX_ETAGS = 32
"""Maximum number of members of If-None-Match."""
_METHODS = (b"GET", b"HEAD")
_ERROR_TYPES = {
    400: "BadRequestError",
    404: "NotFoundError",
    405: "MethodNotAllowedError",
    408: "TimeoutError",
    413: "RequestTooLargeError",
    429: "TooManyRequestsError",
    431: "HeadersTooLargeError",
    502: "BadGatewayError",
    503: "ServiceUnavailableError",
    504: "GatewayTimeoutError",
    508: "LoopDetectedError",
}


class OwnReply(msgspec.Struct, frozen=True):
    """A complete response of fastroute itself."""

    status: int
    body: bytes
    content_type: str = "application/json"
    fields: tuple[tuple[bytes, bytes], ...] = ()


class Listener(msgspec.Struct, frozen=True):
    """Endpoints at one listening address.

    Attributes:
        endpoints: fastroute's own endpoints by path.
        forwards: True if requests for all other paths are forwarded; false for the admin port.
    """

    endpoints: Mapping[bytes, LocalEndpoint]
    forwards: bool = True

    def answer(self, method: bytes, target: bytes) -> LocalReply | LateReply | None:
        """Return the response to a request, or None to forward it to a server."""
        path = target.partition(b"?")[0]
        endpoint = self.endpoints.get(path)
        if endpoint is None:
            if self.forwards and path != OWN_PREFIX and not path.startswith(OWN_PREFIX + b"/"):
                return None
            return own_error(404, f"fastroute has no endpoint {printable_bytes(path)}")
        if method in _METHODS:
            reply = endpoint()
            if reply is not None or self.forwards:
                return reply
            return own_error(503, "not known yet")
        return own_error(405, f"{printable_bytes(path)} is fastroute's own; use GET")


def own_error(status: int, message: str, param: str | None = None) -> OwnReply:
    """Make an error response in OpenAI's format."""
    return OwnReply(status, error_body(status, message, _ERROR_TYPES[status], param))


def unknown_model(model: str, known: Sequence[str]) -> OwnReply:
    """Make the error response that vLLM sends for an unknown model."""
    names = listed(known, MAX_LINE)
    return own_error(
        404, f"The model `{printable(model)}` does not exist. Valid aliases: {names}.", "model"
    )


def own_reply(
    reply: LocalReply,
    *,
    method: bytes,
    connection: bytes | None,
    if_none_match: bytes | None = None,
) -> bytes:
    """Render a response of fastroute itself.

    Args:
        reply: Status and body.
        method: Method of the request; the response to HEAD has no body.
        connection: Value of the Connection header, or None.
        if_none_match: If-None-Match header of the request, or None. If it has the ETag of the
            response, the status is 304 without a body (RFC 9110 section 13.1.2).
    """
    fields: list[tuple[bytes, bytes]] = [
        (b"date", http_date()),
        (b"server", b"fastroute"),
        (b"content-type", reply.content_type.encode()),
        (b"x-content-type-options", b"nosniff"),
        *reply.fields,
    ]
    if reply.status == 405:
        fields.append((b"allow", b"GET, HEAD"))
    if reply.status == 503:
        fields.append((b"retry-after", b"%d" % RETRY_AFTER_S))
    if connection is not None:
        fields.append((b"connection", connection))
    if if_none_match is not None and _names(if_none_match, reply):
        return render_reply(304, fields, reply.body, with_body=False)
    return render_reply(reply.status, fields, reply.body, with_body=method != b"HEAD")


def _names(if_none_match: bytes, reply: LocalReply) -> bool:
    """Return True if If-None-Match has the ETag of the response; our ETags have no comma.

    Members after the first `MAX_ETAGS` do not count: then the client gets the whole response.
    """
    etag = dict(reply.fields).get(b"etag")
    members = if_none_match.split(b",", MAX_ETAGS)[:MAX_ETAGS]
    named = [each.strip(b" \t").removeprefix(b"W/") for each in members]
    return etag is not None and (etag in named or named == [b"*"])
