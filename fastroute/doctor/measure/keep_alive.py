"""Measurement of the time for which a server keeps an idle connection open."""

import asyncio
import contextlib
import time

from fastroute.doctor.facts import Facts, KeepAlive
from fastroute.doctor.measure.bench import ANSWER_TIMEOUT, Bench
from fastroute.net.http_client import ClientError
from fastroute.rules.health_check import DEFAULT_PATH

VLLM_KEEP_ALIVE = 5.0
"""Seconds; the default of VLLM_HTTP_TIMEOUT_KEEP_ALIVE."""

MARGIN = 1.0
"""Seconds of waiting beyond the relevant time."""

LONGEST_WAIT = 60.0
"""Maximum seconds, whatever pool_idle_timeout is."""


def idle_wait(pool_idle_timeout: float) -> float:
    """Return how many seconds to wait for the server to close."""
    return min(LONGEST_WAIT, max(VLLM_KEEP_ALIVE, pool_idle_timeout) + MARGIN)


async def measure_keep_alive(bench: Bench, facts: Facts) -> None:
    """Request /health, then wait until the server closes the connection."""
    wait = idle_wait(facts.config.pool_idle_timeout)
    try:
        with contextlib.closing(await bench.open_wire()) as wire:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                await wire.ask("GET", DEFAULT_PATH, bench.fields)
                async for _ in wire.body():
                    pass
            idle_since = time.monotonic()
            closed_after = None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await wire.wait_closed()
                    closed_after = time.monotonic() - idle_since
            waited = time.monotonic() - idle_since
    except ClientError as error:
        facts.keep_alive = KeepAlive(error=str(error))
    except TimeoutError:
        facts.keep_alive = KeepAlive(error=f"no response within {ANSWER_TIMEOUT:g} s")
    else:
        facts.keep_alive = KeepAlive(closed_after=closed_after, waited=waited)
