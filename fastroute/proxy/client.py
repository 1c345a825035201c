"""One client connection: reads requests, answers them in order, keeps time.

Requests are read ahead (pipelining) into a bounded queue and answered one at a time. The parser's
callbacks only record; what was read is looked at when `feed_data` has returned, since an exception
in a callback would look like the client's fault.
"""

import asyncio
import enum
import logging
import socket
import struct
from collections import deque
from collections.abc import Callable

import httptools

from fastroute.config import Config
from fastroute.errors import BadRequest
from fastroute.proxy.exchange import Exchange
from fastroute.proxy.local import Listener, LocalReply, own_error, own_reply, unknown_model
from fastroute.proxy.router import UnknownModel
from fastroute.proxy.worker_state import WorkerState
from fastroute.rules.message import RequestHead, without_upgrade

log = logging.getLogger(__name__)

# Requests read ahead of the one being answered. Who sends more is refused: to stop reading would
# bound them too, but a transport that does not read does not see its client go away either.
MAX_PIPELINED = 100
# Bytes the transport may hold for a client before the server is no longer read. A read brings
# 256 KiB at most (uvloop), so a slow client holds less than this and one read.
WRITE_HIGH_BYTES = 65536
# How long we go on reading, and throwing away, what a refused client still sends: closing with
# unread bytes would reset the connection and destroy the answer on its way.
LINGER_S = 2.0
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_NEVER = float("inf")


class Reading(enum.Enum):
    """What the next byte from the client means."""

    BETWEEN = enum.auto()  # the beginning of a request
    HEAD = enum.auto()
    BODY = enum.auto()
    REFUSED = enum.auto()  # nothing: no further request is taken, bytes are ignored


# Through the class each costs 60 ns on Python 3.11, and a request looks at some twenty.
BETWEEN, HEAD, BODY, REFUSED = Reading


class Request:
    """A request as far as it has been read."""

    __slots__ = ("body", "continued", "fields", "head", "method", "target", "version")

    def __init__(self) -> None:
        self.method = b""
        self.target = b""
        self.version = ""
        self.fields: list[tuple[bytes, bytes]] = []
        self.head: RequestHead | None = None
        self.continued = False
        self.body: bytes | bytearray = b""

    def read_head(self, config: Config, *, suspect: bool) -> RequestHead:
        """Check the head, and the body as far as it is known.

        Args:
            config: Has the limits.
            suspect: Whether the head may be longer than allowed.

        Raises:
            BadRequest: The request cannot be served.
        """
        if self.head is None:
            if suspect:
                self._check_head_size(config.max_header_bytes)
            self.head = RequestHead(self.method, self.target, self.version, self.fields)
        limit = config.max_body_bytes
        if len(self.body) > limit or self.head.content_length > limit:
            raise BadRequest(413, f"the body is longer than {limit} bytes (max_body_bytes)")
        return self.head

    def _check_head_size(self, limit: int) -> None:
        fields = sum(len(name) + len(value) + len(b": \r\n") for name, value in self.fields)
        if len(self.target) + fields > limit:
            raise BadRequest(431, f"the head is longer than {limit} bytes (max_header_bytes)")


