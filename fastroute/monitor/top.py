"""`fastroute top`: shows another router as the monitor, as a table or as JSON."""

import asyncio
import signal
import sys

import msgspec
from rich.console import Console

from fastroute.monitor.monitor import POLL_INTERVAL, Monitor
from fastroute.monitor.poller import NoResponse, Poller
from fastroute.monitor.screen import Screen
from fastroute.monitor.view.terminal import ONCE_WIDTH, once
from fastroute.printable import escaped_json
from fastroute.server_address import ServerAddress


async def show(url: str, address: ServerAddress) -> None:
    """Show the monitor until its user quits.

    Raises:
        NoResponse: No fastroute answers the first request. Once shown, the monitor keeps retrying.
    """
    poller = Poller(url, address)
    try:
        await poller.poll()
        screen = Screen()
        try:
            monitor = Monitor(poller, screen)
            asyncio.get_running_loop().add_signal_handler(signal.SIGINT, monitor.end)
            await monitor.run()
        finally:
            screen.close()
    finally:
        poller.close()


async def print_once(url: str, address: ServerAddress) -> None:
    """Print a table. It takes a second, because rates need two samples.

    Raises:
        NoResponse: No fastroute answers there.
    """
    poller = Poller(url, address)
    try:
        await poller.poll()
        await asyncio.sleep(POLL_INTERVAL)
        await poller.poll()
    finally:
        poller.close()
    console = Console()
    width = console.width if console.is_terminal else ONCE_WIDTH
    for line in once(poller.data(), width):
        line.rstrip()
        console.print(line, soft_wrap=True)


async def print_json(url: str, address: ServerAddress) -> None:
    """Print the body of /load-stats; control characters in it are escaped, as JSON does it.

    Raises:
        NoResponse: No fastroute answers there.
    """
    poller = Poller(url, address)
    try:
        await poller.poll()
    finally:
        poller.close()
    compact = msgspec.json.format(poller.body, indent=-1)
    sys.stdout.write(escaped_json(compact).decode() + "\n")


__all__ = ["NoResponse", "print_json", "print_once", "show"]
