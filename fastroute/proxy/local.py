"""The endpoints fastroute answers itself, and its own replies."""

from collections.abc import Callable, Mapping
from email.utils import formatdate

from fastroute.errors import error_body
from fastroute.rules.message import render_reply

LocalEndpoint = Callable[[], tuple[int, bytes]]
"""Returns an HTTP status and a JSON body. It must be quick and do no I/O."""

OWN_PREFIX = b"/fastroute"
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


def answer_locally(
    endpoints: Mapping[bytes, LocalEndpoint], method: bytes, target: bytes
) -> tuple[int, bytes] | None:
    """Answer a request for one of fastroute's own paths.

    Args:
        endpoints: By path.
        method: Of the request.
        target: Path and query of the request.

    Returns:
        Status and JSON body, or None where the request is a server's to answer.
    """
    path = target.partition(b"?")[0]
    endpoint = endpoints.get(path)
    if endpoint is None:
        if path != OWN_PREFIX and not path.startswith(OWN_PREFIX + b"/"):
            return None
        return 404, own_error(404, f"fastroute has no endpoint {path.decode('latin-1')}")
    if method not in _METHODS:
        return 405, own_error(405, f"{path.decode('latin-1')} is fastroute's own; use GET")
    return endpoint()


def own_error(status: int, message: str) -> bytes:
    """Render the JSON body of an error of fastroute's own."""
    return error_body(status, message, _ERROR_TYPES[status])


def own_reply(
    status: int, body: bytes, *, method: bytes, connection: bytes | None, retry_after: int = 0
) -> bytes:
    """Render a whole reply of fastroute's own.

    Args:
        status: HTTP status.
        body: JSON.
        method: Of the request; a reply to HEAD carries the fields only.
        connection: The Connection field, or None.
        retry_after: In seconds; 0 for none.
    """
    fields: list[tuple[bytes, bytes]] = [
        (b"date", formatdate(usegmt=True).encode()),
        (b"server", b"fastroute"),
        (b"content-type", b"application/json"),
    ]
    if status == 405:
        fields.append((b"allow", b"GET, HEAD"))
    if retry_after:
        fields.append((b"retry-after", b"%d" % retry_after))
    if connection is not None:
        fields.append((b"connection", connection))
    return render_reply(status, fields, body, with_body=method != b"HEAD")
