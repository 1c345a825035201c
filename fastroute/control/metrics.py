"""Renders /metrics for the clients of all workers, in a thread so that nothing waits for it."""

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
"""Seconds from one rendering to the next, at least. Requests that come meanwhile share the next
one, so clients who ask again and again take little of the CPU that workers need."""

NICENESS = 10
"""Of the thread: streams come first if supervisor and worker share a core. At 19 the supervisor
would wait too long for the interpreter's lock while workers take all of the CPU."""

FAILED = error_body(503, "the metrics cannot be rendered; see the log", "ServiceUnavailableError")

log = logging.getLogger("supervisor")


class Numbers(msgspec.Struct, frozen=True):
    """All that /metrics is rendered from, at one moment."""

    table: TableSnapshot
    configured: Configure
    losses: Losses


class Waiting(msgspec.Struct, frozen=True):
    """A request, and where its reply goes."""

    request: MetricsRequest
    send: Callable[[MetricsReply], None]

    @property
    def format(self) -> tuple[str, str]:
        """Headers that the reply depends on."""
        return self.request.accept, self.request.accept_encoding


class MetricsRenderer:
    """Answers requests that workers relay."""

    __slots__ = ("_pool", "_read", "_render", "_rendering", "_start", "_waiting")

    def __init__(
        self,
        read: Callable[[], Numbers],
        render: Callable[[Numbers, MetricsRequest], MetricsReply],
    ) -> None:
        """Prepare, without rendering anything.

        Args:
            read: Returns the numbers as they are now.
            render: Answers a request; it is called in a thread.
        """
        self._read = read
        self._render = render
        self._pool = ThreadPoolExecutor(1, "metrics", _lower_priority)
        self._waiting: list[Waiting] = []
        self._rendering: asyncio.Task[None] | None = None
        self._start = Coalesced(self._render_waiting, RENDER_GAP)

    def ask(self, request: MetricsRequest, send: Callable[[MetricsReply], None]) -> None:
        """Take a request.

        Args:
            request: As it came from a worker.
            send: Called with the reply, soon.
        """
        self._waiting.append(Waiting(request, send))
        self._start.request()

    def close(self) -> None:
        """Drop what is waiting."""
        self._start.cancel()
        if self._rendering is not None:
            self._rendering.cancel()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _render_waiting(self) -> None:
        if self._rendering is None:
            self._rendering = asyncio.get_running_loop().create_task(self._answer())

    async def _answer(self) -> None:
        """Render once for all requests of a format."""
        waiting, self._waiting = self._waiting, []
        by_format: dict[tuple[str, str], list[Waiting]] = {}
        for each in waiting:
            by_format.setdefault(each.format, []).append(each)
        for same in by_format.values():
            reply = await self._rendered(same[0].request)
            for each in same:
                each.send(msgspec.structs.replace(reply, id=each.request.id))
        self._rendering = None
        if self._waiting:
            self._start.request()

    async def _rendered(self, request: MetricsRequest) -> MetricsReply:
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
    with contextlib.suppress(OSError):  # It is only slower for others then.
        os.setpriority(os.PRIO_PROCESS, thread, niceness)
