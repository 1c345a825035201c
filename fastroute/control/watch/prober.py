"""Asks each server's /health, again and again, and says how it answered.

What follows from that is decided elsewhere (`rules.health`), as is the time until the next probe.
A probe mostly opens a new connection, as the last one was closed for being idle: so it also shows
whether the server still takes connections.
"""

import asyncio
import random
import time
from collections.abc import Callable
from typing import Protocol

import msgspec

from fastroute.control.loops import pause
from fastroute.net.http_client import ClientError, ServerClient

HEALTH = "/health"

JITTER = 0.1
"""Part of the interval by which a probe may come earlier."""


class Probe(msgspec.Struct, frozen=True):
    """How a server answered to one health check.

    Attributes:
        ok: With a 2xx.
        slow: Not in time; nothing else is known to be wrong.
        response_time: Seconds until the whole answer, or until it was given up.
        reason: Why it is not ok; "" if it is.
    """

    ok: bool
    slow: bool
    response_time: float
    reason: str


MIN_INTERVAL = 0.25
"""Seconds between two probes, whatever wakes the loop: failed requests ask for a probe, and clients
must not set the rate of them."""


class Probed(Protocol):
    """A server whose health is checked; what it says is asked anew in each round."""

    @property
    def health_check_timeout(self) -> float:
        """Seconds that the server has to answer."""

    @property
    def probe_interval(self) -> float:
        """Seconds from the end of this probe to the next."""

    def probed(self, probe: Probe) -> None:
        """Take the outcome of a probe."""


async def probe_once(client: ServerClient, within: float) -> Probe:
    """Check a server's health once.

    Args:
        client: For the server.
        within: Seconds that it has to answer.
    """
    began = time.monotonic()  # A loop's own time may lag behind.
    try:
        reply = await client.get(HEALTH, within)
    except ClientError as error:
        return Probe(False, error.timed_out, time.monotonic() - began, str(error))
    response_time = time.monotonic() - began
    if 200 <= reply.status < 300:
        return Probe(True, False, response_time, "")
    return Probe(False, False, response_time, f"{HEALTH} answered {reply.status}")


async def keep_probing(
    server: Probed,
    client: ServerClient,
    wake: asyncio.Event,
    rng: Callable[[], float] = random.random,
) -> None:
    """Check a server's health until cancelled, first at once. Closes the client at the end.

    Args:
        server: Told of each probe.
        client: For this loop alone.
        wake: Set it when `probe_interval` has become shorter, or to have a probe now.
        rng: Returns a number from 0 up to 1.
    """
    try:
        while True:
            server.probed(await probe_once(client, server.health_check_timeout))
            interval = server.probe_interval * (1 - JITTER * rng())
            at_least = min(MIN_INTERVAL, interval)
            await asyncio.sleep(at_least)
            await pause(interval - at_least, wake)
    finally:
        client.close()
