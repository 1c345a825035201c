"""HTTP messages of the stand-in: requests, and responses in the form of vLLM's uvicorn."""

import hashlib
import time
from email.utils import formatdate
from http import HTTPStatus

import msgspec
import orjson

STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
JSON = b"application/json"
LAST_CHUNK = b"0\r\n\r\n"


class Settings(msgspec.Struct, kw_only=True):
    """Settings from the command line; some can be changed later with POST /standin/set.

    Attributes:
        name: Shown by /standin/state and /standin/echo, to tell stand-ins apart.
        models: Served model names; the first labels the metrics, as in vLLM.
        slots: Number of sequences generated concurrently; others wait, first come first served.
        ttft: Time from getting a slot to the first token, seconds.
        token_interval: Time between tokens, seconds.
        max_queued: Number of unfinished sequences, waiting and running, above which to return 503
            (vLLM's --max-num-queued-reqs); None is no limit.
        keep_alive: Seconds after a response until an idle connection is closed.
        healthy: True if /health returns 200.
    """

    name: str = "standin"
    models: tuple[str, ...] = ("standin",)
    slots: int = 16
    ttft: float = 0.0
    token_interval: float = 0.0
    max_queued: int | None = None
    keep_alive: float = 5.0
    healthy: bool = True


class Request:
    """One request; a body that may be large is only counted and digested."""

    __slots__ = (
        "_chunks",
        "body_size",
        "digest",
        "expects_continue",
        "fields",
        "head_complete",
        "keep_alive",
        "method",
        "path",
        "query",
        "refusal",
        "target",
        "trailers",
        "version",
    )

    def __init__(self) -> None:
        self.method = b""
        self.target = b""
        self.path = b""
        self.query = b""
        self.version = "1.1"
        self.fields: list[tuple[bytes, bytes]] = []
        self.trailers: list[tuple[bytes, bytes]] = []
        self.head_complete = False
        self.keep_alive = True
        self.expects_continue = False
        # The error response to headers that are rejected, whatever the body.
        self.refusal: Reply | None = None
        self.body_size = 0
        # Set to a hash before the body arrives, to digest the body instead of storing it.
        self.digest: hashlib._Hash | None = None
        self._chunks: list[bytes] = []

    def add_field(self, name: bytes, value: bytes) -> None:
        (self.trailers if self.head_complete else self.fields).append((name, value))

    def add_body(self, part: bytes) -> None:
        self.body_size += len(part)
        if self.digest is None:
            self._chunks.append(part)
        else:
            self.digest.update(part)

    def complete_head(self) -> None:
        self.head_complete = True
        expect = self.field(b"expect")
        self.expects_continue = expect is not None and expect.lower() == b"100-continue"
        self.path, _, self.query = self.target.partition(b"?")
        if self.path.startswith(b"http://"):  # An absolute URI is accepted, as in vLLM.
            self.path = b"/" + self.path[7:].partition(b"/")[2]

    @property
    def body(self) -> bytes:
        return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)

    def field(self, name: bytes) -> bytes | None:
        """Return the first value of a header, or None.

        Args:
            name: Lower-case name of the header.
        """
        for candidate, value in self.fields:
            if candidate.lower() == name:
                return value
        return None


class Reply(msgspec.Struct, frozen=True, gc=False):
    """A response with a complete body.

    Attributes:
        fields: Further header lines, each ending with CRLF.
    """

    status: int
    body: bytes = b""
    content_type: bytes = b""
    fields: bytes = b""

    @classmethod
    def json(cls, value: object, status: int = 200, fields: bytes = b"") -> "Reply":
        return cls(status, orjson.dumps(value), JSON, fields)


class HeadWriter:
    """Renders response headers; renders the Date header once a second."""

    __slots__ = ("_start", "_valid_second")

    def __init__(self) -> None:
        self._valid_second = 0
        self._start = b""

    def render(self, status: int, fields: bytes, *, keep_alive: bool) -> bytes:
        """Return the status line and headers, including the empty line.

        Args:
            status: HTTP status.
            fields: Header lines, each ending with CRLF.
            keep_alive: True if the connection stays open after this response.
        """
        end = (
            b"vary: Origin\r\n\r\n" if keep_alive else b"vary: Origin\r\nconnection: close\r\n\r\n"
        )
        return b"".join((STATUS_LINES[status], self._date_and_server(), fields, end))

    def refusal(self) -> bytes:
        """Return uvicorn's response to an invalid request; the connection closes after it."""
        return b"".join(
            (
                STATUS_LINES[400],
                self._date_and_server(),
                b"content-type: text/plain; charset=utf-8\r\ncontent-length: 30\r\n",
                b"connection: close\r\n\r\nInvalid HTTP request received.",
            )
        )

    def _date_and_server(self) -> bytes:
        now = int(time.time())
        if now != self._valid_second:
            self._valid_second = now
            self._start = f"date: {formatdate(now, usegmt=True)}\r\nserver: uvicorn\r\n".encode()
        return self._start


def whole_fields(reply: Reply) -> bytes:
    """Return the header lines of a response with a Content-Length."""
    if not reply.content_type:
        return b"content-length: %d\r\n%b" % (len(reply.body), reply.fields)
    return b"content-length: %d\r\ncontent-type: %b\r\n%b" % (
        len(reply.body),
        reply.content_type,
        reply.fields,
    )


def chunk(data: bytes) -> bytes:
    """Return one chunk of the chunked transfer coding."""
    return b"%x\r\n%b\r\n" % (len(data), data)
