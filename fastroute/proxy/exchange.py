"""One request and its reply: chooses a server, connects, retries, relays, and counts.

This is the only place where the client's side and the server's side meet. One exchange owns the
accounting of one request and releases every server it was counted on exactly once.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from fastroute.proxy.pool import ServerPool
from fastroute.proxy.upstream import UpstreamConnection
from fastroute.proxy.worker_state import WorkerState
from fastroute.rules.framing import Body, Unwrapper
from fastroute.rules.message import ReplyHead, RequestHead
from fastroute.rules.retry import Next, Phase, after_failure

log = logging.getLogger(__name__)


class Client(Protocol):
    """The client's side of an exchange."""

    @property
    def address(self) -> bytes:
        """IP address, for X-Forwarded-For."""

    @property
    def write(self) -> Callable[[bytes], None]:
        """Sends bytes of the reply."""

    def exchange_done(self, *, keep_alive: bool) -> None:
        """Note that the reply is whole."""

    def exchange_refused(self, status: int, message: str) -> None:
        """Answer with an error of our own; no byte of a reply has been written."""

    def exchange_broken(self, *, reset: bool) -> None:
        """End the connection so that the part of a reply it got is not taken for a whole one.

        Args:
            reset: Whether only a reset tells the client, since the close is the reply's end to it.
        """


