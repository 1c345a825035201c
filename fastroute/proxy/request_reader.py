"""Strict parsing of a client's bytes into requests. No I/O.

The parser's callbacks only record, or end the parsing at a limit. The requests are checked after
`feed_data` has returned.
"""

import enum
from collections import deque
from typing import Final

import httptools

from fastroute.errors import BadRequest
from fastroute.proxy.settings import Settings
from fastroute.rules.framing import content_length
from fastroute.rules.head_match import HeadMatcher, MatchedHead
from fastroute.rules.headers import MAX_FIELDS
from fastroute.rules.request_head import RequestHead, without_upgrade
from fastroute.rules.request_line import HeadBytes

# Maximum number of requests that are read ahead (pipelining). A client that sends more is refused:
# pausing the transport would limit them too, but then a disconnect would not be noticed.
MAX_PIPELINED = 100
OWN_HEADS: Final = 2
"""Number of heads with keys or cookies that a connection remembers, and as many without a body."""
MAX_HEADS_AHEAD = 16
"""Maximum size of the heads of these requests, in multiples of `max_header_bytes`."""
TOO_MANY_REQUESTS = "too many requests are pipelined on this connection"


class Reading(enum.Enum):
    """Part of a request that the next byte belongs to."""

    BETWEEN = enum.auto()  # the start of a request
    HEAD = enum.auto()
    BODY = enum.auto()
    REFUSED = enum.auto()  # none: no further request is accepted, bytes are ignored


# Access through the class takes 60 ns on Python 3.11, and a request needs about twenty.
BETWEEN = Reading.BETWEEN
HEAD = Reading.HEAD
BODY = Reading.BODY
REFUSED = Reading.REFUSED


class Request:
    """A request, possibly incomplete."""

    __slots__ = ("body", "continued", "fields", "head", "head_size", "method", "target", "version")

    method: bytes
    version: str

    def __init__(self) -> None:
        self.head: RequestHead | None = None
        self.body: bytes | bytearray = b""
        self.continued = False
        self.target = b""
        self.head_size: int = 0
        self.fields: list[tuple[bytes, bytes]] = []

    def read_head(self, settings: Settings, suspect: bool) -> RequestHead:
        """Validate the head and the size of the body.

        Args:
            settings: The active settings, with the limits.
            suspect: True if the headers may be longer than allowed.

        Raises:
            BadRequest: The request is invalid or too large.
        """
        limit = settings.max_body_bytes
        length = len(self.body)
        if self.head is None:
            if suspect:
                self._check_head_size(settings.max_header_bytes)
            self.head = RequestHead(
                self.method, self.target, self.version, self.fields, settings.own_name
            )
            try:
                length = max(length, content_length(self.fields))
            except ValueError as error:
                raise BadRequest(400, str(error)) from None
        if length > limit:
            raise BadRequest(413, f"the body is longer than {limit} bytes (max_body_bytes)")
        return self.head

    def measure_head(self) -> None:
        """Set `head_size`, the size of target and headers in bytes."""
        fields = sum([len(name) + len(value) + len(b": \r\n") for name, value in self.fields])
        self.head_size = len(self.target) + fields

    def _check_head_size(self, limit: int) -> None:
        self.measure_head()
        if self.head_size > limit:
            raise BadRequest(431, f"the headers are longer than {limit} bytes (max_header_bytes)")


