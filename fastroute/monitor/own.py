"""The monitor of the router that runs in this process, which goes on whatever becomes of it."""

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
"""Seconds between looks at whether the router is stopping."""

log = logging.getLogger("monitor")


async def with_monitor(
    router: Coroutine[Any, Any, int],
    ready: asyncio.Event,
    listening: socket.socket,
    stderr: StderrLines,
    caption: Callable[[], str] = str,
) -> int:
    """Run the router, and the monitor from the time it is ready until it stops.

    Args:
        router: The supervisor at work.
        ready: Set when it accepts clients.
        listening: Where fastroute's own endpoints are found; closed when it stops.
        stderr: What is logged, also by workers.
        caption: Returns a line that the monitor shows; nothing if it is empty.

    Returns:
        What `router` returned.
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
        # A screen is not worth a router.
        log.exception("the monitor failed; logging goes on")


async def _monitor(
    listening: socket.socket, stderr: StderrLines, caption: Callable[[], str]
) -> None:
    # Only now: a router that is not looked at does without the memory.
    from fastroute.monitor.monitor import Monitor
    from fastroute.monitor.poller import Poller
    from fastroute.monitor.screen import Screen

    def covered(is_covered: bool) -> None:
        if is_covered:
            stderr.hide()
        else:
            stderr.show()

    url = own_url(listening)
    poller = Poller(url, ServerAddress.from_url(url))
    screen = Screen()
    try:
        monitor = Monitor(poller, screen, stderr.kept, covered, caption)
        watching = asyncio.get_running_loop().create_task(_end_with(listening, monitor.end))
        try:
            await monitor.run()
        finally:
            watching.cancel()
    finally:
        screen.close()
        poller.close()
    if not screen.is_lost and not _is_stopping(listening):
        # The user has quit: as with ctrl-c.
        os.kill(os.getpid(), signal.SIGINT)


async def _end_with(listening: socket.socket, end: Callable[[], None]) -> None:
    """End the monitor when the router stops: what it still has to say is then said by the log."""
    while not _is_stopping(listening):  # noqa: ASYNC110  a closed socket tells nobody
        await asyncio.sleep(STOP_CHECK)
    end()


def _is_stopping(listening: socket.socket) -> bool:
    return listening.fileno() < 0


def own_url(listening: socket.socket) -> str:
    """Return where to ask what listens on a socket, also if it listens on all addresses."""
    host, port = listening.getsockname()[:2]
    if host == "0.0.0.0":
        host = "127.0.0.1"
    elif host == "::":
        host = "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
