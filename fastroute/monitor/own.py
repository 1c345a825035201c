"""The monitor of the router in this process; the router continues even if the monitor fails."""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable, Coroutine
from typing import Any

from fastroute.monitor.stderr_lines import StderrLines
from fastroute.server_address import ServerAddress

STOP_CHECK = 0.1
"""Seconds between checks whether the router is stopping."""

log = logging.getLogger("monitor")


async def with_monitor(
    router: Coroutine[Any, Any, int],
    ready: asyncio.Event,
    listening: socket.socket,
    stderr: StderrLines,
    caption: Callable[[], str] = str,
) -> int:
    """Run the router, with the monitor from the time it is ready until it stops.

    Args:
        router: The running supervisor.
        ready: Set when the router accepts clients.
        listening: Serves fastroute's own endpoints; closed when the router stops.
        stderr: Log lines, including those of the workers.
        caption: Returns a line to show above the servers; empty for none.

    Returns:
        The result of `router`.
    """
    with stderr.followed():
        showing = asyncio.get_running_loop().create_task(_show(ready, listening, stderr, caption))
        try:
            return await router
        finally:
            showing.cancel()
            await asyncio.wait((showing,))


async def _show(
    ready: asyncio.Event, listening: socket.socket, stderr: StderrLines, caption: Callable[[], str]
) -> None:
    await ready.wait()
    try:
        await _monitor(listening, stderr, caption)
    except Exception:
        # A failed display must not stop the router.
        log.exception("the monitor failed; the router continues and logs here")


async def _monitor(
    listening: socket.socket, stderr: StderrLines, caption: Callable[[], str]
) -> None:
    # Imported only now, so that a router without a monitor does not need the memory.
    from fastroute.monitor.monitor import Monitor
    from fastroute.monitor.poller import Poller
    from fastroute.monitor.screen import Screen

    def on_cover(is_covered: bool) -> None:
        if is_covered:
            stderr.hide()
        else:
            stderr.show()

    url = own_url(listening)
    poller = Poller(url, ServerAddress.from_url(url))
    screen = Screen()
    try:
        monitor = Monitor(poller, screen, stderr.kept, on_cover, caption)
        watching = asyncio.get_running_loop().create_task(_end_with(listening, monitor.end))
        try:
            await monitor.run()
        finally:
            watching.cancel()
    finally:
        screen.close()
        poller.close()
    if not screen.is_lost and not _is_stopping(listening):
        # The user pressed q: do the same as ctrl-c.
        os.kill(os.getpid(), signal.SIGINT)


async def _end_with(listening: socket.socket, end: Callable[[], None]) -> None:
    """End the monitor when the router stops, so that its last log lines are visible."""
    while not _is_stopping(listening):  # noqa: ASYNC110  closing a socket notifies nobody
        await asyncio.sleep(STOP_CHECK)
    end()


def _is_stopping(listening: socket.socket) -> bool:
    return listening.fileno() < 0


def own_url(listening: socket.socket) -> str:
    """Return a URL that reaches a listening socket, even if it listens on all addresses."""
    host, port = listening.getsockname()[:2]
    if host == "0.0.0.0":
        host = "127.0.0.1"
    elif host == "::":
        host = "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
