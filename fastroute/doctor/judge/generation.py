"""Judgements of a streamed generation and of an aborted one. Pure: no I/O, no clock."""

from itertools import pairwise

from fastroute.doctor.facts import Abort, Facts, Stream
from fastroute.doctor.findings import Findings, error, ok, unknown, warning
from fastroute.wording import seconds

TELLING = 0.1
"""Minimum seconds of generation before simultaneous arrival means buffering: a faster engine hands
several events to its API server at once."""
HELD_SHARE = 0.2
"""Share of these seconds; events that arrive within less were buffered."""
FEW_EVENTS = 4
"""Minimum number of events for a judgement."""
AT_ONCE = 0.001
"""Maximum seconds between two events that arrived together."""
BURST = 4
"""Minimum number of events of a burst, with `TELLING` seconds between bursts."""

STOPPED_WITHIN = 1.0
"""Seconds; vLLM takes 0.02 to 0.05 (docs/real-vllm.md)."""
TELLING_REST = 1.0
"""Minimum remaining seconds of a generation for its end to prove an abort."""
OWN_END_SHARE = 0.7
"""Share of the remaining seconds; a generation that ends later has ended by itself."""

_NEEDS_KEY = "configure api_key for this server"
_OTHER_TASK = "a model that does not complete text cannot be tested like this"
_FULL = "the server is overloaded; try again when its load is lower"
EXCUSES = {
    400: _OTHER_TASK,
    401: _NEEDS_KEY,
    403: _NEEDS_KEY,
    404: _OTHER_TASK,
    422: _OTHER_TASK,
    429: _FULL,
    503: _FULL,
}
"""Statuses that do not mean that the server has a problem."""

UNBUFFER = (
    "something between here and vLLM buffers the response: in nginx set proxy_buffering off and "
    "remove text/event-stream from gzip_types, elsewhere disable buffering and compression of "
    "responses, or give fastroute the address of vLLM itself"
)


def is_held_back(stream: Stream) -> bool:
    """Return True if the events took long to generate, but arrived all at once."""
    made_in = stream.ended_at - stream.one_token
    enough = len(stream.events_at) >= FEW_EVENTS and made_in >= TELLING
    return enough and stream.spread < HELD_SHARE * made_in


def judge_stream(facts: Facts) -> Findings:
    """Check that events arrive as they are generated."""
    stream = facts.stream
    if stream is None:
        return []
    if stream.error:
        return _failed(facts, stream)
    count = len(stream.events_at)
    if not count:
        return error(
            "the response to a streamed request was 200 without any event",
            f"test it with curl -N and model {stream.model}; check the log of vLLM",
        )
    if is_held_back(stream):
        return error(
            f"does not stream: {count} events that took {seconds(stream.ended_at)} to generate "
            f"arrived within {seconds(stream.spread)}",
            UNBUFFER,
        )
    return _pace(stream) + _end(stream)


def _failed(facts: Facts, stream: Stream) -> Findings:
    words = f"not tested: {stream.error}"
    if stream.status in EXCUSES:
        return unknown(words, EXCUSES[stream.status])
    load = facts.metrics.load if facts.metrics else None
    if stream.status is None and load is not None and load.waiting:
        return warning(
            f"{stream.error}; {load.waiting} requests are already waiting there",
            "it is overloaded: add servers, or send it fewer requests",
        )
    return error(
        f"generates nothing: {stream.error}",
        f"test it with curl and model {stream.model}; check the log of vLLM. Its engine may "
        "hang although /health responds",
    )


def _pace(stream: Stream) -> Findings:
    count = len(stream.events_at)
    gaps = [after - before for before, after in pairwise(stream.events_at)]
    moments = 1 + sum(gap > AT_ONCE for gap in gaps)
    largest = max(gaps, default=0.0)
    if count < FEW_EVENTS:
        return unknown(f"only {count} events arrived: too few to see if they are buffered")
    if moments == 1:
        return unknown(
            f"{count} events arrived within {seconds(stream.spread)}: too fast to see if they "
            "are buffered"
        )
    if count / moments >= BURST and largest >= TELLING:
        return warning(
            f"streams in bursts: {count} events arrived in {moments} groups, up to "
            f"{seconds(largest)} apart",
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
        "the stream did not end with data: [DONE]",
        "clients may treat the response as truncated; check the proxy in front of vLLM",
    )


def judge_abort(facts: Facts) -> Findings:
    """Check that a client's disconnect ends its generation."""
    abort = facts.abort
    if abort is None:
        return []
    if abort.error:
        return unknown(f"not tested: {abort.error}")
    if abort.during <= abort.before:
        return unknown(
            f"not visible: its metrics never counted the test request ({abort.during} in progress)",
            "are these the metrics of the same server, and of no other? With a load balancer in "
            "between, fastroute cannot see the load",
        )
    others = f"; requests of other clients: {abort.before}" if abort.before else ""
    if abort.rest is not None and abort.rest < TELLING_REST:
        return unknown(
            f"cannot be determined: the generation would have ended after {seconds(abort.rest)} by "
            f"itself{others}"
        )
    return _stopped(abort, others)


def _stopped(abort: Abort, others: str) -> Findings:
    remedy = (
        "each client that disconnects continues to cost GPU time: a proxy in front of vLLM keeps "
        "its connection open; in nginx check proxy_ignore_client_abort, or give fastroute the "
        "address of vLLM itself"
    )
    after = abort.back_after
    if after is not None and after <= STOPPED_WITHIN:
        return ok(f"stops {seconds(after)} after the disconnect{others}")
    if abort.before:
        # New requests of other clients may have replaced the test request.
        return unknown(
            f"cannot be determined: as many requests in progress as before the disconnect{others}"
        )
    if after is None:
        return error(f"still generates {seconds(abort.waited)} after the disconnect", remedy)
    if abort.rest is not None and after >= OWN_END_SHARE * abort.rest:
        return error(f"generated to the end, {seconds(after)} after the disconnect", remedy)
    return warning(f"stops only {seconds(after)} after the disconnect", remedy)
