"""Measurement of the first request to a server, step by step: name, connection, TLS, response."""

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any

import h11

from fastroute.doctor.facts import Certificate, Facts, Reach, Step
from fastroute.doctor.measure.bench import ANSWER_TIMEOUT, Bench
from fastroute.doctor.measure.wire import Wire
from fastroute.net.http_client import ClientError, in_few_words
from fastroute.rules.health_check import DEFAULT_PATH
from fastroute.server_address import ServerAddress

HANDSHAKE_TIMEOUT = 1.0
"""Seconds, used after there was no response or it was not HTTP."""

DATE_RESOLUTION = 1.0
"""Seconds; a Date header is rounded down to whole seconds."""


class _Failed(Exception):
    def __init__(self, step: Step, reason: str) -> None:
        super().__init__(reason)
        self.step = step


async def measure_reach(bench: Bench, facts: Facts) -> None:
    """Request /health on a separate connection."""
    began = time.monotonic()
    addresses: tuple[str, ...] = ()
    lookup = connect = None
    try:
        addresses = await _resolved(bench.server.address)
        lookup = time.monotonic() - began
        wire = await _connected(bench)
        connect = time.monotonic() - began - lookup
        with contextlib.closing(wire):
            facts.reach = await _answered(bench, wire, addresses, lookup, connect)
    except _Failed as failed:
        facts.reach = Reach(
            step=failed.step,
            error=str(failed),
            addresses=addresses,
            lookup=lookup,
            connect=connect,
            asked_at=time.time(),
            speaks_tls=failed.step is Step.ANSWER and await _speaks_tls(bench.server.address),
        )


async def _resolved(address: ServerAddress) -> tuple[str, ...]:
    loop = asyncio.get_running_loop()
    with _failing(Step.NAME, f"name not resolved within {ANSWER_TIMEOUT:g} s"):
        async with asyncio.timeout(ANSWER_TIMEOUT):
            found = await loop.getaddrinfo(
                address.host, address.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
            )
    return tuple(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


async def _connected(bench: Bench) -> Wire:
    with _failing(Step.CONNECT, f"cannot connect within {ANSWER_TIMEOUT:g} s"):
        async with asyncio.timeout(ANSWER_TIMEOUT):
            return await Wire.open(bench.server, bench.tls)


async def _answered(
    bench: Bench, wire: Wire, addresses: tuple[str, ...], lookup: float, connect: float
) -> Reach:
    asked_at, asked = time.time(), time.monotonic()
    with _failing(Step.ANSWER, f"no response within {ANSWER_TIMEOUT:g} s"):
        async with asyncio.timeout(ANSWER_TIMEOUT):
            head = await wire.ask("GET", DEFAULT_PATH, bench.fields)
            head_after = time.monotonic() - asked
            async for _ in wire.body():
                pass
    return Reach(
        step=Step.DONE,
        addresses=addresses,
        lookup=lookup,
        connect=connect,
        answer=time.monotonic() - asked,
        status=head.status_code,
        clock_ahead=_clock_ahead(head, asked_at, asked_at + head_after),
        asked_at=asked_at,
        certificate=None if wire.tls is None else _certificate(wire.tls),
    )


@contextlib.contextmanager
def _failing(step: Step, too_late: str) -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise _Failed(step, too_late) from None
    except ClientError as error:
        raise _Failed(step, str(error)) from None
    except ssl.SSLError as error:
        raise _Failed(Step.TLS, f"cannot connect: {in_few_words(error)}") from None
    except OSError as error:
        raise _Failed(step, f"cannot connect: {in_few_words(error)}") from None


def _clock_ahead(head: h11.Response, asked_at: float, answered_at: float) -> float | None:
    """Return by how many seconds a Date lies outside the request's time span; 0 if inside."""
    date = dict(head.headers).get(b"date")
    try:
        told = parsedate_to_datetime((date or b"").decode("latin-1")).timestamp()
    except (ValueError, OverflowError):
        return None
    if told > answered_at:
        return told - answered_at
    return min(0.0, told + DATE_RESOLUTION - asked_at)


def _certificate(tls: ssl.SSLObject) -> Certificate | None:
    shown: dict[str, Any] = tls.getpeercert() or {}
    if "notAfter" not in shown:
        return None
    # A sequence of names, each a sequence of pairs.
    issuer = dict(pair for name in shown.get("issuer", ()) for pair in name)
    return Certificate(
        expires_at=ssl.cert_time_to_seconds(shown["notAfter"]),
        issuer=issuer.get("organizationName") or issuer.get("commonName") or "an unnamed authority",
        protocol=tls.version() or "",
    )


async def _speaks_tls(address: ServerAddress) -> bool:
    """Return True if a server accepts a TLS handshake on a port that is configured as http."""
    if address.tls:
        return False
    trusting = ssl.create_default_context()
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    try:
        async with asyncio.timeout(HANDSHAKE_TIMEOUT):
            _, writer = await asyncio.open_connection(address.host, address.port, ssl=trusting)
    except (TimeoutError, OSError):
        return False
    writer.transport.abort()
    return True
