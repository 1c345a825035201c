"""Reads a client's bytes into requests, strictly, and says when to read no more. No I/O.

The parser's callbacks only record; what was read is looked at when `feed_data` has returned, since
an exception in a callback would look like the client's fault.
"""

import enum
from collections import deque

import httptools

from fastroute.errors import BadRequest
from fastroute.proxy.settings import Settings
from fastroute.rules.framing import content_length
from fastroute.rules.head_match import HeadMatcher, MatchedHead
from fastroute.rules.request_head import RequestHead, without_upgrade

# Requests read ahead of the one being answered. Who sends more is refused: to stop reading would
# bound them too, but a transport that does not read does not see its client go away either.
MAX_PIPELINED = 100


class Reading(enum.Enum):
    """What the next byte from the client means."""

    BETWEEN = enum.auto()  # the beginning of a request
    HEAD = enum.auto()
    BODY = enum.auto()
    REFUSED = enum.auto()  # nothing: no further request is taken, bytes are ignored


# Through the class each costs 60 ns on Python 3.11, and a request looks at some twenty.
BETWEEN = Reading.BETWEEN
HEAD = Reading.HEAD
BODY = Reading.BODY
REFUSED = Reading.REFUSED


class Request:
    """A request as far as it has been read."""

    __slots__ = ("body", "continued", "fields", "head", "method", "target", "version")

    method: bytes
    version: str

    def __init__(self) -> None:
        self.head: RequestHead | None = None
        self.body: bytes | bytearray = b""
        self.continued = False
        self.target = b""
        self.fields: list[tuple[bytes, bytes]] = []

    def read_head(self, settings: Settings, suspect: bool) -> RequestHead:
        """Check the head, and the body as far as it is known.

        Args:
            settings: Has the limits.
            suspect: Whether the head may be longer than allowed.

        Raises:
            BadRequest: The request cannot be served.
        """
        limit = settings.max_body_bytes
        length = len(self.body)
        if self.head is None:
            if suspect:
                self._check_head_size(settings.max_header_bytes)
            self.head = RequestHead(self.method, self.target, self.version, self.fields)
            length = max(length, content_length(self.fields))
        if length > limit:
            raise BadRequest(413, f"the body is longer than {limit} bytes (max_body_bytes)")
        return self.head

    def _check_head_size(self, limit: int) -> None:
        fields = sum(len(name) + len(value) + len(b": \r\n") for name, value in self.fields)
        if len(self.target) + fields > limit:
            raise BadRequest(431, f"the head is longer than {limit} bytes (max_header_bytes)")


