"""One accepted connection: requests and responses in order, idle timeout, client disconnects."""

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

# Pipelined requests kept while one is in progress; reading pauses at this number.
MAX_PIPELINED = 16
WRITE_HIGH_WATER = 65536


class Counters(msgspec.Struct):
    """Counters of a stand-in since its start.

    Attributes:
        connections_open: Number of connections not closed yet.
        connections_accepted: Number of accepted connections.
        requests: Number of requests of any kind, finished or in progress.
        served: Number of completed generations.
        aborted: Number of generations whose client disconnected before the end.
    """

    connections_open: int = 0
    connections_accepted: int = 0
    requests: int = 0
    served: int = 0
    aborted: int = 0


class Answer(Protocol):
    """A response that takes time."""

    def client_gone(self) -> None:
        """Handle the client's disconnect; nothing may be sent any more."""

    def pause(self) -> None:
        """Stop sending: the client does not read."""

    def resume(self) -> None:
        """Continue sending: the client reads again."""


class Application(Protocol):
    """Interface of the stand-in that a connection needs."""

    settings: Settings
    counters: Counters
    heads: HeadWriter
    stopping: bool

    def connection_opened(self, connection: "Connection") -> None: ...

    def connection_closed(self, connection: "Connection") -> None: ...

    def head_read(self, request: Request) -> None:
        """Examine headers before the body, and set `refusal` or `digest` if needed."""

    def answer(self, request: Request, connection: "Connection") -> None:
        """Respond now with `reply`, or start an Answer with `start`."""


class Connection(asyncio.Protocol):
    """Reads requests and writes responses. Parser callbacks only record."""

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
        # Per request: the one in progress
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
            return  # Bytes after a last request are ignored; its response closes the connection.
        self._idle_since = None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError:
            raise  # A bug in this code, not an error of the client.
        except httptools.HttpParserUpgrade:
            # An upgrade is ignored, as in uvicorn; this parser would accept no more requests.
            self._parser = httptools.HttpRequestParser(self)
        except httptools.HttpParserError:
            # Bytes after a last request are a parser error, but do not affect its response.
            if not self._last_request_read:
                self._refuse()
                return
        if len(self._queue) > MAX_PIPELINED:
            self._reading_paused = True
            self._transport.pause_reading()
        self._advance()

    def eof_received(self) -> bool:
        # uvicorn treats a half-closed connection as a disconnect.
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
        # uvicorn does not keep HTTP/1.0 connections alive, even if the client requests it.
        request.keep_alive = request.version == "1.1" and self._parser.should_keep_alive()
        self._app.head_read(request)
        if request.refusal is not None:
            # Send the response immediately, without reading the body or sending "100 Continue".
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
        """Send a complete response to the current request."""
        request = self._request
        assert request is not None, "a reply answers a request"
        head = self._app.heads.render(
            reply.status, whole_fields(reply), keep_alive=self.keeps_alive
        )
        self._transport.write(head if request.method == b"HEAD" else head + reply.body)
        self.finish()

    def start(self, answer: Answer) -> None:
        """Notify `answer` of the client's events until `reply` or `finish` is called."""
        self._running = answer

    def send_head(self, fields: bytes, *, chunked: bool) -> None:
        """Send the headers of a 200 response whose body follows with `send`."""
        self.head_sent = True
        self._chunked = chunked
        # "transfer-encoding" is the last header, even after "connection", in uvicorn's order.
        head = self._app.heads.render(200, fields, keep_alive=self.keeps_alive)
        if chunked:
            head = head[:-2] + b"transfer-encoding: chunked\r\n\r\n"
        self._transport.write(head)

    def send(self, data: bytes) -> None:
        """Send bytes of the body; those of a chunked body must already be framed."""
        self._transport.write(data)

    def finish(self) -> None:
        """End the current response, and process the next request."""
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
        """Close without ending the response, as a killed server does; sent bytes still arrive."""
        self._client_gone()
        self._transport.close()

    def abort(self) -> None:
        """Close the connection now; unsent bytes are lost."""
        self._client_gone()
        self._transport.abort()

    def close_if_idle(self) -> None:
        if self._request is None:
            self._transport.close()

    def _require_arriving(self) -> Request:
        assert self._arriving is not None, "the parser began a message before its parts"
        return self._arriving

    def _advance(self) -> None:
        """Process waiting requests until one takes time."""
        # Immediate responses call this method again through `finish`: the outer loop continues.
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
            keep_alive = self._app.settings.keep_alive
            self._idle_timer = self._loop.call_later(keep_alive, self._idle_timer_fired)

    def _idle_timer_fired(self) -> None:
        self._idle_timer = None
        if self._idle_since is None:
            return
        left = self._idle_since + self._app.settings.keep_alive - self._loop.time()
        # uvloop's timers have millisecond resolution and may fire one millisecond early.
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
