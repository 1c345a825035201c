"""Relay of requests for /metrics to the supervisor, which renders it.

A connection treats such a request like one that waits for a server.
"""

from itertools import count
from typing import Final

from fastroute.ipc.messages import MetricsReply, MetricsRequest
from fastroute.proxy.context import WorkerContext
from fastroute.proxy.own_replies import LateClient, LateReply, LocalReply, own_error
from fastroute.proxy.request_trace import Ended, own_record
from fastroute.rules.outcome import Outcome
from fastroute.rules.request_head import RequestHead

MAX_ACCEPT_BYTES: Final = 1024
"""Maximum length of Accept and Accept-Encoding, of which the rest is ignored."""
REPLY_TIMEOUT_S: Final = 5.0
"""Timeout in seconds. Rendering takes 0.1 s for 200 servers; Prometheus waits for 10 s."""


class MetricsRelay:
    """Requests of one worker that wait for the supervisor."""

    __slots__ = ("_ids", "_waiting", "_worker")

    def __init__(self, worker: WorkerContext) -> None:
        """Start without requests.

        Args:
            worker: Sends messages to the supervisor, and knows the time.
        """
        self._worker = worker
        self._ids = count(1)
        self._waiting: dict[int, LateMetrics] = {}

    def request(self) -> "LateMetrics":
        """Create a request; the caller starts it."""
        return LateMetrics(self._worker, next(self._ids), self._waiting)

    def take(self, reply: MetricsReply) -> None:
        """Forward a reply of the supervisor; drop it if its client has disconnected."""
        waiting = self._waiting.get(reply.id)
        if waiting is not None:
            waiting.end(reply)


class LateMetrics(LateReply):
    """One request that waits for the supervisor."""

    __slots__ = ("_client", "_deadline", "_head", "_id", "_waiting", "_worker")

    _client: LateClient
    _head: RequestHead

    def __init__(self, worker: WorkerContext, id_: int, waiting: "dict[int, LateMetrics]") -> None:
        self._worker = worker
        self._id = id_
        self._waiting = waiting
        self._deadline = worker.stamp + REPLY_TIMEOUT_S

    def start(self, client: LateClient, head: RequestHead) -> None:
        """Send the request to the supervisor."""
        self._client, self._head = client, head
        self._waiting[self._id] = self
        accept, accept_encoding = (
            b", ".join(head.values(name))[:MAX_ACCEPT_BYTES].decode("latin-1")
            for name in (b"accept", b"accept-encoding")
        )
        self._worker.link.report(
            MetricsRequest(id=self._id, accept=accept, accept_encoding=accept_encoding)
        )

    def end(self, reply: LocalReply, reason: str | None = None) -> None:
        """Send the response to the client."""
        del self._waiting[self._id]
        self._client.late_reply(reply, reason)

    def cancel(self) -> None:
        """Drop the request, because the client disconnected."""
        del self._waiting[self._id]
        recorder = self._worker.recorder
        if recorder is not None:
            ended = Ended(Outcome.CLIENT_GONE_WAITING, None, reason="gone while waiting")
            recorder.add(own_record(self._client.address, self._head, ended))

    def cut(self) -> None:
        """Send an error, because this worker exits."""
        self._fail("fastroute is stopping; try again shortly")

    def sweep(self, now: float) -> None:
        """Send an error if the supervisor takes too long."""
        if now >= self._deadline:
            self._fail(f"the supervisor did not render it within {REPLY_TIMEOUT_S:g} s")

    def _fail(self, message: str) -> None:
        self.end(own_error(503, message), message)
