"""Asks a fastroute for /load-stats again and again, and knows how fast its counters rise."""

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

WITHIN = 3.0
"""Seconds an answer may take."""

WINDOW = 5.0
"""Seconds over which rates are taken: long enough for rare requests, short enough to be of now."""

MODELS_INTERVAL = 5.0
"""Seconds between two questions for the models, which seldom change."""


class NoAnswer(Exception):
    """The fastroute did not answer, or it is none; the message says so in a few words."""


def target(url: str) -> tuple[str, ServerAddress]:
    """Return the URL of a fastroute, in full, and its address.

    Args:
        url: May lack `http://`.

    Raises:
        ConfigError: It is no such URL.
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
    """One fastroute as seen over HTTP. Close it when done.

    Attributes:
        body: The last /load-stats as it came.
    """

    def __init__(
        self, url: str, address: ServerAddress, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Prepare, without asking anything.

        Args:
            url: As shown.
            address: Where it listens.
            clock: Like time.monotonic.
        """
        self.body = b""
        self._url = url
        self._client = ServerClient(address)
        self._clock = clock
        self._moments: deque[Moment] = deque()
        self._models: dict[str, tuple[str, ...]] = {}
        self._models_at = float("-inf")
        self._trouble = ""

    async def poll(self) -> None:
        """Ask once.

        Raises:
            NoAnswer: What was known before is kept, and shown with this trouble.
        """
        try:
            await self._ask()
        except NoAnswer as error:
            self._trouble = str(error)
            raise
        self._trouble = ""

    def picture(self, log: Sequence[str] | None = None, caption: str = "") -> MonitorData:
        """Return what is known now, with what else is to be shown."""
        clock = time.strftime("%H:%M:%S")
        if not self._moments:
            return MonitorData(
                source=self._url, trouble=self._trouble, log=log, caption=caption, clock=clock
            )
        before, after = self._moments[0], self._moments[-1]
        return MonitorData(
            source=self._url,
            report=after.report,
            rates=rates(before, after),
            models=self._models,
            trouble=self._trouble,
            unrouted=_unrouted_rate(before, after),
            log=log,
            caption=caption,
            clock=clock,
        )

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    async def _ask(self) -> None:
        self.body, report = await self._get("/load-stats", Report)
        now = self._clock()
        if self._moments and is_restart(self._moments[-1].report, report):
            self._moments.clear()
        self._moments.append(Moment(now, report))
        # One that is as old as the window stays, to compare with.
        while len(self._moments) > 2 and now - self._moments[1].at >= WINDOW:
            self._moments.popleft()
        if now - self._models_at >= MODELS_INTERVAL:
            _, models = await self._get("/server-models", ModelsReport)
            self._models, self._models_at = models.by_url(), now

    async def _get(self, path: str, kind: type[Answer]) -> tuple[bytes, Answer]:
        return await ask(self._client, path, kind)


async def ask(client: ServerClient, path: str, kind: type[Answer]) -> tuple[bytes, Answer]:
    """Ask a fastroute once.

    Returns:
        The answer as it came, and taken apart.

    Raises:
        NoAnswer: There is none, or not that of a fastroute.
    """
    try:
        reply = await client.get(path, WITHIN)
    except ClientError as error:
        raise NoAnswer(str(error)) from None
    if reply.status != 200:
        hint = "; if it has an admin_port, ask there" if path == "/load-stats" else ""
        raise NoAnswer(f"this is no fastroute: {path} answered {reply.status}{hint}")
    try:
        return reply.body, read_answer(reply.body, kind)
    except ValueError:
        raise NoAnswer(f"this is no fastroute: {path} answered something else") from None


def _unrouted_rate(before: Moment, after: Moment) -> float | None:
    counts = [sum(w.unrouted_503 for w in m.report.summary.workers) for m in (before, after)]
    seconds = after.at - before.at
    return max(0, counts[1] - counts[0]) / seconds if seconds > 0 else None
