"""Whether a stream streams, and whether its end ends the generation: small requests, little cost.

A request for one token tells how long the way to the first token is. What the streamed request
takes beyond that is time in which its events must have come one after another.
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
"""More than one token: a first request of a single one killed vLLM 0.32's CPU build."""

STREAM_TOKENS = 32
ABORT_TOKENS = 512
"""At most. All but the first few are never made, if the server stops as it should."""
ABORT_SECONDS = 4.0
"""How long the generation that is given up would take."""

COST = (
    f"Each server is asked to generate {1 + STREAM_TOKENS} tokens, and up to {ABORT_TOKENS} that "
    "are cancelled at once; --no-generate leaves that out."
)

GENERATION_TIMEOUT = 30.0
"""Seconds for each request; a full server lets it wait."""
ATTEMPTS = 3
"""To see events apart: a busy server may pause and then send many at once."""

SEEN_WITHIN = 2.0
"""Seconds in which the server must show that it has our request."""
BACK_WITHIN = 3.0
"""Seconds in which the server must show that it has it no more."""
LOOK_EACH = 0.02


class _Refused(ClientError):
    def __init__(self, status: int) -> None:
        super().__init__(f"{COMPLETIONS} answers {status}")
        self.status = status


async def measure_stream(bench: Bench, facts: Facts) -> None:
    """Stream a short generation, again where its events seem to be held back."""
    model = model_to_ask(facts)
    load = facts.metrics.load if facts.metrics else None
    if model is None or (load is not None and load.asleep):
        return  # Which is an error of other checks.
    for _ in range(ATTEMPTS):
        facts.stream = await _streamed(bench, model)
        if not is_held_back(facts.stream):
            break


def model_to_ask(facts: Facts) -> str | None:
    """Return a model that the server lists, one that is pinned to it before others."""
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
        return Stream(model=model, error=f"no whole answer within {GENERATION_TIMEOUT:g} s")
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
    """Begin a generation, go away, and see whether the server's load falls back."""
    if facts.stream is None or facts.stream.error:
        return
    scraper = Scraper(bench.client)
    try:
        before = await _in_hand(scraper)
        facts.abort = await _given_up(bench, facts.stream, scraper, before)
    except (ClientError, ScrapeError) as error:
        facts.abort = Abort(error=str(error))


async def _given_up(bench: Bench, stream: Stream, scraper: Scraper, before: int) -> Abort:
    pace = stream.pace
    tokens = ABORT_TOKENS if not pace else math.ceil(ABORT_SECONDS / pace)
    tokens = max(STREAM_TOKENS, min(ABORT_TOKENS, tokens))
    began = time.monotonic()
    # Its reply is not waited for: where it is held back, it comes when all is over.
    asking = asyncio.create_task(_asked(bench, stream.model, tokens))
    try:
        during = await _in_hand(scraper)
        while during <= before and time.monotonic() - began < SEEN_WITHIN:
            await asyncio.sleep(LOOK_EACH)
            during = await _in_hand(scraper)
        gone_on = time.monotonic() - began
    finally:
        await _leave(asking)
    closed_at = time.monotonic()
    back_after = None
    while back_after is None and time.monotonic() - closed_at < BACK_WITHIN:
        if await _in_hand(scraper) <= before:
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
    """Close the connection of a request, whether its reply has begun or not.

    Raises:
        ClientError: It was refused before that.
    """
    asking.cancel()  # Which closes, too; of one that is done it does nothing.
    await asyncio.wait([asking])
    if not asking.cancelled():
        asking.result().close()


async def _in_hand(scraper: Scraper) -> int:
    report = await scraper.scrape(ANSWER_TIMEOUT)
    return report.running + report.waiting


async def _asked(bench: Bench, model: str, tokens: int, *, stream: bool = True) -> Wire:
    """Send a request for a generation; the reply's head says 200 and has been read.

    Raises:
        ClientError: It does not.
    """
    body = {
        "model": model,
        "prompt": PROMPT,
        "max_tokens": tokens,
        "stream": stream,
        # vLLM's own: a model that has nothing more to say goes on.
        "ignore_eos": True,
    }
    fields = [field for field in bench.fields if field[0] != b"Accept-Encoding"]
    # As clients do: proxies that pack events hold them back.
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
