"""Scrapes the load of each server from its /metrics periodically.

Each server has its own loop, connection and timeout, so that a slow or hung one delays no other;
and no server gets a new request before it has responded or the timeout has expired.

Only the required names are requested, with `/metrics/?name[]=...`: half a kilobyte and 1 ms of
vLLM's event loop, instead of 64 KB and 5 ms. Not every server supports this: older ones return 404
or ignore the filter, and one with several API processes returns an empty text. For these the whole
text of `/metrics` is read. This is remembered until the server cannot be reached, because its
successor at that address may be newer.
"""

import asyncio
import random
import time
from collections.abc import Callable
from typing import Protocol

from fastroute.net.http_client import ClientError, Reply, ServerClient
from fastroute.rules.load import (
    ACCEPTED,
    MAX_METRICS_BYTES,
    NAMES,
    BadMetrics,
    LoadReport,
    is_filtered,
    parse_metrics,
)

ALL_METRICS = "/metrics"
OUR_METRICS = "/metrics/?" + "&".join(f"name[]={name}" for name in NAMES)

JITTER = 0.05
"""Share of the interval by which each round starts earlier or later."""


class ScrapeError(Exception):
    """A server's load could not be read; the message gives the reason in a few words.

    Attributes:
        is_own_limit: True if this process could not ask; it says nothing about the server.
    """

    def __init__(self, reason: str, *, is_own_limit: bool = False) -> None:
        super().__init__(reason)
        self.is_own_limit = is_own_limit


class Scraper:
    """Scrapes one server's load, and remembers if it supports filtering."""

    __slots__ = ("_client", "_target")

    def __init__(self, client: ServerClient) -> None:
        self._client = client
        self._target = OUR_METRICS

    async def scrape(self, within: float) -> LoadReport:
        """Scrape the load once.

        Args:
            within: Seconds for each of the up to two requests.

        Raises:
            ScrapeError: The load cannot be read, or is implausible.
        """
        try:
            report = await self._scrape(within)
        except ClientError as error:
            self._target = OUR_METRICS
            raise ScrapeError(str(error), is_own_limit=error.is_own_limit) from None
        except BadMetrics as error:
            raise ScrapeError(str(error)) from None
        return report

    async def _scrape(self, within: float) -> LoadReport:
        if self._target == OUR_METRICS:
            report = await self._scrape_filtered(within)
            if report is not None:
                return report
        reply = await get_metrics(self._client, ALL_METRICS, within)
        if reply.status != 200:
            raise ScrapeError(f"{ALL_METRICS} returned {reply.status}")
        report = load_in(reply)
        # Only now, because it helped: a server without any metrics is tried both ways each time.
        self._target = ALL_METRICS
        return report

    async def _scrape_filtered(self, within: float) -> LoadReport | None:
        """Scrape only the required names; None if the server does not support this."""
        reply = await get_metrics(self._client, OUR_METRICS, within)
        if reply.status >= 500:
            raise ScrapeError(f"{ALL_METRICS} returned {reply.status}")
        if reply.status != 200:
            return None
        if is_filtered(reply.body):
            try:
                return load_in(reply)
            except BadMetrics:
                return None
        # The response has all metrics, so the filter was ignored. It is usable this time.
        report = load_in(reply)
        self._target = ALL_METRICS
        return report


async def get_metrics(client: ServerClient, target: str, within: float) -> Reply:
    """Request metrics in a format that is read.

    Args:
        client: Client of the server.
        target: `ALL_METRICS` or `OUR_METRICS`.
        within: Timeout in seconds.

    Raises:
        ClientError: There is no complete response.
    """
    return await client.get(target, within, MAX_METRICS_BYTES, accept=ACCEPTED)


def load_in(reply: Reply) -> LoadReport:
    """Return the load in a response with metrics.

    Raises:
        BadMetrics: There is none that is reliable.
    """
    return parse_metrics(reply.body, ends_with_connection=reply.ends_with_connection)


class Scraped(Protocol):
    """A server whose load is scraped; its properties are read again in each round."""

    @property
    def scrape_interval(self) -> float:
        """Seconds from the start of one round to that of the next."""

    @property
    def scrape_timeout(self) -> float:
        """Seconds for the server's response."""

    def own_in_flight(self) -> int:
        """Return the number of requests in flight from all workers to the server."""

    def scraped(self, report: LoadReport, own_in_flight: int, at_ns: int) -> None:
        """Handle a report.

        Args:
            report: Load that the server reported.
            own_in_flight: Upper bound of the router's own share of it.
            at_ns: Time of the request (`time.monotonic_ns`): the report is not older.
        """

    def scrape_failed(self, reason: str) -> None:
        """Handle a failed round."""

    def skipped(self, reason: str) -> None:
        """Handle a round that did not happen because of a limit of this process."""


async def keep_scraping(
    server: Scraped, client: ServerClient, rng: Callable[[], float] = random.random
) -> None:
    """Scrape a server's load until cancelled; then close the client.

    The first round starts immediately, the second after a random part of the interval, so that
    servers that were added together are spread over it; each later round has some jitter.

    Args:
        server: Receives the result of each round.
        client: Used only by this loop.
        rng: Returns a number from 0 up to 1.
    """
    loop = asyncio.get_running_loop()
    scraper = Scraper(client)
    part = rng()
    try:
        while True:
            began = loop.time()
            await _scrape_once(server, scraper)
            # If a round took longer than the interval, the next one starts immediately.
            await asyncio.sleep(max(0.0, began + server.scrape_interval * part - loop.time()))
            part = 1 + JITTER * (2 * rng() - 1)
    finally:
        client.close()


async def _scrape_once(server: Scraped, scraper: Scraper) -> None:
    # The server counts at some moment between these two readings. The larger one is the safe
    # choice: own requests counted as external would keep all requests away from the server for a
    # whole interval, while overlooked external ones are counted a round later.
    before = server.own_in_flight()
    asked_at_ns = time.monotonic_ns()
    try:
        report = await scraper.scrape(server.scrape_timeout)
    except ScrapeError as error:
        tell = server.skipped if error.is_own_limit else server.scrape_failed
        tell(str(error))
        return
    server.scraped(report, max(before, server.own_in_flight()), asked_at_ns)
