"""One accepted connection: requests in order, answers in order, idle close, client gone."""

import asyncio
from collections import deque
from typing import Protocol, cast

import httptools
import msgspec

from fastroute.standin.message import (
    CONTINUE,
    LAST_CHUNK,
    HeadWriter,
    Reply,
    Request,
    Settings,
    whole_fields,
)

# Pipelined requests kept while one is being answered; reading pauses beyond.
MAX_PIPELINED = 16
WRITE_HIGH_WATER = 65536


class Counters(msgspec.Struct):
    """What a stand-in counted since its start.

    Attributes:
        connections_open: Accepted and not closed yet.
        connections_accepted: All that were accepted.
        requests: Requests of any kind that were answered or are being answered.
        served: Generations answered to the end.
        aborted: Generations whose client went first.
    """

    connections_open: int = 0
    connections_accepted: int = 0
    requests: int = 0
    served: int = 0
    aborted: int = 0


class Answer(Protocol):
    """An answer that takes its time."""

    def client_gone(self) -> None:
        """The client went; nothing may be sent any more."""

    def pause(self) -> None:
        """The client does not read."""

    def resume(self) -> None:
        """The client reads again."""


class Application(Protocol):
    """What a connection needs of the stand-in it belongs to."""

    settings: Settings
    counters: Counters
    heads: HeadWriter
    stopping: bool

    def connection_opened(self, connection: "Connection") -> None: ...

    def connection_closed(self, connection: "Connection") -> None: ...

    def head_read(self, request: Request) -> None:
        """Look at a head before its body: set `refusal` or `digest` where it needs one."""

    def answer(self, request: Request, connection: "Connection") -> None:
        """Answer now by `reply`, or set an Answer going by `start`."""


