"""Rendering of /metrics for the clients of all workers, in a thread so that it delays nothing."""

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import msgspec

from fastroute.control.loops import Coalesced
from fastroute.errors import error_body
from fastroute.ipc.messages import Configure, Losses, MetricsReply, MetricsRequest
from fastroute.ipc.score_table import TableSnapshot

RENDER_GAP = 0.25
"""Minimum time between two renderings, in seconds. Requests that arrive meanwhile share the next
one, so frequent requests take little CPU time from the workers."""

NICENESS = 10
"""Niceness of the thread: streams take precedence if supervisor and worker share a core. With 19
the supervisor would wait too long for the interpreter's lock while workers use all of the CPU."""

FAILED = error_body(503, "the metrics cannot be rendered; see the log", "ServiceUnavailableError")

log = logging.getLogger("supervisor")


class Numbers(msgspec.Struct, frozen=True):
    """Snapshot from which /metrics is rendered."""

    table: TableSnapshot
    configured: Configure
    losses: Losses


class Waiting(msgspec.Struct, frozen=True):
    """A request and the callback for its reply."""

    request: MetricsRequest
    send: Callable[[MetricsReply], None]

    @property
    def format(self) -> tuple[str, str]:
        """Values of the headers on which the reply depends."""
        return self.request.accept, self.request.accept_encoding


class MetricsRenderer:
    """Renders the responses to requests that workers relay."""

    __slots__ = ("_pool", "_read", "_render", "_rendering", "_start", "_waiting")

    def __init__(
        self,
        read: Callable[[], Numbers],
        render: Callable[[Numbers, MetricsRequest], MetricsReply],
    ) -> None:
        """Prepare, without rendering anything.

        Args:
            read: Returns the current numbers.
            render: Renders the response to a request; it is called in a thread.
        """
        self._read = read
        self._render = render
        self._pool = ThreadPoolExecutor(1, "metrics", _lower_priority)
        self._waiting: list[Waiting] = []
        self._rendering: asyncio.Task[None] | None = None
        self._start = Coalesced(self._render_waiting, RENDER_GAP)

    def ask(self, request: MetricsRequest, send: Callable[[MetricsReply], None]) -> None:
        """Queue a request.

        Args:
            request: Request from a worker.
            send: Called with the reply.
        """
        self._waiting.append(Waiting(request, send))
        self._start.request()

    def close(self) -> None:
        """Drop the waiting requests and stop the thread."""
        self._start.cancel()
        if self._rendering is not None:
            self._rendering.cancel()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _render_waiting(self) -> None:
        if self._rendering is None:
            self._rendering = asyncio.get_running_loop().create_task(self._answer())

    async def _answer(self) -> None:
        """Render once per format and reply to all waiting requests."""
        waiting, self._waiting = self._waiting, []
        by_format: dict[tuple[str, str], list[Waiting]] = {}
        for each in waiting:
            by_format.setdefault(each.format, []).append(each)
        for same in by_format.values():
            reply = await self._reply_to(same[0].request)
            for each in same:
                each.send(msgspec.structs.replace(reply, id=each.request.id))
        self._rendering = None
        if self._waiting:
            self._start.request()

    async def _reply_to(self, request: MetricsRequest) -> MetricsReply:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._pool, self._render, self._read(), request)
        except Exception:
            log.exception("the metrics cannot be rendered")
            return MetricsReply(
                id=request.id, status=503, body=FAILED, content_type="application/json"
            )


def _lower_priority() -> None:
    """Raise the niceness of this thread; on Linux each thread has its own."""
    thread = threading.get_native_id()
    niceness = max(NICENESS, os.getpriority(os.PRIO_PROCESS, thread))
    with contextlib.suppress(OSError):  # Without it, streams are only slower.
        os.setpriority(os.PRIO_PROCESS, thread, niceness)