class ClientConnection(asyncio.Protocol):
    """The protocol of one accepted connection.

    Attributes:
        address: The client's IP address.
        write: The transport's write.
    """

    __slots__ = (
        "_advancing",
        "_deadline",
        "_exchange",
        "_fields",
        "_head_in_hand",
        "_listener",
        "_parser",
        "_pipeline",
        "_reading",
        "_refusal",
        "_request",
        "_transport",
        "_turned_away",
        "_unproductive",
        "_unsent",
        "_worker",
        "_write_paused",
        "address",
        "write",
    )

    _transport: asyncio.Transport
    write: Callable[[bytes], None]

    def __init__(self, worker: WorkerState, listener: Listener) -> None:
        # Connection
        self._worker = worker
        self._listener = listener
        self._parser = httptools.HttpRequestParser(self)
        self._reading = BETWEEN
        self._write_paused = False
        self._deadline = worker.stamp + worker.config.client_idle_timeout
        self._unsent = 0
        self._turned_away = False
        self.address = b""
        # Reading
        self._request = Request()
        self._fields = self._request.fields
        self._unproductive = 0
        # Answering
        self._pipeline: deque[Request] = deque()
        self._exchange: Exchange | None = None
        self._head_in_hand: RequestHead | None = None
        self._advancing = False
        self._refusal: BadRequest | None = None

    def __repr__(self) -> str:
        return f"<ClientConnection {self.address!r} {self._reading.name} {self._exchange!r}>"

    # From the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection on, or turn it away when there are too many."""
        worker = self._worker
        self._transport = transport  # type: ignore[assignment]  # TCP gives a two-way transport
        self.write = self._transport.write
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        peer = transport.get_extra_info("peername")
        self.address = peer[0].encode() if peer else b"unknown"
        worker.clients.add(self)
        worker.cells.process.client_connections[0] += 1
        if len(worker.clients) - worker.turned_away > worker.config.max_connections:
            # It does not count while it lingers: a storm of them would keep everybody out.
            worker.turned_away += 1
            self._turned_away = True
            self._refuse(BadRequest(503, "too many connections; try again shortly"))

    def data_received(self, data: bytes) -> None:
        """Read requests and answer what can be answered."""
        before = self._reading
        if before is REFUSED:
            return
        self._unproductive += len(data)
        suspect = self._unproductive > self._worker.config.max_header_bytes
        try:
            self._parse(data)
        except BadRequest as error:
            self._refusal = error
        self._read_heads(suspect=suspect)
        if self._reading is not before or before is BODY:
            self._set_deadline()
        if self._exchange is None:
            self._advance()

    def eof_received(self) -> None:
        """Take the end of the client's bytes for its going away, as vLLM does."""
        if self._exchange is None:
            self._close()  # what was answered already must still reach it
        else:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop whatever is being done for the client."""
        worker = self._worker
        self._reading = REFUSED
        self._pipeline.clear()
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.cancel()
        worker.clients.discard(self)
        worker.turned_away -= self._turned_away
        if worker.draining:
            worker.client_left()
        worker.cells.process.client_connections[0] -= 1
        # The parser holds our bound methods: without this only the collector would free us.
        del self._parser

    def pause_writing(self) -> None:
        """Stop the server's side: the client does not keep up."""
        self._write_paused = True
        self._set_deadline()
        if self._exchange is not None:
            self._exchange.pause_reply()

    def resume_writing(self) -> None:
        """Go on."""
        self._write_paused = False
        self._set_deadline()
        if self._exchange is not None:
            self._exchange.resume_reply()
        else:
            self._advance()

    # From the worker

    def sweep(self, now: float) -> None:
        """Act on deadlines that have passed."""
        if now >= self._deadline:
            self._time_out()
        elif self._exchange is not None:
            self._exchange.sweep(now)

    def drain(self) -> None:
        """Close now if nothing is asked, else with the answer in hand."""
        if self._is_idle():
            self._close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    # From the parser: these only record

    def on_message_begin(self) -> None:
        """Record that a request begins."""
        self._request = Request()
        self._fields = self._request.fields
        self._reading = HEAD

    def on_url(self, url: bytes) -> None:
        """Record a piece of the target."""
        self._request.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Record a field."""
        self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """Record that the head is whole."""
        request = self._request
        request.method = self._parser.get_method()
        request.version = self._parser.get_http_version()
        self._fields = []  # fields behind a chunked body are trailers; they are dropped
        self._reading = BODY

    def on_body(self, body: bytes) -> None:
        """Record a piece of the body, its chunked coding taken off."""
        request = self._request
        self._unproductive = 0
        if not request.body:
            request.body = body
            return
        if isinstance(request.body, bytes):
            request.body = bytearray(request.body)
        request.body += body

    def on_message_complete(self) -> None:
        """Record that the request is whole."""
        self._pipeline.append(self._request)
        self._unproductive = 0
        self._reading = BETWEEN

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
        request = self._pipeline.pop()
        if request.method == b"CONNECT":
            raise BadRequest(405, "CONNECT is not served")
        self._parser = httptools.HttpRequestParser(self)
        fields = without_upgrade(request.fields)
        version = request.version.encode()
        line = b"%b %b HTTP/%b\r\n" % (request.method, request.target, version)
        return b"".join((line, *fields, b"\r\n", rest))

    def _read_heads(self, *, suspect: bool) -> None:
        """Check what has been read, and stop reading where a request is the connection's last."""
        config = self._worker.config
        room = config.max_body_bytes
        for index, request in enumerate(self._pipeline):
            room -= len(request.body)
            try:
                if index > MAX_PIPELINED or (index and room < 0):
                    raise BadRequest(429, "too much was sent ahead of the answers")
                head = request.read_head(config, suspect=suspect)
            except BadRequest as error:
                self._stop_reading(error, keep=index)
                return
            if not head.keep_alive:
                self._stop_reading(None, keep=index + 1)
                return
        if self._refusal is None and self._reading is not BETWEEN:
            self._check_unfinished(config, suspect=suspect)
        if self._refusal is not None:
            self._stop_reading(self._refusal, keep=len(self._pipeline))

    def _check_unfinished(self, config: Config, *, suspect: bool) -> None:
        """Refuse early what need not be read to its end."""
        try:
            if self._reading is BODY:
                self._request.read_head(config, suspect=suspect)
            if self._unproductive > config.max_header_bytes:
                # A head, or the trailers or chunk extensions of a body: none has an end in sight.
                limit = config.max_header_bytes
                raise BadRequest(431, f"the head is longer than {limit} bytes (max_header_bytes)")
        except BadRequest as error:
            self._refusal = error

    def _stop_reading(self, refusal: BadRequest | None, *, keep: int) -> None:
        """Take no more requests; answer the first `keep` read ahead, then refuse or close."""
        self._reading = REFUSED
        self._refusal = refusal
        while len(self._pipeline) > keep:
            self._pipeline.pop()

    # Answering

    def _advance(self) -> None:
        """Answer requests in order until one has to wait for a server."""
        if self._advancing:
            return  # further up the stack the loop below is running
        self._advancing = True
        while self._pipeline and self._exchange is None and not self._write_paused:
            self._serve(self._pipeline.popleft())
        self._advancing = False
        if self._exchange is None and not self._pipeline:
            if self._refusal is not None:
                self._refuse(self._refusal)
            elif self._reading is BODY:
                self._invite_body()

    def _serve(self, request: Request) -> None:
        worker, head = self._worker, request.head
        assert head is not None, "a request was queued unchecked"
        self._head_in_hand = head
        local = self._listener.answer(head.method, head.target)
        if local is not None:
            worker.cells.process.requests_local[0] += 1
            self._reply(local)
            return
        try:
            group, body = worker.router.find(head.target, head.content_type, request.body)
        except UnknownModel as unknown:
            worker.cells.process.unknown_models[0] += 1
            self._reply(unknown_model(unknown.model, unknown.known))
            return
        self._deadline = _NEVER
        self._exchange = Exchange(worker, self, head, body, group)
        self._exchange.start()

    def _invite_body(self) -> None:
        """Send 100 Continue where the client waits for it and no other reply is due."""
        request = self._request
        assert request.head is not None, "a body was read before its head was checked"
        if request.head.expects_continue and not request.continued and not request.body:
            self.write(_CONTINUE)
        request.continued = True

    def exchange_done(self, *, keep_alive: bool) -> None:
        """Go on with the next request, or close."""
        self._exchange = None
        if keep_alive and not self._worker.draining:
            self._set_deadline()
            self._advance()
        else:
            self._close()

    def exchange_refused(self, status: int, message: str) -> None:
        """Answer with an error of our own in place of a server's reply."""
        self._exchange = None
        self._reply(own_error(status, message))
        self._advance()

    def exchange_broken(self, *, reset: bool) -> None:
        """End the connection so that a part of a reply is not taken for a whole one."""
        self._exchange = None
        if reset:
            # The close is the end of this reply, so only a reset says that it is not whole.
            sock = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self._transport.abort()
        else:
            # The missing last chunk, or the missing bytes, say it. What came before is the
            # client's to have, as it would have had it from the server.
            self._close()

    def _reply(self, reply: LocalReply) -> None:
        """Answer the request in hand."""
        head = self._head_in_hand
        assert head is not None, "an answer to no request"
        keep_alive = head.keep_alive and not self._worker.draining
        connection = None if keep_alive else b"close"
        if keep_alive and head.http_1_0:
            connection = b"keep-alive"
        self.write(own_reply(reply, method=head.method, connection=connection))
        if keep_alive:
            self._set_deadline()
        else:
            self._close()

    def _refuse(self, refusal: BadRequest) -> None:
        """Answer a broken request, then close once the client had the time to read it."""
        self._worker.cells.process.requests_refused[0] += 1
        self._reading = REFUSED
        self._refusal = None
        reply = own_error(refusal.status, refusal.message)
        self.write(own_reply(reply, method=b"", connection=b"close"))
        self._transport.write_eof()
        self._set_deadline()

    def _close(self) -> None:
        """Close when all that was written is sent."""
        self._reading = REFUSED
        self._pipeline.clear()
        self._refusal = None
        self._set_deadline()
        self._transport.close()

    # Time

    def _set_deadline(self) -> None:
        """Give the client time for what it owes next; while it waits for us it owes nothing."""
        config, reading = self._worker.config, self._reading
        if self._write_paused or (reading is REFUSED and self._exchange is None):
            self._unsent = self._transport.get_write_buffer_size()
            wait = config.client_idle_timeout if self._unsent else LINGER_S
        elif self._exchange is not None:
            self._deadline = _NEVER
            return
        elif reading is BETWEEN:
            wait = config.client_idle_timeout
        elif reading is HEAD:
            wait = config.client_header_timeout
        else:
            wait = config.client_body_timeout
        self._deadline = self._worker.stamp + wait

    def _time_out(self) -> None:
        unsent = self._transport.get_write_buffer_size()
        if 0 < unsent < self._unsent:
            self._set_deadline()  # it reads slowly, but it reads
        elif unsent or self._reading is REFUSED:
            self._transport.abort()
        elif self._reading is BETWEEN:
            self._close()
        else:
            part = "head" if self._reading is HEAD else "body"
            self._refuse(BadRequest(408, f"the request's {part} did not come in time"))

    def _is_idle(self) -> bool:
        return self._exchange is None and self._reading is BETWEEN
