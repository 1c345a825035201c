"""What a streamed generation and one that was given up mean. Pure: no I/O, no clock."""

from itertools import pairwise

from fastroute.doctor.facts import Abort, Facts, Stream
from fastroute.doctor.findings import Findings, error, ok, unknown, warning
from fastroute.wording import seconds

TELLING = 0.1
"""Seconds that events must have taken to be made before their arrival at once tells anything: an
engine that is faster hands several to its API server in one go."""
HELD_SHARE = 0.2
"""Of these seconds; events that arrive within less of them were held back."""
FEW_EVENTS = 4
"""Fewer tell nothing."""
AT_ONCE = 0.001
"""Seconds between two events that arrived together."""
BURST = 4
"""So many events at a time, with `TELLING` between two times, come in bursts."""

STOPPED_WITHIN = 1.0
"""Seconds; vLLM takes 0.02 to 0.05 (docs/real-vllm.md)."""
TELLING_REST = 1.0
"""Seconds that a generation must have left to go for its end to tell anything."""
OWN_END_SHARE = 0.7
"""Of the seconds left; one that ends later than this came to its own end."""

_NEEDS_KEY = "configure api_key for this server"
_OTHER_TASK = "a model that does not complete text cannot be tried like this"
_FULL = "the server is full; try again when it is less busy"
EXCUSES = {
    400: _OTHER_TASK,
    401: _NEEDS_KEY,
    403: _NEEDS_KEY,
    404: _OTHER_TASK,
    422: _OTHER_TASK,
    429: _FULL,
    503: _FULL,
}
"""Statuses that do not say that something is wrong with the server."""

UNBUFFER = (
    "something between here and vLLM collects the reply: in nginx set proxy_buffering off and "
    "leave text/event-stream out of gzip_types, elsewhere turn off buffering and compression of "
    "replies, or give fastroute the address of vLLM itself"
)


def is_held_back(stream: Stream) -> bool:
    """Whether the events took long to be made and yet arrived all at once."""
    made_in = stream.ended_at - stream.one_token
    enough = len(stream.events_at) >= FEW_EVENTS and made_in >= TELLING
    return enough and stream.spread < HELD_SHARE * made_in


def judge_stream(facts: Facts) -> Findings:
    """Judge whether events come as they are made."""
    stream = facts.stream
    if stream is None:
        return []
    if stream.error:
        return _failed(facts, stream)
    count = len(stream.events_at)
    if not count:
        return error(
            "a streamed request was answered 200 without a single event",
            f"ask it yourself, with curl -N and model {stream.model}; see the log of vLLM",
        )
    if is_held_back(stream):
        return error(
            f"does not stream: {count} events that took {seconds(stream.ended_at)} to make came "
            f"within {seconds(stream.spread)}",
            UNBUFFER,
        )
    return _pace(stream) + _end(stream)


def _failed(facts: Facts, stream: Stream) -> Findings:
    words = f"could not be tried: {stream.error}"
    if stream.status in EXCUSES:
        return unknown(words, EXCUSES[stream.status])
    load = facts.metrics.load if facts.metrics else None
    if stream.status is None and load is not None and load.waiting:
        return warning(
            f"{stream.error}; {load.waiting} requests wait there already",
            "it has more to do than it can: add servers, or send it less",
        )
    return error(
        f"it generates nothing: {stream.error}",
        f"ask it yourself, with curl and model {stream.model}; see the log of vLLM. Its engine may "
        "hang though /health answers",
    )


def _pace(stream: Stream) -> Findings:
    count = len(stream.events_at)
    gaps = [after - before for before, after in pairwise(stream.events_at)]
    moments = 1 + sum(gap > AT_ONCE for gap in gaps)
    largest = max(gaps, default=0.0)
    if count < FEW_EVENTS:
        return unknown(f"only {count} events came: too few to tell whether they are held back")
    if moments == 1:
        return unknown(
            f"{count} events came within {seconds(stream.spread)}: too fast to tell whether they "
            "are held back"
        )
    if count / moments >= BURST and largest >= TELLING:
        return warning(
            f"streams in bursts: {count} events came in {moments} lots, up to {seconds(largest)} "
            "apart",
            UNBUFFER,
        )
    return ok(
        f"streams: {count} events in {seconds(stream.spread)}, at most {seconds(largest)} apart; "
        f"the first after {seconds(stream.events_at[0])}"
    )


def _end(stream: Stream) -> Findings:
    if stream.is_done:
        return []
    return warning(
        "its stream did not end with data: [DONE]",
        "clients may take the answer for cut off; see whether something before vLLM ends it",
    )


def judge_abort(facts: Facts) -> Findings:
    """Judge whether a client that goes away ends its generation."""
    abort = facts.abort
    if abort is None:
        return []
    if abort.error:
        return unknown(f"could not be tried: {abort.error}")
    if abort.during <= abort.before:
        return unknown(
            f"could not be seen: its metrics never counted our request ({abort.during} in hand)",
            "are these the metrics of the same server, and of no other? A balancer between makes "
            "fastroute blind",
        )
    others = f"; requests of others there: {abort.before}" if abort.before else ""
    if abort.rest is not None and abort.rest < TELLING_REST:
        return unknown(
            f"could not be told: the generation would have ended after {seconds(abort.rest)} by "
            f"itself{others}"
        )
    return _stopped(abort, others)


def _stopped(abort: Abort, others: str) -> Findings:
    remedy = (
        "each client that leaves goes on costing GPU time: something between here and vLLM keeps "
        "its connection open; in nginx see proxy_ignore_client_abort, or give fastroute the "
        "address of vLLM itself"
    )
    after = abort.back_after
    if after is not None and after <= STOPPED_WITHIN:
        return ok(f"stops {seconds(after)} after its client has gone{others}")
    if abort.before:
        # Their requests may have come in the place of ours.
        return unknown(f"could not be told: it has as much in hand as with ours{others}")
    if after is None:
        return error(f"goes on {seconds(abort.waited)} after its client has gone", remedy)
    if abort.rest is not None and after >= OWN_END_SHARE * abort.rest:
        return error(f"went on to its own end, {seconds(after)} after its client had gone", remedy)
    return warning(f"stops only {seconds(after)} after its client has gone", remedy)
