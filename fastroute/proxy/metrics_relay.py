"""Requests for /metrics: the supervisor renders it, and the clients wait for it here.

To its connection such a request is like one that waits for a server.
"""

from itertools import count
from typing import Final

from fastroute.ipc.messages import MetricsReply, MetricsRequest
from fastroute.proxy.context import WorkerContext
from fastroute.proxy.own_replies import LateClient, LateReply, LocalReply, own_error
from fastroute.proxy.request_trace import Ended, own_record
from fastroute.rules.outcome import Outcome
from fastroute.rules.request_head import RequestHead

REPLY_TIMEOUT_S: Final = 5.0
"""How long the supervisor has. It takes 0.1 s for 200 servers, and Prometheus waits for 10."""


class MetricsRelay:
    """The requests of one worker that wait for the supervisor."""

    __slots__ = ("_ids", "_waiting", "_worker")

    def __init__(self, worker: WorkerContext) -> None:
        """Start with none.

        Args:
            worker: Sends messages to the supervisor, and knows the time.
        """
        self._worker = worker
        self._ids = count(1)
        self._waiting: dict[int, LateMetrics] = {}

    def request(self) -> "LateMetrics":
        """Return a request that is still to be started."""
        return LateMetrics(self._worker, next(self._ids), self._waiting)

    def take(self, reply: MetricsReply) -> None:
        """Pass a reply of the supervisor on; it is dropped if its client is gone."""
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
            b", ".join(head.values(name)).decode("latin-1")
            for name in (b"accept", b"accept-encoding")
        )
        self._worker.link.report(
            MetricsRequest(id=self._id, accept=accept, accept_encoding=accept_encoding)
        )

    def end(self, reply: LocalReply, reason: str | None = None) -> None:
        """Give the client its reply."""
        del self._waiting[self._id]
        self._client.late_reply(reply, reason)

    def cancel(self) -> None:
        """Forget the request: the client is gone."""
        del self._waiting[self._id]
        recorder = self._worker.recorder
        if recorder is not None:
            ended = Ended(Outcome.CLIENT_GONE_WAITING, None, reason="gone while waiting")
            recorder.add(own_record(self._client.address, self._head, ended))

    def cut(self) -> None:
        """Answer with an error: this worker stops now."""
        self._fail("fastroute is stopping; try again shortly")

    def sweep(self, now: float) -> None:
        """Answer with an error if the supervisor takes too long."""
        if now >= self._deadline:
            self._fail(f"the supervisor did not render it within {REPLY_TIMEOUT_S:g} s")

    def _fail(self, message: str) -> None:
        self.end(own_error(503, message), message)
