"""One request and its reply: chooses a server, connects, retries, relays, and counts.

This is the only place where the client's side and the server's side meet. One exchange owns the
accounting of one request, and releases every server it was counted on exactly once.
"""

import asyncio
import errno
import logging
from collections.abc import Callable
from typing import Final

from fastroute.ipc.table_layout import (
    COUNTERS,
    DURATION_BOUNDS,
    FIRST_BYTE_BOUNDS,
    MODEL_COUNTERS,
    WORKER_COLUMNS,
)
from fastroute.proxy import clock
from fastroute.proxy.context import WorkerContext
from fastroute.proxy.request_trace import RequestTrace
from fastroute.proxy.router import ModelServers
from fastroute.proxy.server import Server
from fastroute.proxy.upstream import ReplySink, UpstreamConnection
from fastroute.rules.framing import Body, ReplyEnd, Unwrapper
from fastroute.rules.health import Event
from fastroute.rules.message import ReplyHead, RequestHead
from fastroute.rules.retry import Next, Phase, Verdict, after_failure, is_shutting_down, judge
from fastroute.rules.server_state import ServerState

log = logging.getLogger(__name__)

# Through their classes each costs 60 ns on Python 3.11, and a request looks at some sixteen.
CONNECTING: Final = Phase.CONNECTING
WAITING: Final = Phase.WAITING
REPLYING: Final = Phase.REPLYING
FINE: Final = Verdict.FINE
BUSY: Final = Verdict.BUSY
UNCLEAR: Final = Verdict.UNCLEAR
CHUNKED: Final = Body.CHUNKED
UNTIL_CLOSE: Final = Body.UNTIL_CLOSE
REUSABLE: Final = ReplyEnd.REUSABLE
SPENT: Final = ReplyEnd.SPENT
TRIAL: Final = ServerState.TRIAL
# Columns of the score table.
IN_FLIGHT: Final = WORKER_COLUMNS.index("in_flight")
STARTED: Final = WORKER_COLUMNS.index("started")
FINISHED_2XX: Final = WORKER_COLUMNS.index("finished_2xx")
FAILED: Final = WORKER_COLUMNS.index("failed")
ABORTED: Final = WORKER_COLUMNS.index("aborted")
RETRIES: Final = WORKER_COLUMNS.index("retries")
RETRIES_CONNECT: Final = WORKER_COLUMNS.index("retries_connect")
RETRIES_RESET: Final = WORKER_COLUMNS.index("retries_reset")
RETRIES_BUSY: Final = WORKER_COLUMNS.index("retries_busy")
RETRIES_FAILED: Final = WORKER_COLUMNS.index("retries_failed")
ABORTS_WAITING: Final = WORKER_COLUMNS.index("aborts_waiting")
ABORTS_REPLYING: Final = WORKER_COLUMNS.index("aborts_replying")
CONNECTIONS_NEW: Final = WORKER_COLUMNS.index("connections_new")
CONNECTIONS_REUSED: Final = WORKER_COLUMNS.index("connections_reused")
BYTES_IN: Final = WORKER_COLUMNS.index("bytes_in")
BYTES_OUT: Final = WORKER_COLUMNS.index("bytes_out")
EVENTS: Final = WORKER_COLUMNS.index("events")
FIRST_BYTE: Final = WORKER_COLUMNS.index("first_byte_0")
FIRST_BYTE_SUM: Final = WORKER_COLUMNS.index("first_byte_sum_us")
DURATION: Final = WORKER_COLUMNS.index("duration_0")
DURATION_SUM: Final = WORKER_COLUMNS.index("duration_sum_us")
assert COUNTERS[FINISHED_2XX : FINISHED_2XX + len(MODEL_COUNTERS)] == MODEL_COUNTERS, (
    "an outcome has the same place among a server's and a model's counters"
)

# Ours, not the server's: descriptors, ports and memory.
OUR_LIMITS: Final = frozenset(
    (errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM)
)
# How much of a refusal is held back while another server is tried; vLLM's are below 1 KiB.
MAX_HELD_BYTES: Final = 65536