class RequestReader:
    """Turns bytes into requests, one connection's.

    Attributes:
        state: What the next byte means.
        ready: Whole requests, checked, oldest first. The caller takes them out.
        request: The request being read, where `state` is HEAD or BODY.
        refusal: What is wrong with the bytes behind those in `ready`, or None. It is to be
            answered after them, and then the connection closed.
    """

    __slots__ = (
        "_fields",
        "_known",
        "_parser",
        "_unproductive",
        "ready",
        "refusal",
        "request",
        "state",
    )

    def __init__(self, known: HeadMatcher) -> None:
        """Begin to read.

        Args:
            known: Heads that other connections have read; read ones are added.
        """
        self._known = known
        self.state = BETWEEN
        self.ready: deque[Request] = deque()
        self.request = Request()
        self.refusal: BadRequest | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._fields = self.request.fields
        self._unproductive = 0  # bytes since the last that completed something or were body

    def known_request(self, data: bytes, settings: Settings) -> MatchedHead | None:
        """Return the head of bytes that are one whole request, if it was read before.

        Args:
            data: As they came.
            settings: Has the limits.

        Returns:
            The RequestHead; all of `data` behind it is the body, and nothing needs to be fed.
            None if it takes the parser to say what the bytes are.
        """
        if self.state is not BETWEEN or self.ready:
            return None
        match = self._known.find(data)
        if match is None or len(data) - match.body_start != match.body_length:
            return None
        head_is_small = match.body_start <= settings.max_header_bytes
        body_is_small = match.body_length <= settings.max_body_bytes
        return match if head_is_small and body_is_small else None

    def feed(self, data: bytes, settings: Settings) -> None:
        """Take bytes; then look at `ready`, `refusal` and `state`.

        Args:
            data: As they came.
            settings: Has the limits.
        """
        is_first = self.state is BETWEEN and not self.ready
        self._unproductive += len(data)
        suspect = self._unproductive > settings.max_header_bytes
        try:
            self._parse(data)
        except BadRequest as error:
            self.refusal = error
        self._read_heads(settings, suspect=suspect)
        if is_first and len(self.ready) == 1 and self.state is BETWEEN and self.refusal is None:
            request = self.ready[0]
            head = request.head
            if head is not None and head.is_ordinary() and data[:1].isalpha():
                self._known.remember(data, head, len(request.body))

    def stop(self) -> None:
        """Read no more, and forget what was not taken out."""
        self.state = REFUSED
        self.refusal = None
        self.ready.clear()

    def release(self) -> None:
        """Let go of the parser, which holds our bound methods: else only the collector would."""
        self._parser = None  # type: ignore[assignment]

    # From the parser: these only record

    def on_message_begin(self) -> None:
        """Record that a request begins."""
        self.request = Request()
        self._fields = self.request.fields
        self.state = HEAD

    def on_url(self, url: bytes) -> None:
        """Record a piece of the target."""
        self.request.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Record a field."""
        self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """Record that the head is whole."""
        request = self.request
        request.method = self._parser.get_method()
        request.version = self._parser.get_http_version()
        self._fields = []  # fields behind a chunked body are trailers; they are dropped
        self.state = BODY

    def on_body(self, body: bytes) -> None:
        """Record a piece of the body, its chunked coding taken off."""
        request = self.request
        self._unproductive = 0
        if not request.body:
            request.body = body
            return
        if isinstance(request.body, bytes):
            request.body = bytearray(request.body)
        request.body += body

    def on_message_complete(self) -> None:
        """Record that the request is whole."""
        self.ready.append(self.request)
        self._unproductive = 0
        self.state = BETWEEN

    # Reading

    def _parse(self, data: bytes) -> None:
        """Feed the parser.

        Raises:
            BadRequest: The bytes are no HTTP request.
        """
        while True:
            try:
                self._parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                data = self._ignore_upgrade(data[upgrade.args[0] :])
            except httptools.HttpParserCallbackError:
                raise
            except httptools.HttpParserError as error:
                raise BadRequest(400, f"not a valid HTTP request: {error}") from None

    def _ignore_upgrade(self, rest: bytes) -> bytes:
        """Return what is to be parsed instead, by a new parser.

        A server may ignore Upgrade (RFC 9110 section 7.8), and ordinary clients offer h2c with a
        POST. But the parser stops at it, with the body unread: so it reads the head once more,
        without that field, and then the rest.
        """
        request = self.ready.pop()
        if request.method == b"CONNECT":
            raise BadRequest(405, "CONNECT is not served")
        self._parser = httptools.HttpRequestParser(self)
        fields = without_upgrade(request.fields)
        version = request.version.encode()
        line = b"%b %b HTTP/%b\r\n" % (request.method, request.target, version)
        return b"".join((line, *fields, b"\r\n", rest))

    def _read_heads(self, settings: Settings, suspect: bool) -> None:
        """Check what has been read, and stop reading where a request is the connection's last."""
        room = settings.max_body_bytes
        for index, request in enumerate(self.ready):
            room -= len(request.body)
            try:
                if index > MAX_PIPELINED or (index and room < 0):
                    raise BadRequest(429, "too much was sent ahead of the answers")
                head = request.read_head(settings, suspect=suspect)
            except BadRequest as error:
                self._stop_reading(error, keep=index)
                return
            if not head.keep_alive:
                self._stop_reading(None, keep=index + 1)
                return
        if self.refusal is None and self.state is not BETWEEN:
            self._check_unfinished(settings, suspect=suspect)
        if self.refusal is not None:
            self._stop_reading(self.refusal, keep=len(self.ready))

    def _check_unfinished(self, settings: Settings, suspect: bool) -> None:
        """Refuse early what need not be read to its end."""
        try:
            if self.state is BODY:
                self.request.read_head(settings, suspect=suspect)
            if self._unproductive > settings.max_header_bytes:
                # A head, or the trailers or chunk extensions of a body: none has an end in sight.
                limit = settings.max_header_bytes
                raise BadRequest(431, f"the head is longer than {limit} bytes (max_header_bytes)")
        except BadRequest as error:
            self.refusal = error

    def _stop_reading(self, refusal: BadRequest | None, keep: int) -> None:
        """Take no more requests; answer the first `keep` read ahead, then refuse or close."""
        self.state = REFUSED
        self.refusal = refusal
        while len(self.ready) > keep:
            self.ready.pop()
