"""Health checks: requests to each server at an interval, and their results.

The consequences are decided elsewhere (`rules.health`), as is the time until the next probe. A
probe usually opens a new connection, because the last one was closed while idle: so it also checks
that the server still accepts connections.
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
"""Share of the interval by which a probe may start earlier."""


class Probe(msgspec.Struct, frozen=True):
    """Result of one health check.

    Attributes:
        ok: True if the status is accepted.
        slow: True if it was not in time, without another error.
        response_time: Seconds until the complete response, or until the timeout.
        reason: Reason why it is not ok; "" if it is.
        path: Last requested path.
        is_own_limit: True if this process could not ask; it says nothing about the server.
    """

    ok: bool
    slow: bool
    response_time: float
    reason: str
    path: str
    is_own_limit: bool = False


MIN_INTERVAL = 0.25
"""Minimum seconds between two probes, whatever wakes the loop: failed requests trigger a probe, and
clients must not determine the rate of probes."""


class Probed(Protocol):
    """A server whose health is checked; its properties are read again in each round."""

    @property
    def health_check(self) -> HealthCheck:
        """Settings of its health check."""

    @property
    def health_check_timeout(self) -> float:
        """Seconds for the server's response."""

    @property
    def probe_interval(self) -> float:
        """Seconds from the end of this probe to the next."""

    def probed(self, probe: Probe) -> None:
        """Handle the result of a probe."""

    def skipped(self, reason: str) -> None:
        """Handle that a probe could not be sent because of a limit of this process."""


async def probe_once(
    client: ServerClient, check: HealthCheck, within: float, path: str | None = None
) -> Probe:
    """Check a server's health once.

    Args:
        client: Client of the server.
        check: The request, and the accepted responses.
        within: Seconds for each response.
        path: Path known to exist on the server, or None for that of the check.
    """
    began = time.monotonic()  # The event loop's cached time may lag behind.
    asked = path or check.path
    while True:
        try:
            status = (await client.get(asked, within)).status
        except ClientError as error:
            took = time.monotonic() - began
            return Probe(False, error.timed_out, took, str(error), asked, error.is_own_limit)
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
    """Check a server's health until cancelled, the first time immediately; then close the client.

    Args:
        server: Receives the result of each probe.
        client: Used only by this loop.
        wake: Set it if `probe_interval` has become shorter, or to probe now.
        rng: Returns a number from 0 up to 1.
    """
    path: str | None = None
    try:
        while True:
            check = server.health_check
            try:
                probe = await probe_once(client, check, server.health_check_timeout, path)
            except Exception as error:  # an unexpected error counts as a failed check, too
                log.exception("the health check of %s failed unexpectedly", client)
                probe = Probe(False, False, 0.0, f"unexpected: {error!r}", check.path)
            if probe.is_own_limit:
                server.skipped(probe.reason)
            else:
                server.probed(probe)
            # Remembered while it succeeds: a restarted server may have the other path.
            path = probe.path if probe.ok else None
            interval = server.probe_interval * (1 - JITTER * rng())
            at_least = min(MIN_INTERVAL, interval)
            await asyncio.sleep(at_least)
            await pause(interval - at_least, wake)
    finally:
        client.close()