class Client:
    """The client's side of an exchange.

    Attributes:
        address: IP address, for X-Forwarded-For.
        write: Sends bytes of the reply.
    """

    __slots__ = ("address", "write")

    address: bytes
    write: Callable[[bytes], None]

    def exchange_done(self, keep_alive: bool) -> None:
        """Note that the reply is whole."""
        raise NotImplementedError

    def exchange_refused(self, status: int, message: str) -> None:
        """Answer with an error of our own; no byte of a reply has been written."""
        raise NotImplementedError

    def exchange_broken(self, reset: bool) -> None:
        """End the connection so that the part of a reply it got is not taken for a whole one.

        Args:
            reset: Whether only a reset tells the client, since the close is the reply's end to it.
        """
        raise NotImplementedError


class Exchange(ReplySink):
    """A request on its way, from the choice of a server to the last byte of the reply."""

    _attempt_at: float
    _first_byte: float
    _heard_at: float
    # Reply of the attempt
    _reply: ReplyHead | None
    _reply_body: Body
    _verdict: Verdict
    _stopping: bool
    _keep_alive: bool
    _unwrapper: Unwrapper | None
    # What is not written yet: pieces of a refusal, which wait for its end
    _held: list[bytes] | None
    _held_bytes: int
    _bytes_out: int

    __slots__ = (
        "_attempt_at",
        "_body",
        "_bytes_out",
        "_client",
        "_connecting",
        "_first_byte",
        "_group",
        "_head",
        "_heard_at",
        "_held",
        "_held_bytes",
        "_keep_alive",
        "_paused",
        "_phase",
        "_reply",
        "_reply_body",
        "_request_id",
        "_retries_left",
        "_reused",
        "_sent",
        "_server",
        "_started_at",
        "_stopping",
        "_tried",
        "_unwrapper",
        "_upstream",
        "_verdict",
        "_worker",
        "_write",
        "trace",
    )

    def __init__(
        self,
        worker: WorkerContext,
        client: Client,
        head: RequestHead,
        body: bytes | bytearray,
        group: ModelServers,
    ) -> None:
        # Request
        self._worker = worker
        self._client = client
        self._write = client.write
        self._head = head
        self._body = body
        self._group = group
        self._request_id = head.request_id or worker.new_request_id()
        self._retries_left = worker.max_retries
        self._tried: list[Server] = []
        self._started_at = 0.0
        self._sent = False
        self._paused = False
        self.method = head.method
        self.trace: RequestTrace | None = None
        if worker.follows:
            self.trace = RequestTrace(worker, client.address, head, body, group.name)
            self._write = self.trace.follow(self._request_id, client.write)
        # Attempt; `_attempt` sets the rest of it, and `reply_begins` what belongs to a reply
        self._server: Server | None = None
        self._upstream: UpstreamConnection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._phase = CONNECTING
        self._reused = False

    def __repr__(self) -> str:
        server = self._server.url if self._server else None
        return f"<Exchange {self._request_id!r} {self._phase.name} server={server}>"

    def start(self) -> None:
        """Choose a server and send the request; the client hears of the outcome."""
        worker = self._worker
        worker.requests += 1
        server = self._choose()
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
        self._heard_at = self._worker.stamp
        if self._upstream is not None:
            self._upstream.transport.resume_reading()

    def cancel(self) -> None:
        """Stop at once, in whatever phase: the client is gone and vLLM need not generate on."""
        if self._server is None:
            return
        self._note_first_byte()
        when = ABORTS_REPLYING if self._phase is REPLYING else ABORTS_WAITING
        self._worker.counts[when, self._server.row] += 1
        self._drop_upstream()
        self._release(ABORTED, ended=True)
        if self.trace is not None:
            self.trace.end(
                "client", bytes_out=self._bytes_out, reason=f"gone while {self._phase.value}"
            )

    def sweep(self, now: float) -> None:
        """Fail if the server has been silent for too long. A client's own pause does not count."""
        if self._paused or self._phase is CONNECTING:
            return
        if now - self._heard_at >= self._worker.config.request_timeout:
            self._note_first_byte()
            self._drop_upstream()
            self._failed(f"silent for {self._worker.config.request_timeout:g} s", silent=True)

    # From the server's connection

    def reply_informs(self, head: ReplyHead, raw: bytes) -> None:
        """Pass an informational head on; HTTP/1.0 knows none."""
        assert self._server is not None, "a reply from no server"
        if not self._head.http_1_0:
            self._write(head.render(raw, self._server.authority))

    def reply_begins(self, head: ReplyHead, raw: bytes, first_body: bytes) -> None:
        """Write the head and what came with it in one system call; hold a refusal to its end."""
        server, request, upstream = self._server, self._head, self._upstream
        assert server is not None, "a reply from no server"
        assert upstream is not None, "a reply from no connection"
        self._phase = REPLYING
        self._heard_at = self._worker.stamp
        self._first_byte = upstream.first_byte_at - self._attempt_at
        self._reply = head
        self._reply_body = head.body
        self._keep_alive = request.keep_alive and not self._worker.draining
        if request.http_1_0 and head.body is CHUNKED:
            self._unwrapper = Unwrapper()
            self._reply_body = UNTIL_CLOSE
        if self._reply_body is UNTIL_CLOSE:
            self._keep_alive = False
        connection = None
        if not self._keep_alive:
            connection = b"close"
        elif request.http_1_0:
            connection = b"keep-alive"
        rendered = head.render(raw, server.authority, connection, request.http_1_0)
        if head.status >= 429:
            self._verdict = self._judge(head.status)
        self._held = [rendered]
        self._held_bytes = len(rendered)
        if first_body:
            self.reply_bytes(first_body)
        if self._verdict is FINE:
            self._flush()

    def reply_bytes(self, data: bytes) -> None:
        """Pass a piece of the body on, in the loop turn it came in."""
        worker = self._worker
        self._heard_at = worker.stamp
        assert self._server is not None, "a reply from no server"
        worker.counts[EVENTS, self._server.row] += 1
        if self._unwrapper is not None:
            data = self._unwrapper.feed(data)
        if self._held is None:
            self._bytes_out += len(data)
            self._write(data)
            return
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes > MAX_HELD_BYTES:
            self._flush()

    def reply_ends(self, end: ReplyEnd, reason: str) -> None:
        """Give the connection back and count the request, or see what the retry rules say."""
        server, upstream = self._server, self._upstream
        assert server is not None, "a reply from no server"
        assert upstream is not None, "a reply from no connection"
        if end is REUSABLE:
            if self._paused:
                upstream.transport.resume_reading()
            server.give_back(upstream, self._worker.stamp)
        elif end is SPENT:
            upstream.cancel()
        else:
            self._note_first_byte()
            self._upstream = None
            self._failed(reason, silent=False)
            return
        self._upstream = None
        if self._verdict is not FINE and self._refused(server):
            return
        self._flush()
        self._finish(server)

    # Within: an attempt

    def _attempt(self, server: Server) -> None:
        worker = self._worker
        if self.trace is not None:
            self.trace.attempt(server)
        self._server = server
        self._reply = None
        self._verdict = FINE
        self._stopping = False
        self._unwrapper = None
        self._held = None
        self._bytes_out = 0
        self._attempt_at = clock.now()
        if not self._started_at:
            self._started_at = self._attempt_at
        worker.counts[STARTED, server.row] += 1
        worker.counts[IN_FLIGHT, server.row] += 1
        upstream = server.take_idle(worker.stamp)
        if upstream is not None:
            worker.counts[CONNECTIONS_REUSED, server.row] += 1
            self._send(upstream)
        else:
            self._phase = CONNECTING
            self._connecting = worker.loop.create_task(self._connect(server))

    async def _connect(self, server: Server) -> None:
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
            if isinstance(error, OSError) and error.errno in OUR_LIMITS:
                self._out_of_means(error)
                return
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            self._failed(reason, silent=False)
            return
        self._connecting = None
        if not upstream.is_idle():
            self._failed("the connection ended as soon as it was made", silent=False)
            return
        self._worker.counts[CONNECTIONS_NEW, server.row] += 1
        self._send(upstream)

    def _send(self, upstream: UpstreamConnection) -> None:
        server, body = self._server, self._body
        assert server is not None, "a request to no server"
        self._phase = WAITING
        self._heard_at = self._worker.stamp
        self._upstream = upstream
        self._reused = upstream.reused
        head = self._head.render(
            server.authority,
            server.authorization,
            self._client.address,
            self._request_id,
            len(body),
        )
        if self.trace is not None:
            head = self.trace.outgoing(head)
        self._worker.counts[BYTES_IN, server.row] += len(head) + len(body)
        upstream.send(self, head, body)
        if self._paused:
            upstream.transport.pause_reading()

    # Within: the end of an attempt

    def _judge(self, status: int) -> Verdict:
        """Say what a status means for us: what cannot be tried again is simply passed on."""
        verdict = judge(status)
        if verdict is UNCLEAR:
            return verdict  # only its whole body says whether the server is going down
        may_retry = self._retries_left and str(status) in self._worker.retry_on
        return verdict if may_retry else FINE

    def _refused(self, server: Server) -> bool:
        """Try another server in place of one that refused; whether there is one."""
        reply, held = self._reply, self._held
        assert reply is not None, "a refusal without a head"
        if held is None:
            return False  # it was too long to hold and is the client's already
        counter = RETRIES_FAILED
        if self._verdict is UNCLEAR:
            self._stopping = is_shutting_down(b"".join(held))
            if not self._stopping:
                return False
        elif self._verdict is BUSY:
            counter = RETRIES_BUSY
        other = self._another(server)
        if other is None:
            return False
        self._held = None
        if self.trace is not None:
            self.trace.failed(f"status {reply.status}")
        self._observe_reply(server, reply)
        self._release(finished_column(reply.status), ended=False)
        self._worker.counts[counter, other.row] += 1
        self._attempt(other)
        return True

    def _another(self, server: Server) -> Server | None:
        """Choose a server for one more attempt, if limits and budget allow it and there is one."""
        worker = self._worker
        if not self._retries_left or not worker.may_retry():
            return None
        self._tried.append(server)
        other = self._choose()
        if other is not None:
            self._retries_left -= 1
            worker.retries += 1
            worker.counts[RETRIES, other.row] += 1
        return other

    def _choose(self) -> Server | None:
        """Choose a server that has not been tried yet."""
        if self.trace is not None:
            return self.trace.choose(self._group, self._tried)
        return self._worker.router.choose(self._group, self._tried)

    def _finish(self, server: Server) -> None:
        """Count a request that was answered."""
        worker, reply = self._worker, self._reply
        assert reply is not None, "an end without a head"
        elapsed = clock.now() - self._started_at
        counts, row = worker.counts, server.row
        counts[DURATION + bucket_of(DURATION_BOUNDS, elapsed), row] += 1
        counts[DURATION_SUM, row] += int(elapsed * 1e6)
        if reply.status >= 429 or worker.failing or server.state is TRIAL:
            self._observe_reply(server, reply)
        self._release(finished_column(reply.status), ended=True)
        if self.trace is not None:
            self.trace.end("server", bytes_out=self._bytes_out)
        self._client.exchange_done(keep_alive=self._keep_alive)

    def _observe_reply(self, server: Server, reply: ReplyHead) -> None:
        verdict = judge(reply.status)
        detail = f"status {reply.status}"
        if self._stopping:
            self._worker.observe(server, Event.SHUTTING_DOWN, "it takes no more requests")
        elif verdict is BUSY:
            self._worker.observe(server, Event.BUSY, detail, reply.retry_after)
        elif verdict is FINE:
            self._worker.observe(server, Event.REQUEST_OK, detail)
        else:
            self._worker.observe(server, Event.REQUEST_FAILED, detail)

    def _failed(self, reason: str, silent: bool) -> None:
        """Count and log an attempt without a whole reply, then do what the retry rules say."""
        worker, server, phase = self._worker, self._server, self._phase
        assert server is not None, "a failure of no server"
        self._held = None
        if self.trace is not None:
            self.trace.failed("connect failure" if phase is CONNECTING else "closed connection")
        follow = after_failure(phase, reused=self._reused, silent=silent, retry_on=worker.retry_on)
        log.warning(
            "server %s failed while %s: %s; %s %s, request %s: %s",
            server.url,
            phase.value,
            reason,
            self.method.decode("latin-1"),
            self._head.path.decode("latin-1"),  # a query may hold a key
            self._request_id.decode("latin-1"),
            follow.value,
        )
        if follow is Next.SAME_SERVER_FRESH:
            self._release(FAILED, ended=False)
            worker.counts[RETRIES, server.row] += 1
            worker.counts[RETRIES_RESET, server.row] += 1
            server.close_idle()  # they are as old or older, and as likely to be closed
            self._attempt(server)
            return
        worker.observe(server, Event.REQUEST_FAILED, f"{phase.value}: {reason}")
        other = self._another(server) if follow is Next.OTHER_SERVER else None
        if other is None:
            self._release(FAILED, ended=True)
            self._give_up(reason, silent=silent)
            return
        self._release(FAILED, ended=False)
        connecting = phase is CONNECTING
        worker.counts[RETRIES_CONNECT if connecting else RETRIES_RESET, other.row] += 1
        self._attempt(other)

    def _out_of_means(self, error: OSError) -> None:
        """Answer that it is we who cannot serve now: no server is to blame, none is tried."""
        log.error("no connection can be made: %s; raise the limit (ulimit -n)", error.strerror)
        self._release(FAILED, ended=True)
        self._client.exchange_refused(503, "fastroute is at its limits; try again shortly")

    def cut(self) -> None:
        """Stop at once, and let the client see that it was not the end."""
        if self._server is None:
            return
        self._drop_upstream()
        self._release(FAILED, ended=True)
        if self._sent:
            if self.trace is not None:
                reason = "cut: fastroute was stopping"
                self.trace.end("fastroute", bytes_out=self._bytes_out, reason=reason)
            self._client.exchange_broken(reset=self._reply_body is UNTIL_CLOSE)
        else:
            self._client.exchange_refused(503, "fastroute is stopping; try again shortly")

    def _give_up(self, reason: str, silent: bool) -> None:
        if self._sent:
            if self.trace is not None:
                self.trace.end("server", bytes_out=self._bytes_out, reason=f"broken: {reason}")
            self._client.exchange_broken(reset=self._reply_body is UNTIL_CLOSE)
        elif silent:
            self._client.exchange_refused(504, f"the server did not answer: {reason}")
        else:
            self._client.exchange_refused(502, f"the server failed: {reason}")

    def _flush(self) -> None:
        """Write what was held; from now on the reply passes as it comes and nothing is retried."""
        held, self._held = self._held, None
        if held is None:
            return
        self._sent = True
        self._body = b""  # a long stream must not hold its request
        assert self._server is not None, "a reply from no server"
        reply = self._reply
        if self._server.state is TRIAL and reply is not None and reply.status < 429:
            # It answers: others need not wait until this stream ends.
            self._observe_reply(self._server, reply)
        # Counted only now: a refusal that is tried elsewhere is no answer.
        counts, row, elapsed = self._worker.counts, self._server.row, self._first_byte
        counts[FIRST_BYTE + bucket_of(FIRST_BYTE_BOUNDS, elapsed), row] += 1
        counts[FIRST_BYTE_SUM, row] += int(elapsed * 1e6)
        if self.trace is not None and reply is not None:
            at = self._attempt_at + elapsed
            held[0] = self.trace.replying(held[0], reply.status, len(held) - 1, at)
        data = held[0] if len(held) == 1 else b"".join(held)
        self._bytes_out += len(data)
        self._write(data)

    def _note_first_byte(self) -> None:
        """Update the phase before it is used for an end: a part of a head may have come."""
        upstream = self._upstream
        if self._phase is WAITING and upstream is not None and upstream.first_byte_at:
            self._phase = REPLYING

    def _drop_upstream(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        if self._upstream is not None:
            self._upstream.cancel()
            self._upstream = None

    def _release(self, outcome: int, ended: bool) -> None:
        """Take the request off its server's in-flight count; once for each attempt.

        Args:
            outcome: The column that counts how the attempt ended.
            ended: Whether the request ended with it.
        """
        server = self._server
        assert server is not None, "an attempt was released twice"
        self._server = None
        counts, row = self._worker.counts, server.row
        counts[IN_FLIGHT, row] -= 1
        counts[BYTES_OUT, row] += self._bytes_out
        counts[outcome, row] += 1
        if ended:
            self._worker.model_counts[outcome - FINISHED_2XX, self._group.slot] += 1


def bucket_of(bounds: tuple[float, ...], value: float) -> int:
    """Return the index of the first bound that is not below a value; their number if all are.

    Most are found at once: `bisect` costs more for the call alone.
    """
    index = 0
    for bound in bounds:
        if value <= bound:
            break
        index += 1
    return index


def finished_column(status: int) -> int:
    """Return the score table's column that counts replies of that status."""
    if status < 300:
        return FINISHED_2XX
    return FINISHED_2XX + min(status // 100, 5) - 2
