"""HTTP messages of the stand-in: requests as they arrive, replies as vLLM's uvicorn writes them."""

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
    """What can be set on the command line, and some of it later by POST /standin/set.

    Attributes:
        name: Shown by /standin/state and /standin/echo, to tell stand-ins apart.
        models: Served model names; the first labels the metrics, as in vLLM.
        slots: Sequences generated at once; more wait, first come first served.
        ttft: Time from getting a slot to the first token, seconds.
        token_interval: Time between tokens, seconds.
        max_queued: Refuse with 503 beyond so many unfinished sequences, waiting and running
            (vLLM's --max-num-queued-reqs); None is no limit.
        keep_alive: Close a connection idle for so long after an answer, seconds.
        healthy: Whether /health says 200.
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
    """One request; its body is kept, or only counted and digested when it may be large."""

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
        # The answer to a head that is refused whatever its body.
        self.refusal: Reply | None = None
        self.body_size = 0
        # Set to a hash before the body comes, to digest it instead of keeping it.
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
        if self.path.startswith(b"http://"):  # An absolute URI is accepted, as by vLLM.
            self.path = b"/" + self.path[7:].partition(b"/")[2]

    @property
    def body(self) -> bytes:
        return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)

    def field(self, name: bytes) -> bytes | None:
        """The first value of a field, or None.

        Args:
            name: Lower-case field name.
        """
        for candidate, value in self.fields:
            if candidate.lower() == name:
                return value
        return None


class Reply(msgspec.Struct, frozen=True, gc=False):
    """A reply whose whole body is known.

    Attributes:
        fields: Further field lines, each ended by CRLF.
    """

    status: int
    body: bytes = b""
    content_type: bytes = b""
    fields: bytes = b""

    @classmethod
    def json(cls, value: object, status: int = 200, fields: bytes = b"") -> "Reply":
        return cls(status, orjson.dumps(value), JSON, fields)


class HeadWriter:
    """Renders reply heads; makes the date field once a second."""

    __slots__ = ("_start", "_valid_second")

    def __init__(self) -> None:
        self._valid_second = 0
        self._start = b""

    def render(self, status: int, fields: bytes, *, keep_alive: bool) -> bytes:
        """The head up to and with its empty line.

        Args:
            status: HTTP status.
            fields: Field lines, each ended by CRLF.
            keep_alive: Whether the connection stays open after this reply.
        """
        end = (
            b"vary: Origin\r\n\r\n" if keep_alive else b"vary: Origin\r\nconnection: close\r\n\r\n"
        )
        return b"".join((STATUS_LINES[status], self._date_and_server(), fields, end))

    def refusal(self) -> bytes:
        """What uvicorn says to bytes that are no HTTP request; the connection closes after it."""
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
    """The field lines of a reply with a Content-Length."""
    if not reply.content_type:
        return b"content-length: %d\r\n%b" % (len(reply.body), reply.fields)
    return b"content-length: %d\r\ncontent-type: %b\r\n%b" % (
        len(reply.body),
        reply.content_type,
        reply.fields,
    )


def chunk(data: bytes) -> bytes:
    """One chunk of the chunked coding."""
    return b"%x\r\n%b\r\n" % (len(data), data)