class Exchange:
    """A request on its way, from the choice of a server to the last byte of the reply."""

    __slots__ = (
        "_body",
        "_bytes_out",
        "_client",
        "_connecting",
        "_head",
        "_heard_at",
        "_keep_alive",
        "_paused",
        "_phase",
        "_reply_body",
        "_request_id",
        "_retries_left",
        "_reused",
        "_server",
        "_status",
        "_tried",
        "_unwrapper",
        "_upstream",
        "_worker",
        "_write",
        "method",
    )

    def __init__(
        self, worker: WorkerState, client: Client, head: RequestHead, body: bytes | bytearray
    ) -> None:
        # Request
        self._worker = worker
        self._client = client
        self._write = client.write
        self._head = head
        self._body = body
        self._request_id = head.request_id or worker.new_request_id()
        self._retries_left = worker.config.max_retries
        self._tried: list[ServerPool] = []
        self.method = head.method
        # Attempt
        self._server: ServerPool | None = None
        self._upstream: UpstreamConnection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._phase = Phase.CONNECTING
        self._reused = False
        self._heard_at = worker.now
        # Reply
        self._status = 0
        self._keep_alive = head.keep_alive
        self._reply_body = Body.NONE
        self._unwrapper: Unwrapper | None = None
        self._paused = False
        self._bytes_out = 0

    def __repr__(self) -> str:
        server = self._server.url if self._server else None
        return f"<Exchange {self._request_id!r} {self._phase.name} server={server}>"

    def start(self) -> None:
        """Choose a server and send the request; the client hears of the outcome."""
        worker = self._worker
        server = worker.choose(self._tried)
        if server is None:
            worker.cells.process.unrouted_503[0] += 1
            self._client.exchange_refused(503, "no server is usable now; try again shortly")
            return
        self._attempt(server)

    # From the client

    def pause_reply(self) -> None:
        """Stop reading from the server: the client does not keep up."""
        self._paused = True
        if self._upstream is not None:
            self._upstream.transport.pause_reading()

    def resume_reply(self) -> None:
        """Go on reading from the server."""
        self._paused = False
        self._heard_at = self._worker.now
        if self._upstream is not None:
            self._upstream.transport.resume_reading()

    def cancel(self) -> None:
        """Stop at once, in whatever phase: the client is gone and vLLM need not generate on."""
        if self._server is None:
            return
        self._drop_upstream()
        self._release(self._worker.cells.aborted)

    def sweep(self, now: float) -> None:
        """Fail if the server has been silent for too long. A client's own pause does not count."""
        if self._paused or self._phase is Phase.CONNECTING:
            return
        if now - self._heard_at >= self._worker.config.request_timeout:
            self._drop_upstream()
            self._failed(f"silent for {self._worker.config.request_timeout:g} s", silent=True)

    # From the server's connection

    def reply_started(self) -> None:
        """Note the first byte: from now on nothing is tried again."""
        self._phase = Phase.REPLYING
        self._heard_at = self._worker.now

    def reply_head(self, head: ReplyHead) -> None:
        """Pass a head on."""
        server = self._server
        assert server is not None, "a reply from no server"
        request = self._head
        if not head.is_final():
            if not request.http_1_0:
                self._write(head.render(authority=server.authority))
            return
        self._body = b""  # nothing is tried again: a long stream must not hold it
        self._status = head.status
        self._reply_body = head.body
        if request.http_1_0 and head.body is Body.CHUNKED:
            self._unwrapper = Unwrapper()
            self._reply_body = Body.UNTIL_CLOSE
        if self._reply_body is Body.UNTIL_CLOSE or self._worker.draining:
            self._keep_alive = False
        connection = None
        if not self._keep_alive:
            connection = b"close"
        elif request.http_1_0:
            connection = b"keep-alive"
        self._write(
            head.render(
                authority=server.authority,
                connection=connection,
                unwrapped=self._unwrapper is not None,
            )
        )

    def reply_bytes(self, data: bytes) -> None:
        """Pass a piece of the body on, in the loop turn it came in."""
        worker = self._worker
        self._heard_at = worker.now
        assert self._server is not None, "a reply from no server"
        worker.cells.events[self._server.row] += 1
        if self._unwrapper is not None:
            data = self._unwrapper.feed(data)
        self._bytes_out += len(data)
        self._write(data)

    def reply_complete(self, *, reusable: bool) -> None:
        """Count the request, give the connection back and tell the client."""
        server, upstream = self._server, self._upstream
        assert server is not None, "a reply from no server"
        assert upstream is not None, "a reply from no connection"
        self._upstream = None
        if reusable:
            if self._paused:
                upstream.transport.resume_reading()
            server.give_back(upstream, self._worker.now)
        else:
            upstream.cancel()
        self._release(self._worker.by_status_class[min(self._status // 100, 9)])
        self._client.exchange_done(keep_alive=self._keep_alive)

    def reply_failed(self, reason: str) -> None:
        """Try again where nothing can have been started, else tell the client."""
        self._upstream = None
        self._failed(reason, silent=False)

    # Within

    def _attempt(self, server: ServerPool) -> None:
        worker = self._worker
        self._server = server
        self._bytes_out = 0
        worker.cells.started[server.row] += 1
        worker.cells.in_flight[server.row] += 1
        upstream = server.take_idle(worker.now)
        if upstream is not None:
            worker.cells.connections_reused[server.row] += 1
            self._send(upstream)
        else:
            self._connect(server)

    def _connect(self, server: ServerPool) -> None:
        self._phase = Phase.CONNECTING
        self._connecting = self._worker.loop.create_task(self._open(server))

    async def _open(self, server: ServerPool) -> None:
        timeout = self._worker.config.connect_timeout
        try:
            async with asyncio.timeout(timeout):
                upstream = await server.connect()
        except TimeoutError:
            self._connecting = None
            self._failed(f"no connection within {timeout:g} s", silent=False)
            return
        except (OSError, ValueError) as error:  # ValueError: a name that IDNA refuses
            self._connecting = None
            self._failed(str(error) or type(error).__name__, silent=False)
            return
        self._connecting = None
        if not upstream.is_idle():
            self._failed("the connection ended as soon as it was made", silent=False)
            return
        self._worker.cells.connections_new[server.row] += 1
        self._send(upstream)

    def _send(self, upstream: UpstreamConnection) -> None:
        server, body = self._server, self._body
        assert server is not None, "a request to no server"
        self._phase = Phase.WAITING
        self._heard_at = self._worker.now
        self._upstream = upstream
        self._reused = upstream.reused
        head = self._head.render(
            server.authority, self._client.address, self._request_id, len(body)
        )
        self._worker.cells.bytes_in[server.row] += len(head) + len(body)
        upstream.send(self, head, body)
        if self._paused:
            upstream.transport.pause_reading()

    def _failed(self, reason: str, *, silent: bool) -> None:
        """Count and log a failed attempt, then do what the retry rules say."""
        worker, server = self._worker, self._server
        assert server is not None, "a failure of no server"
        follow = after_failure(
            self._phase, reused=self._reused, silent=silent, retries_left=self._retries_left
        )
        log.warning(
            "server %s failed while %s: %s; %s %s, request %s: %s",
            server.url,
            self._phase.value,
            reason,
            self.method.decode("latin-1"),
            self._head.target.decode("latin-1"),
            self._request_id.decode("latin-1"),
            follow.value,
        )
        self._release(worker.cells.failed)
        if follow is Next.SAME_SERVER_FRESH:
            worker.cells.retries[server.row] += 1
            server.close_idle()  # they are as old or older, and as likely to be closed
            self._attempt(server)
            return
        if follow is Next.OTHER_SERVER:
            self._retries_left -= 1
            self._tried.append(server)
            other = worker.choose(self._tried)
            if other is not None:
                worker.cells.retries[other.row] += 1
                self._attempt(other)
                return
        self._give_up(reason, silent=silent)

    def _give_up(self, reason: str, *, silent: bool) -> None:
        if self._status:
            self._client.exchange_broken(reset=self._reply_body is Body.UNTIL_CLOSE)
        elif silent:
            self._client.exchange_refused(504, f"the server did not answer: {reason}")
        else:
            self._client.exchange_refused(502, f"the server failed: {reason}")

    def _drop_upstream(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        if self._upstream is not None:
            self._upstream.cancel()
            self._upstream = None

    def _release(self, outcome: memoryview) -> None:
        """Take the request off its server's in-flight count; once for each attempt."""
        server = self._server
        assert server is not None, "an attempt was released twice"
        self._server = None
        cells, row = self._worker.cells, server.row
        cells.in_flight[row] -= 1
        cells.bytes_out[row] += self._bytes_out
        outcome[row] += 1
