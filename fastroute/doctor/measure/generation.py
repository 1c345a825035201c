"""Measurements of streaming and of aborting a generation, with small requests.

A request for one token measures the time to the first token. Beyond that time, the events of the
streamed request must arrive one after another.
"""

import asyncio
import contextlib
import math
import time

import msgspec

from fastroute.control.watch.scraper import ScrapeError, Scraper
from fastroute.doctor.facts import Abort, Facts, Stream
from fastroute.doctor.judge.generation import is_held_back
from fastroute.doctor.measure.bench import ANSWER_TIMEOUT, Bench
from fastroute.doctor.measure.sse import event_times
from fastroute.doctor.measure.wire import Wire
from fastroute.net.http_client import ClientError

COMPLETIONS = "/v1/completions"
PROMPT = "Count on, in words: one, two, three, four,"
"""More than one token: a first request with only one crashed vLLM 0.32's CPU build."""

STREAM_TOKENS = 32
ABORT_TOKENS = 512
"""Maximum; only a few are generated if the server stops as it should."""
ABORT_SECONDS = 4.0
"""Seconds that the aborted generation would take."""

COST = (
    f"Each server is asked to generate {1 + STREAM_TOKENS} tokens, and up to {ABORT_TOKENS} that "
    "are aborted immediately; --no-generate skips this."
)

GENERATION_TIMEOUT = 30.0
"""Seconds for each request, which may have to wait on an overloaded server."""
ATTEMPTS = 3
"""Attempts to see separate events: a busy server may pause and then send many at once."""

SEEN_WITHIN = 2.0
"""Seconds until the server's metrics must show the request."""
BACK_WITHIN = 3.0
"""Seconds until its metrics must no longer show it."""
LOOK_EACH = 0.02


class _Refused(ClientError):
    def __init__(self, status: int) -> None:
        super().__init__(f"{COMPLETIONS} returns {status}")
        self.status = status


async def measure_stream(bench: Bench, facts: Facts) -> None:
    """Stream a short generation; repeat it if its events seem to be buffered."""
    model = model_to_ask(facts)
    load = facts.metrics.load if facts.metrics else None
    if model is None or (load is not None and load.asleep):
        return  # Other checks report this as an error.
    for _ in range(ATTEMPTS):
        facts.stream = await _streamed(bench, model)
        if not is_held_back(facts.stream):
            break


def model_to_ask(facts: Facts) -> str | None:
    """Return a model that the server lists, preferably one configured for it."""
    listed = () if facts.models is None else facts.models.names or ()
    pinned = facts.server.models or ()
    return next(iter([*(name for name in pinned if name in listed), *listed, *pinned]), None)


async def _streamed(bench: Bench, model: str) -> Stream:
    try:
        async with asyncio.timeout(GENERATION_TIMEOUT):
            began = time.monotonic()
            with contextlib.closing(await _asked(bench, model, 1, stream=False)) as wire:
                async for _ in wire.body():
                    pass
            one_token = time.monotonic() - began
        async with asyncio.timeout(GENERATION_TIMEOUT):
            began = time.monotonic()
            with contextlib.closing(await _asked(bench, model, STREAM_TOKENS)) as wire:
                head_at = time.monotonic() - began
                pieces = [(time.monotonic() - began, piece) async for piece in wire.body()]
    except TimeoutError:
        return Stream(model=model, error=f"no complete response within {GENERATION_TIMEOUT:g} s")
    except _Refused as refused:
        return Stream(model=model, error=str(refused), status=refused.status)
    except ClientError as error:
        return Stream(model=model, error=str(error))
    events_at, is_done = event_times(pieces)
    return Stream(
        model=model,
        one_token=one_token,
        head_at=head_at,
        events_at=events_at,
        ended_at=pieces[-1][0] if pieces else head_at,
        is_done=is_done,
    )


async def measure_abort(bench: Bench, facts: Facts) -> None:
    """Start a generation, disconnect, and check that the server's load decreases."""
    if facts.stream is None or facts.stream.error:
        return
    scraper = Scraper(bench.client)
    try:
        before = await _in_progress(scraper)
        facts.abort = await _given_up(bench, facts.stream, scraper, before)
    except (ClientError, ScrapeError) as error:
        facts.abort = Abort(error=str(error))


async def _given_up(bench: Bench, stream: Stream, scraper: Scraper, before: int) -> Abort:
    pace = stream.pace
    tokens = ABORT_TOKENS if not pace else math.ceil(ABORT_SECONDS / pace)
    tokens = max(STREAM_TOKENS, min(ABORT_TOKENS, tokens))
    began = time.monotonic()
    # Do not wait for the response: if it is buffered, it arrives only when all is over.
    asking = asyncio.create_task(_asked(bench, stream.model, tokens))
    try:
        during = await _in_progress(scraper)
        while during <= before and time.monotonic() - began < SEEN_WITHIN:
            await asyncio.sleep(LOOK_EACH)
            during = await _in_progress(scraper)
        gone_on = time.monotonic() - began
    finally:
        await _leave(asking)
    closed_at = time.monotonic()
    back_after = None
    while back_after is None and time.monotonic() - closed_at < BACK_WITHIN:
        if await _in_progress(scraper) <= before:
            back_after = time.monotonic() - closed_at
        else:
            await asyncio.sleep(LOOK_EACH)
    return Abort(
        before=before,
        during=during,
        back_after=back_after,
        waited=time.monotonic() - closed_at,
        rest=None if pace is None else max(0.0, (tokens - 1) * pace - gone_on),
    )


async def _leave(asking: asyncio.Task[Wire]) -> None:
    """Close the connection of a request, before or after its response has started.

    Raises:
        ClientError: The request was rejected before that.
    """
    asking.cancel()  # Cancelling closes the connection, too; on a finished task it has no effect.
    await asyncio.wait([asking])
    if not asking.cancelled():
        asking.result().close()


async def _in_progress(scraper: Scraper) -> int:
    report = await scraper.scrape(ANSWER_TIMEOUT)
    return report.running + report.waiting


async def _asked(bench: Bench, model: str, tokens: int, *, stream: bool = True) -> Wire:
    """Send a request for a generation, and return once the headers of a 200 response were read.

    Raises:
        ClientError: There is no such response.
    """
    body = {
        "model": model,
        "prompt": PROMPT,
        "max_tokens": tokens,
        "stream": stream,
        # An extension of vLLM: generation continues after the model's end token.
        "ignore_eos": True,
    }
    fields = [field for field in bench.fields if field[0] != b"Accept-Encoding"]
    # As clients do: proxies that compress events buffer them.
    fields.append((b"Accept-Encoding", b"gzip"))
    wire = await bench.open_wire()
    try:
        head = await wire.ask("POST", COMPLETIONS, fields, msgspec.json.encode(body))
        if head.status_code != 200:
            raise _Refused(head.status_code)
    except BaseException:
        wire.close()
        raise
    return wire
