"""Reads the load of each server from its /metrics, again and again.

Each server has its own loop, connection and timeout, so a slow or hung one delays nobody; and no
server is asked again before it has answered or its time is over.

Only the names needed are asked for, with `/metrics/?name[]=...`: half a kilobyte and 1 ms of
vLLM's event loop, instead of 64 KB and 5 ms. Not every server can do that: older ones answer 404
or ignore it, and one with several API processes answers with an empty text. Then the whole text
of `/metrics` is read, and this is remembered until the server cannot be reached, as the next one
behind that address may be newer.
"""

import asyncio
import random
import time
from collections.abc import Callable
from typing import Protocol

from fastroute.net.http_client import ClientError, ServerClient
from fastroute.rules.load import NAMES, BadMetrics, LoadReport, is_filtered, parse_metrics

ALL_METRICS = "/metrics"
OUR_METRICS = "/metrics/?" + "&".join(f"name[]={name}" for name in NAMES)

JITTER = 0.05
"""Part of the interval by which each round comes earlier or later."""


class ScrapeError(Exception):
    """A server's load could not be read; the message says why, in a few words."""


class Scraper:
    """Reads one server's load, and remembers which way it can be asked."""

    __slots__ = ("_client", "_target")

    def __init__(self, client: ServerClient) -> None:
        self._client = client
        self._target = OUR_METRICS

    async def scrape(self, within: float) -> LoadReport:
        """Read the load once.

        Args:
            within: Seconds for each of the two requests this may take.

        Raises:
            ScrapeError: It cannot be read, or not be trusted.
        """
        try:
            report = await self._scrape(within)
        except ClientError as error:
            self._target = OUR_METRICS
            raise ScrapeError(str(error)) from None
        except BadMetrics as error:
            raise ScrapeError(str(error)) from None
        return report

    async def _scrape(self, within: float) -> LoadReport:
        if self._target == OUR_METRICS:
            report = await self._ask_for_ours(within)
            if report is not None:
                return report
        reply = await self._client.get(ALL_METRICS, within)
        if reply.status != 200:
            raise ScrapeError(f"{ALL_METRICS} answered {reply.status}")
        report = parse_metrics(reply.body)
        # Only now, as it helps: a server that has no metrics at all is asked both ways.
        self._target = ALL_METRICS
        return report

    async def _ask_for_ours(self, within: float) -> LoadReport | None:
        """Ask for our names alone; None if the server cannot do that."""
        reply = await self._client.get(OUR_METRICS, within)
        if reply.status >= 500:
            raise ScrapeError(f"{ALL_METRICS} answered {reply.status}")
        if reply.status != 200:
            return None
        if is_filtered(reply.body):
            try:
                return parse_metrics(reply.body)
            except BadMetrics:
                return None
        # All came, so the names were ignored. It is what was wanted, but not to be asked so again.
        report = parse_metrics(reply.body)
        self._target = ALL_METRICS
        return report


class Scraped(Protocol):
    """A server whose load is read; what it says is asked anew in each round."""

    @property
    def scrape_interval(self) -> float:
        """Seconds from the start of one round to that of the next."""

    @property
    def scrape_timeout(self) -> float:
        """Seconds that the server has to answer."""

    def own_in_flight(self) -> int:
        """How many requests all workers have with the server now."""

    def scraped(self, report: LoadReport, own_in_flight: int, at_ns: int) -> None:
        """Take a report.

        Args:
            report: What the server said.
            own_in_flight: What of it, at most, was our own.
            at_ns: When it was asked, by `time.monotonic_ns`: the report is not older than this.
        """

    def scrape_failed(self, reason: str) -> None:
        """Take note that there is no report this time."""


async def keep_scraping(
    server: Scraped, client: ServerClient, rng: Callable[[], float] = random.random
) -> None:
    """Read a server's load until cancelled. Closes the client at the end.

    The first round is at once, the second after a random part of the interval, so that many
    servers that were added together spread over it; each later one has some jitter.

    Args:
        server: Told of each round.
        client: For this loop alone.
        rng: Returns a number from 0 up to 1.
    """
    loop = asyncio.get_running_loop()
    scraper = Scraper(client)
    part = rng()
    try:
        while True:
            began = loop.time()
            await _scrape_once(server, scraper)
            # A round that took longer than the interval is followed by the next at once.
            await asyncio.sleep(max(0.0, began + server.scrape_interval * part - loop.time()))
            part = 1 + JITTER * (2 * rng() - 1)
    finally:
        client.close()


async def _scrape_once(server: Scraped, scraper: Scraper) -> None:
    # The server counts at some moment between these two readings. Taking the larger one errs to
    # the safe side: own requests counted as others' would keep everybody away from the server for
    # a whole interval, while some of others' overlooked are seen a round later.
    before = server.own_in_flight()
    asked_at_ns = time.monotonic_ns()
    try:
        report = await scraper.scrape(server.scrape_timeout)
    except ScrapeError as error:
        server.scrape_failed(str(error))
        return
    server.scraped(report, max(before, server.own_in_flight()), asked_at_ns)
