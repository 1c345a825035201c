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
MAX_FORMATS: Final = 4
"""Maximum number of formats that the supervisor renders at once for one worker."""
REPLY_TIMEOUT_S: Final = 5.0
"""Timeout in seconds. Rendering takes 0.1 s for 200 servers; Prometheus waits for 10 s."""


Format = tuple[str, str]
"""Values of Accept and Accept-Encoding."""


class MetricsRelay:
    """Requests of one worker that wait for the supervisor.

    Those that arrive while the supervisor renders the same format share the next rendering: a reply
    has up to 1 MB, and none is older than its request.
    """

    __slots__ = ("_ids", "_queued", "_sent", "worker")

    def __init__(self, worker: WorkerContext) -> None:
        """Start without requests.

        Args:
            worker: Sends messages to the supervisor, and knows the time.
        """
        self.worker = worker
        self._ids = count(1)
        self._sent: dict[int, Rendering] = {}
        self._queued: dict[LateMetrics, None] = {}

    def __len__(self) -> int:
        return len(self._queued) + sum(len(each.asking) for each in self._sent.values())

    def request(self) -> "LateMetrics":
        """Create a request; the caller starts it."""
        return LateMetrics(self)

    def ask(self, asking: "LateMetrics") -> None:
        """Send a request to the supervisor, or queue it."""
        rendered = [each.format for each in self._sent.values()]
        if asking.format in rendered or len(rendered) >= MAX_FORMATS:
            self._queued[asking] = None
        else:
            self._send(asking.format).asking[asking] = None

    def take(self, reply: MetricsReply) -> None:
        """Forward a reply of the supervisor; drop it if its clients have disconnected."""
        rendering = self._sent.pop(reply.id, None)
        self._send_queued()
        for asking in () if rendering is None else rendering.asking:
            asking.end(reply)

    def remove(self, asking: "LateMetrics") -> None:
        """Remove a request that ends without a reply."""
        self._queued.pop(asking, None)
        for id_, rendering in tuple(self._sent.items()):
            rendering.asking.pop(asking, None)
            if not rendering.asking:
                del self._sent[id_]
                self._send_queued()

    def _send_queued(self) -> None:
        """Send the queued requests, those of one format together, as far as they need not wait."""
        queued, self._queued = self._queued, {}
        waits = {each.format for each in self._sent.values()}
        renderings: dict[Format, Rendering] = {}
        for asking in queued:
            rendering = renderings.get(asking.format)
            if rendering is None and (asking.format in waits or len(self._sent) >= MAX_FORMATS):
                self._queued[asking] = None
                continue
            if rendering is None:
                rendering = renderings[asking.format] = self._send(asking.format)
            rendering.asking[asking] = None

    def _send(self, accepted: Format) -> "Rendering":
        id_ = next(self._ids)
        rendering = self._sent[id_] = Rendering(accepted)
        accept, accept_encoding = accepted
        self.worker.link.report(
            MetricsRequest(id=id_, accept=accept, accept_encoding=accept_encoding)
        )
        return rendering


class Rendering:
    """A request to the supervisor.

    Attributes:
        format: Values of the headers on which the response depends.
        asking: Requests of clients that share it.
    """

    __slots__ = ("asking", "format")

    def __init__(self, accepted: Format) -> None:
        self.format = accepted
        self.asking: dict[LateMetrics, None] = {}


class LateMetrics(LateReply):
    """One request that waits for the supervisor.

    Attributes:
        format: Values of the headers on which the response depends.
    """

    __slots__ = ("_client", "_deadline", "_head", "_relay", "format")

    _client: LateClient
    _head: RequestHead
    format: Format

    def __init__(self, relay: MetricsRelay) -> None:
        self._relay = relay
        self._deadline = relay.worker.stamp + REPLY_TIMEOUT_S

    def start(self, client: LateClient, head: RequestHead) -> None:
        """Send the request to the supervisor."""
        self._client, self._head = client, head
        accept, accept_encoding = (
            b", ".join(head.values(name))[:MAX_ACCEPT_BYTES].decode("latin-1")
            for name in (b"accept", b"accept-encoding")
        )
        self.format = accept, accept_encoding
        self._relay.ask(self)

    def end(self, reply: LocalReply, reason: str | None = None) -> None:
        """Send the response to the client."""
        self._client.late_reply(reply, reason)

    def cancel(self) -> None:
        """Drop the request, because the client disconnected."""
        self._relay.remove(self)
        recorder = self._relay.worker.recorder
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
        self._relay.remove(self)
        self.end(own_error(503, message), message)