class RequestReader:
    """Parser of the requests of one connection.

    Attributes:
        state: Part of a request that the next byte belongs to.
        ready: Complete, validated requests, oldest first. The caller removes them.
        request: The request being read, if `state` is HEAD or BODY.
        refusal: Error in the bytes after the requests in `ready`, or None. The caller processes
            those requests first, then sends the error and closes the connection.
    """

    __slots__ = (
        "_complete",
        "_fields",
        "_head",
        "_known",
        "_own",
        "_parser",
        "_unproductive",
        "ready",
        "refusal",
        "request",
        "state",
    )

    def __init__(self, known: HeadMatcher) -> None:
        """Start at the beginning of a request.

        Args:
            known: Heads that any connection has read; new ones without keys and cookies are added.
        """
        self._known = known
        self._own: HeadMatcher | None = None
        self.state = BETWEEN
        self.ready: deque[Request] = deque()
        self._complete: list[Request] = []  # not validated yet
        self.request = Request()
        self.refusal: BadRequest | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._fields = self.request.fields
        self._unproductive = 0  # bytes since the last piece of a body or end of a request
        self._head = HeadBytes()

    def held_bytes(self) -> int:
        """Return the size of the bodies that were read and not removed."""
        size: int = len(self.request.body)
        for request in self.ready:
            size += len(request.body) + request.head_size
        return size

    def refuse(self, refusal: BadRequest) -> None:
        """Refuse the request being read; those in `ready` are processed first."""
        self.request.body = b""
        self._stop_reading(refusal)

    def known_request(self, data: bytes, settings: Settings) -> MatchedHead | None:
        """Match bytes that are exactly one request with a remembered head.

        Args:
            data: Bytes as received.
            settings: The active settings, with the limits.

        Returns:
            The matched head; all bytes after it are the body, and `feed` is not needed. None if
            the bytes must be parsed.
        """
        if self.state is not BETWEEN or self.ready:
            return None
        own: HeadMatcher | None = self._own
        match: MatchedHead | None = None if own is None else own.find(data)
        if match is None:
            match = self._known.find(data)
        if match is None or len(data) - match.body_start != match.body_length:
            return None
        head_is_small = match.body_start <= settings.max_header_bytes
        body_is_small = match.body_length <= settings.max_body_bytes
        return match if head_is_small and body_is_small else None

    def feed(self, data: bytes, settings: Settings) -> None:
        """Parse bytes; the result is in `ready`, `refusal` and `state`.

        Args:
            data: Bytes as received.
            settings: The active settings, with the limits.
        """
        is_first = self.state is BETWEEN and not self.ready
        self._unproductive += len(data)
        suspect = self._unproductive > settings.max_header_bytes
        try:
            self._parse(data)
        except BadRequest as error:
            self.refusal = self.refusal or error
        self._read_heads(settings, suspect=suspect)
        if is_first and len(self.ready) == 1 and self.state is BETWEEN and self.refusal is None:
            request = self.ready[0]
            head = request.head
            if head is not None and head.is_ordinary() and data[:1].isalpha():
                self._remember(data, head, len(request.body))

    def _remember(self, data: bytes, head: RequestHead, body_length: int) -> None:
        """Remember a head; one with keys or cookies only as long as the connection lasts."""
        if not head.has_credentials:
            self._known.remember(data, head, body_length)
            return
        if self._own is None:
            self._own = HeadMatcher(OWN_HEADS)
        self._own.remember(data, head, body_length)

    def stop(self) -> None:
        """Stop reading, and drop the requests that were not removed."""
        self._stop_reading(None)
        self.ready.clear()
        self.request.body = b""

    def release(self) -> None:
        """Release the parser, whose references to this object would need the garbage collector."""
        self._parser = None  # type: ignore[assignment]

    # Called by the parser: these methods only record

    def on_message_begin(self) -> None:
        """Record that a request starts."""
        if len(self.ready) + len(self._complete) > MAX_PIPELINED:
            raise BadRequest(429, TOO_MANY_REQUESTS)
        self.request = Request()
        self._fields = self.request.fields
        self.state = HEAD

    def on_url(self, url: bytes) -> None:
        """Record a piece of the target."""
        self.request.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Record a header."""
        fields: list[tuple[bytes, bytes]] = self._fields
        if len(fields) >= MAX_FIELDS:
            raise BadRequest(431, f"there are more than {MAX_FIELDS} headers")
        fields.append((name, value))

    def on_headers_complete(self) -> None:
        """Record that the head is complete."""
        request = self.request
        request.method = self._parser.get_method()
        version: str = self._parser.get_http_version()
        request.version = version
        self._head.check_line(request.method, request.target, version)
        self._fields = []  # headers after a chunked body are trailers; they are dropped
        self.state = BODY

    def on_body(self, body: bytes) -> None:
        """Record a piece of the body, without its chunked coding."""
        request = self.request
        self._unproductive = 0
        if not request.body:
            request.body = body
            return
        if isinstance(request.body, bytes):
            request.body = bytearray(request.body)
        request.body += body

    def on_message_complete(self) -> None:
        """Record that the request is complete."""
        self._complete.append(self.request)
        self._unproductive = 0
        self._head.is_at_start = False
        self.state = BETWEEN

    # Reading

    def _parse(self, data: bytes) -> None:
        """Feed the parser.

        Raises:
            BadRequest: The bytes are not a valid HTTP request.
        """
        while True:
            self._head.add(data, is_open=self.state is HEAD, is_at_start=self.state is BETWEEN)
            try:
                self._parser.feed_data(data)
                if self.state is not HEAD:
                    self._head.data = b""
                return
            except httptools.HttpParserUpgrade as upgrade:
                data = self._ignore_upgrade(data[upgrade.args[0] :])
            except httptools.HttpParserCallbackError as error:
                if isinstance(error.__context__, BadRequest):
                    raise error.__context__ from None
                raise
            except httptools.HttpParserError as error:
                data = self._head.after_error(str(error))
                self._parser = httptools.HttpRequestParser(self)
                self.state = BETWEEN

    def _ignore_upgrade(self, rest: bytes) -> bytes:
        """Create a new parser, and return the bytes to parse with it: the parser stops there."""
        request = self._complete.pop()
        if request.method == b"CONNECT":
            raise BadRequest(405, "CONNECT is not supported")
        self._parser = httptools.HttpRequestParser(self)
        head = without_upgrade(request.method, request.target, request.version, request.fields)
        return head + rest

    def _read_heads(self, settings: Settings, suspect: bool) -> None:
        """Validate the requests, and stop reading after the connection's last one."""
        complete, self._complete = self._complete, []
        for request in complete:
            try:
                head = request.read_head(settings, suspect=suspect)
                if self.ready:
                    self._check_ahead(request, settings)
            except BadRequest as error:
                self._stop_reading(error)
                return
            self.ready.append(request)
            if not head.keep_alive:
                self._stop_reading(None)
                return
        if self.refusal is None and self.state is not BETWEEN:
            self._check_unfinished(settings, suspect=suspect)
        if self.refusal is not None:
            self._stop_reading(self.refusal)

    def _check_ahead(self, request: Request, settings: Settings) -> None:
        """Refuse a pipelined request if those before it are too many or too large."""
        request.measure_head()
        bodies, heads = len(request.body), request.head_size
        for waiting in self.ready:
            bodies += len(waiting.body)
            heads += waiting.head_size
        too_large = bodies > settings.max_body_bytes
        if too_large or heads > MAX_HEADS_AHEAD * settings.max_header_bytes:
            raise BadRequest(429, TOO_MANY_REQUESTS)

    def _check_unfinished(self, settings: Settings, suspect: bool) -> None:
        """Refuse an incomplete request whose size is already known to be too large."""
        try:
            if self.state is BODY:
                self.request.read_head(settings, suspect=suspect)
            if self._unproductive > settings.max_header_bytes:
                # Endless headers, trailers, or chunk extensions.
                limit = settings.max_header_bytes
                text = f"the headers are longer than {limit} bytes (max_header_bytes)"
                raise BadRequest(431, text)
        except BadRequest as error:
            self.refusal = error

    def _stop_reading(self, refusal: BadRequest | None) -> None:
        """Accept no more requests; after those in `ready` the connection closes."""
        self.state = REFUSED
        self.refusal = refusal