class Connection(asyncio.Protocol):
    """Reads requests and writes answers. Parser callbacks only record."""

    __slots__ = (
        "_advancing",
        "_app",
        "_arriving",
        "_chunked",
        "_idle_since",
        "_idle_timer",
        "_last_request_read",
        "_loop",
        "_parser",
        "_queue",
        "_reading_paused",
        "_request",
        "_running",
        "_transport",
        "head_sent",
        "is_paused",
    )

    _transport: asyncio.Transport

    def __init__(self, app: Application, loop: asyncio.AbstractEventLoop) -> None:
        # Per connection
        self._app = app
        self._loop = loop
        self._parser = httptools.HttpRequestParser(self)
        self._queue: deque[Request] = deque()
        self._arriving: Request | None = None
        self._last_request_read = False
        self._advancing = False
        self._reading_paused = False
        self._idle_since: float | None = None
        self._idle_timer: asyncio.TimerHandle | None = None
        self.is_paused = False
        # Per request: the one that is being answered
        self._request: Request | None = None
        self._running: Answer | None = None
        self._chunked = False
        self.head_sent = False

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_WATER)
        self._app.connection_opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._app.connection_closed(self)
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        self._client_gone()

    def data_received(self, data: bytes) -> None:
        if self._last_request_read:
            return  # Nothing after a last request is looked at; we close after its answer.
        self._idle_since = None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError:
            raise  # Our own mistake, not the client's.
        except httptools.HttpParserUpgrade:
            # An upgrade is ignored, as uvicorn does; this parser would take no more requests.
            self._parser = httptools.HttpRequestParser(self)
        except httptools.HttpParserError:
            # Bytes after a last request are an error to the parser, but not to its answer.
            if not self._last_request_read:
                self._refuse()
                return
        if len(self._queue) > MAX_PIPELINED:
            self._reading_paused = True
            self._transport.pause_reading()
        self._advance()

    def eof_received(self) -> bool:
        # To uvicorn a half-closed client is a gone client.
        self._client_gone()
        return False

    def pause_writing(self) -> None:
        self.is_paused = True
        if self._running is not None:
            self._running.pause()

    def resume_writing(self) -> None:
        self.is_paused = False
        if self._running is not None:
            self._running.resume()

    # httptools callbacks

    def on_message_begin(self) -> None:
        self._arriving = Request()

    def on_url(self, url: bytes) -> None:
        self._require_arriving().target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._require_arriving().add_field(name, value)

    def on_headers_complete(self) -> None:
        request = self._require_arriving()
        request.complete_head()
        request.method = self._parser.get_method()
        request.version = self._parser.get_http_version()
        # uvicorn keeps no HTTP/1.0 connection, whatever the client asks.
        request.keep_alive = request.version == "1.1" and self._parser.should_keep_alive()
        self._app.head_read(request)
        if request.refusal is not None:
            # Answered at once, without the body and without "100 Continue".
            request.expects_continue = False
            self._queue.append(request)

    def on_body(self, body: bytes) -> None:
        self._require_arriving().add_body(body)

    def on_message_complete(self) -> None:
        request = self._require_arriving()
        self._arriving = None
        self._last_request_read = not request.keep_alive
        if request.refusal is None:
            self._queue.append(request)

    # For the application

    @property
    def keeps_alive(self) -> bool:
        return self._request is not None and self._request.keep_alive and not self._app.stopping

    def reply(self, reply: Reply) -> None:
        """Send a whole reply to the current request."""
        request = self._request
        assert request is not None, "a reply answers a request"
        head = self._app.heads.render(
            reply.status, whole_fields(reply), keep_alive=self.keeps_alive
        )
        self._transport.write(head if request.method == b"HEAD" else head + reply.body)
        self.finish()

    def start(self, answer: Answer) -> None:
        """Make `answer` the one that hears of the client; it ends with `reply` or `finish`."""
        self._running = answer

    def send_head(self, fields: bytes, *, chunked: bool) -> None:
        """Send the head of a 200 whose body comes by `send`."""
        self.head_sent = True
        self._chunked = chunked
        # "transfer-encoding" is the last field, even after "connection", in uvicorn's order.
        head = self._app.heads.render(200, fields, keep_alive=self.keeps_alive)
        if chunked:
            head = head[:-2] + b"transfer-encoding: chunked\r\n\r\n"
        self._transport.write(head)

    def send(self, data: bytes) -> None:
        """Send body bytes; with a chunked body they must be framed already."""
        self._transport.write(data)

    def finish(self) -> None:
        """End the current answer; the next request's turn comes."""
        if self._chunked:
            self._transport.write(LAST_CHUNK)
        keeps_alive = self.keeps_alive
        self._request = None
        self._running = None
        self._chunked = False
        self.head_sent = False
        if not keeps_alive:
            self._transport.close()
            return
        self._advance()

    def drop(self) -> None:
        """Close without an end of the answer, as a killed server does; what was sent arrives."""
        self._client_gone()
        self._transport.close()

    def abort(self) -> None:
        """Break the connection now; unsent bytes are lost."""
        self._client_gone()
        self._transport.abort()

    def close_if_idle(self) -> None:
        if self._request is None:
            self._transport.close()

    def _require_arriving(self) -> Request:
        assert self._arriving is not None, "the parser began a message before its parts"
        return self._arriving

    def _advance(self) -> None:
        """Answer waiting requests until one takes its time."""
        # Answers given at once call this again through `finish`: the outer loop goes on.
        if self._advancing:
            return
        self._advancing = True
        while self._queue and self._request is None and not self._transport.is_closing():
            self._request = self._queue.popleft()
            self._app.counters.requests += 1
            self._app.answer(self._request, self)
        self._advancing = False
        if self._transport.is_closing():
            return
        if self._reading_paused and len(self._queue) <= MAX_PIPELINED // 2:
            self._reading_paused = False
            self._transport.resume_reading()
        if self._request is None:
            self._has_nothing_to_answer()

    def _has_nothing_to_answer(self) -> None:
        arriving = self._arriving
        if arriving is None:
            self._wait_idle()
        elif arriving.expects_continue and arriving.head_complete:
            arriving.expects_continue = False
            self._transport.write(CONTINUE)

    def _wait_idle(self) -> None:
        """Close after `keep_alive` seconds without a byte; the timer is re-armed lazily."""
        self._idle_since = self._loop.time()
        if self._idle_timer is None:
            self._idle_timer = self._loop.call_later(
                self._app.settings.keep_alive, self._idle_timer_fired
            )

    def _idle_timer_fired(self) -> None:
        self._idle_timer = None
        if self._idle_since is None:
            return
        left = self._idle_since + self._app.settings.keep_alive - self._loop.time()
        # uvloop's timers count whole milliseconds and may be early by one.
        if left > 0.001:
            self._idle_timer = self._loop.call_later(left, self._idle_timer_fired)
            return
        self._transport.close()

    def _refuse(self) -> None:
        if self._request is None:
            self._transport.write(self._app.heads.refusal())
        self._last_request_read = True
        self._client_gone()
        self._transport.close()

    def _client_gone(self) -> None:
        self._queue.clear()
        self._request = None
        running, self._running = self._running, None
        if running is not None:
            running.client_gone()
