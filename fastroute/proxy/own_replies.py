"""What fastroute answers itself: its own endpoints, and errors of its own."""

from collections.abc import Callable, Mapping, Sequence
from email.utils import formatdate
from typing import Protocol

import msgspec

from fastroute.errors import error_body
from fastroute.rules.request_head import RequestHead
from fastroute.rules.response_head import render_reply


class LocalReply(Protocol):
    """A whole answer, as the views give it."""

    @property
    def status(self) -> int:
        """HTTP status."""

    @property
    def body(self) -> bytes:
        """The body."""

    @property
    def content_type(self) -> str:
        """For the Content-Type field."""

    @property
    def fields(self) -> tuple[tuple[bytes, bytes], ...]:
        """Other fields, names in lower case."""


class LateClient(Protocol):
    """The connection of a client that waits for a reply of fastroute's own.

    Attributes:
        address: IP address.
    """

    address: bytes

    def late_reply(self, reply: LocalReply, reason: str | None = None) -> None:
        """Send the reply. The reason, if it is an error, is for the access log."""


class LateReply:
    """A reply of fastroute's own that is not there yet; to its connection it is like an exchange.

    It ends by exactly one call of the client's `late_reply`, or by `cancel`.
    """

    __slots__ = ()

    trace: None = None
    """Such requests have no spans."""

    def start(self, client: LateClient, head: RequestHead) -> None:
        """Ask for the reply.

        Args:
            client: Is given it.
            head: The client's request.
        """
        raise NotImplementedError

    def cancel(self) -> None:
        """Stop: the client is gone."""
        raise NotImplementedError

    def cut(self) -> None:
        """Stop, and answer with an error: this worker stops now."""
        raise NotImplementedError

    def sweep(self, now: float) -> None:
        """Answer with an error if it takes too long."""
        raise NotImplementedError

    def pause_reply(self) -> None:
        """Do nothing: there is no part of the reply yet."""

    def resume_reply(self) -> None:
        """Do nothing."""


LocalEndpoint = Callable[[], LocalReply | LateReply | None]
"""Answers a GET, quickly and without I/O; None leaves the answer to a server."""

OWN_PREFIX = b"/fastroute"
RETRY_AFTER_S = 1
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
}


class OwnReply(msgspec.Struct, frozen=True):
    """A plain reply of fastroute's own."""

    status: int
    body: bytes
    content_type: str = "application/json"
    fields: tuple[tuple[bytes, bytes], ...] = ()


class Listener(msgspec.Struct, frozen=True):
    """What is served at one listening address.

    Attributes:
        endpoints: Those that fastroute answers itself, by path.
        forwards: Whether all other paths go to servers; at the admin port they do not.
    """

    endpoints: Mapping[bytes, LocalEndpoint]
    forwards: bool = True

    def answer(self, method: bytes, target: bytes) -> LocalReply | LateReply | None:
        """Answer a request, or return None where it is a server's to answer."""
        path = target.partition(b"?")[0]
        endpoint = self.endpoints.get(path)
        if endpoint is None:
            if self.forwards and path != OWN_PREFIX and not path.startswith(OWN_PREFIX + b"/"):
                return None
            return own_error(404, f"fastroute has no endpoint {path.decode('latin-1')}")
        if method in _METHODS:
            reply = endpoint()
            if reply is not None or self.forwards:
                return reply
            return own_error(503, "not known yet")
        return own_error(405, f"{path.decode('latin-1')} is fastroute's own; use GET")


def own_error(status: int, message: str, param: str | None = None) -> OwnReply:
    """Make an error in the shape that OpenAI's clients show."""
    return OwnReply(status, error_body(status, message, _ERROR_TYPES[status], param))


def unknown_model(model: str, known: Sequence[str]) -> OwnReply:
    """Make vLLM's own error for a model that it does not have."""
    return own_error(
        404, f"The model `{model}` does not exist. Valid aliases: {', '.join(known)}.", "model"
    )


def own_reply(
    reply: LocalReply,
    *,
    method: bytes,
    connection: bytes | None,
    if_none_match: bytes | None = None,
) -> bytes:
    """Render a whole reply of fastroute's own.

    Args:
        reply: Status and body.
        method: Of the request; a reply to HEAD carries the fields only.
        connection: The Connection field, or None.
        if_none_match: The request's field: a reply whose ETag it names has not changed, and its
            body is not sent again (RFC 9110 section 13.1.2).
    """
    fields: list[tuple[bytes, bytes]] = [
        (b"date", formatdate(usegmt=True).encode()),
        (b"server", b"fastroute"),
        (b"content-type", reply.content_type.encode()),
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
    """Whether the field names the reply's ETag; ours have no comma in them."""
    etag = dict(reply.fields).get(b"etag")
    named = [each.strip(b" \t").removeprefix(b"W/") for each in if_none_match.split(b",")]
    return etag is not None and (etag in named or named == [b"*"])
