"""Polls a router's /load-stats and computes rates from its counters."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar

from fastroute.api.rates import Moment, is_restart, rates
from fastroute.api.report import ModelsReport, Report, read_answer
from fastroute.errors import ConfigError
from fastroute.monitor.view.picture import MonitorData
from fastroute.net.http_client import ClientError, ServerClient
from fastroute.server_address import URL_FORM, ServerAddress

Answer = TypeVar("Answer")

TIMEOUT = 3.0
"""Seconds a response may take."""

WINDOW = 5.0
"""Seconds over which rates are averaged: enough for rare requests, few enough to be current."""

MODELS_INTERVAL = 5.0
"""Seconds between requests for the models, which seldom change."""


class NoResponse(Exception):
    """No fastroute answered; the message gives the reason in a few words."""


def target(url: str) -> tuple[str, ServerAddress]:
    """Return the complete URL of a router, and its address.

    Args:
        url: May lack `http://`.

    Raises:
        ConfigError: The URL is not valid.
    """
    full = (url if "://" in url else f"http://{url}").rstrip("/")
    try:
        address = ServerAddress.from_url(full)
    except ConfigError as error:
        raise ConfigError(f"{url!r}: {error}") from None
    if address.follows_dns:
        raise ConfigError(f"{url!r}: {URL_FORM}")
    return full, address


class Poller:
    """Polls one router over HTTP. Close it when done.

    Attributes:
        body: The last body of /load-stats, unchanged.
    """

    def __init__(
        self, url: str, address: ServerAddress, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Prepare, without sending anything.

        Args:
            url: The router's URL, as shown to the user.
            address: Where it listens.
            clock: Returns seconds, like time.monotonic.
        """
        self.body = b""
        self._url = url
        self._client = ServerClient(address)
        self._clock = clock
        self._moments: deque[Moment] = deque()
        self._models: dict[str, tuple[str, ...]] = {}
        self._models_at = float("-inf")
        self._error = ""

    async def poll(self) -> None:
        """Poll once.

        Raises:
            NoResponse: `data` still returns the last known report, now with this error.
        """
        try:
            await self._fetch()
        except NoResponse as error:
            self._error = str(error)
            raise
        self._error = ""

    def data(self, log: Sequence[str] | None = None, caption: str = "") -> MonitorData:
        """Return the data to show now."""
        clock = time.strftime("%H:%M:%S")
        if not self._moments:
            return MonitorData(
                source=self._url, error=self._error, log=log, caption=caption, clock=clock
            )
        before, after = self._moments[0], self._moments[-1]
        return MonitorData(
            source=self._url,
            report=after.report,
            rates=rates(before, after),
            models=self._models,
            error=self._error,
            unrouted=_unrouted_rate(before, after),
            log=log,
            caption=caption,
            clock=clock,
        )

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    async def _fetch(self) -> None:
        self.body, report = await self._get("/load-stats", Report)
        now = self._clock()
        if self._moments and is_restart(self._moments[-1].report, report):
            self._moments.clear()
        self._moments.append(Moment(now, report))
        # Keep one moment that is as old as the window, to compare with.
        while len(self._moments) > 2 and now - self._moments[1].at >= WINDOW:
            self._moments.popleft()
        if now - self._models_at >= MODELS_INTERVAL:
            _, models = await self._get("/server-models", ModelsReport)
            self._models, self._models_at = models.by_url(), now

    async def _get(self, path: str, kind: type[Answer]) -> tuple[bytes, Answer]:
        return await fetch(self._client, path, kind)


async def fetch(client: ServerClient, path: str, kind: type[Answer]) -> tuple[bytes, Answer]:
    """Send one GET request to a router.

    Returns:
        The response's body, unchanged and decoded.

    Raises:
        NoResponse: There is no response, or it is not that of a fastroute.
    """
    try:
        reply = await client.get(path, TIMEOUT)
    except ClientError as error:
        raise NoResponse(str(error)) from None
    if reply.status != 200:
        hint = "; if admin_port is set, use that port" if path == "/load-stats" else ""
        raise NoResponse(f"not a fastroute: {path} returned status {reply.status}{hint}")
    try:
        return reply.body, read_answer(reply.body, kind)
    except ValueError:
        raise NoResponse(f"not a fastroute: {path} returned an unknown body") from None


def _unrouted_rate(before: Moment, after: Moment) -> float | None:
    counts = [sum(w.unrouted_503 for w in m.report.summary.workers) for m in (before, after)]
    seconds = after.at - before.at
    return max(0, counts[1] - counts[0]) / seconds if seconds > 0 else None
