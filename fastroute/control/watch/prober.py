"""Health checks: a request to each server at an interval, and how it was answered.

What follows from that is decided elsewhere (`rules.health`), as is the time until the next probe.
A probe mostly opens a new connection, as the last one was closed for being idle: so it also shows
whether the server still takes connections.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from typing import Protocol

import msgspec

from fastroute.control.loops import pause
from fastroute.net.http_client import ClientError, ServerClient
from fastroute.rules.health_check import HealthCheck

log = logging.getLogger("supervisor")

JITTER = 0.1
"""Part of the interval by which a probe may come earlier."""


class Probe(msgspec.Struct, frozen=True):
    """How a server answered to one health check.

    Attributes:
        ok: With a 2xx.
        slow: Not in time; nothing else is known to be wrong.
        response_time: Seconds until the whole answer, or until it was given up.
        reason: Why it is not ok; "" if it is.
        path: The path that was asked last.
    """

    ok: bool
    slow: bool
    response_time: float
    reason: str
    path: str


MIN_INTERVAL = 0.25
"""Seconds between two probes, whatever wakes the loop: failed requests ask for a probe, and clients
must not set the rate of them."""


class Probed(Protocol):
    """A server whose health is checked; what it says is asked anew in each round."""

    @property
    def health_check(self) -> HealthCheck:
        """How it is checked."""

    @property
    def health_check_timeout(self) -> float:
        """Seconds that the server has to answer."""

    @property
    def probe_interval(self) -> float:
        """Seconds from the end of this probe to the next."""

    def probed(self, probe: Probe) -> None:
        """Take the outcome of a probe."""


async def probe_once(
    client: ServerClient, check: HealthCheck, within: float, path: str | None = None
) -> Probe:
    """Check a server's health once.

    Args:
        client: For the server.
        check: The request, and what a good response is.
        within: Seconds that each response may take.
        path: The path that the server is known to have, or None for that of the check.
    """
    began = time.monotonic()  # The time of an event loop may lag behind.
    asked = path or check.path
    while True:
        try:
            status = (await client.get(asked, within)).status
        except ClientError as error:
            return Probe(False, error.timed_out, time.monotonic() - began, str(error), asked)
        instead = check.path_after(asked, status)
        if instead is None:
            ok = check.accepts(status)
            reason = "" if ok else check.complaint(asked, status)
            return Probe(ok, False, time.monotonic() - began, reason, asked)
        asked = instead


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
    path: str | None = None
    try:
        while True:
            check = server.health_check
            try:
                probe = await probe_once(client, check, server.health_check_timeout, path)
            except Exception as error:  # an unexpected error is an outcome as well: a failed check
                log.exception("the health check of %s failed unexpectedly", client)
                probe = Probe(False, False, 0.0, f"unexpected: {error!r}", check.path)
            server.probed(probe)
            # Remembered while it is good: a restarted server may have the other path.
            path = probe.path if probe.ok else None
            interval = server.probe_interval * (1 - JITTER * rng())
            at_least = min(MIN_INTERVAL, interval)
            await asyncio.sleep(at_least)
            await pause(interval - at_least, wake)
    finally:
        client.close()
