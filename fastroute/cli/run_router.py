"""The router process: connects the control plane to starting workers, and runs it.

Separate from the command line, which imports these modules while its workers start.
"""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from socket import socket
from typing import TYPE_CHECKING, Any

import uvloop

from fastroute.control.config_file import FixedConfig, WatchedConfig
from fastroute.control.metrics import Numbers
from fastroute.control.supervisor import Supervisor
from fastroute.control.workers.launch import Launch
from fastroute.ipc.messages import MetricsReply, MetricsRequest
from fastroute.net.resolver import Resolver
from fastroute.recording.recording import Recording
from fastroute.views.view import view_of

if TYPE_CHECKING:
    from fastroute.demo.show import Show


def run_router(  # noqa: PLR0913  it is called in one place, the command line
    source: WatchedConfig | FixedConfig,
    launch: Launch,
    recording: Recording,
    announce: Callable[[], None],
    *,
    url: str,
    show: "Show | None" = None,
    with_screen: bool,
) -> int:
    """Run the supervisor until a signal ends it.

    Args:
        source: Servers and settings, and the source of changes to them.
        launch: Listening sockets and the first workers.
        recording: Records requests in the access log and as spans.
        announce: Called once, when all workers accept clients.
        url: The router's URL for clients.
        show: Scenario to run at the same time, if any.
        with_screen: True to show the monitor.

    Returns:
        The exit code.
    """
    ready = asyncio.Event()

    def tell() -> None:
        announce()
        ready.set()

    async def supervise() -> int:
        supervisor = Supervisor(
            source,
            launch,
            resolver=Resolver(),
            recording=recording,
            render_metrics=metrics_reply,
            announce=tell,
        )
        return await _run(supervisor, ready, show, url)

    if not with_screen:
        return uvloop.run(supervise())
    own = launch.sockets.admin or launch.sockets.clients[0]
    return _run_with_monitor(supervise, ready, own, str if show is None else show.caption)


def _run_with_monitor(
    supervise: Callable[[], Coroutine[Any, Any, int]],
    ready: asyncio.Event,
    own: socket,
    caption: Callable[[], str],
) -> int:
    from fastroute.monitor.own import with_monitor
    from fastroute.monitor.stderr_lines import StderrLines

    with StderrLines() as stderr:
        # uvloop would leave the terminal in non-blocking mode, also for the shell.
        return asyncio.run(with_monitor(supervise(), ready, own, stderr, caption))


async def _run(supervisor: Supervisor, ready: asyncio.Event, show: "Show | None", url: str) -> int:
    """Run the supervisor, and the scenario if there is one."""
    if show is None:
        return await supervisor.run()

    from fastroute.demo.show import with_show

    play = partial(show.play, url)
    return await with_show(supervisor.run(), ready, supervisor.stopping, play)


def metrics_reply(numbers: Numbers, request: MetricsRequest) -> MetricsReply:
    """Render /metrics."""
    # The library takes 50 ms and 5 MB, for nothing where no Prometheus asks.
    from fastroute.views.prometheus import metrics

    view = view_of(numbers.table, numbers.configured, numbers.losses)
    reply = metrics(view, request.accept, request.accept_encoding)
    return MetricsReply(
        id=request.id,
        status=reply.status,
        body=reply.body,
        content_type=reply.content_type,
        fields=reply.fields,
    )
