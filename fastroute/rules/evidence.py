"""Evidence for and against a server, and its consequence: one table, rendered in docs/health.md.

The rule behind all rows: no client may take servers out of service, and a server that works again
comes back by itself. So a request counts against a server only in comparison with its peers, and
every cause of an ejection has a way back in bounded time (`rules.health`).
"""

import enum
import errno
from collections.abc import Mapping
from typing import NamedTuple

OWN_LIMITS = frozenset(
    (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.EADDRNOTAVAIL, errno.ENOMEM)
)
"""Error numbers of our own limits: descriptors, ports and memory."""


class Event(enum.Enum):
    """An observation of a server; the value is its wording in reasons and logs."""

    PROBE_OK = "a health check succeeded"
    PROBE_FAILED = "a health check failed"
    PROBE_SLOW = "a health check took too long"
    REQUEST_OK = "a request was answered"
    REQUEST_FAILED = "a request failed"
    REQUEST_LOST = "a request was lost"
    REQUEST_ERROR = "a request was answered with an error"
    REQUEST_SILENT = "a request got no answer in time"
    BUSY = "it is overloaded"
    KEY_REFUSED = "it refuses its API key"
    MODEL_MISSING = "it does not have a model any more"
    SHUTTING_DOWN = "it is shutting down"
    OUTLIER = "its requests fail more often than those of the other servers"
    ASLEEP = "its engine is asleep"
    AWAKE = "its engine is awake"
    STALLED = "its engine makes no progress"
    MOVING = "its engine makes progress"
    REPORTS_LOST = "its metrics cannot be read any more"
    DRAIN = "drain = true"
    UNDRAIN = "drain = false"
    RECONFIGURED = "its settings have changed"
    TIME = "time has passed"


class Cause(enum.Enum):
    """Reason why a server is out of service, which decides how it comes back."""

    PROBES = enum.auto()
    REQUESTS = enum.auto()
    ASLEEP = enum.auto()
    STALLED = enum.auto()


CAUSES: Mapping[Event, Cause] = {
    Event.PROBE_OK: Cause.PROBES,  # too slow on average
    Event.PROBE_FAILED: Cause.PROBES,
    Event.PROBE_SLOW: Cause.PROBES,
    Event.REQUEST_FAILED: Cause.REQUESTS,
    Event.OUTLIER: Cause.REQUESTS,
    # A server that shuts down answers its health checks until it is gone.
    Event.SHUTTING_DOWN: Cause.REQUESTS,
    Event.ASLEEP: Cause.ASLEEP,
    Event.STALLED: Cause.STALLED,
}


class Weight(enum.Enum):
    """Consequence of a piece of evidence; the value is its wording in the documentation."""

    PROOF = "proves that the server works; ends a trial"
    CONFIRMED = (
        "counts in the comparison, and alone where no other server has requests to compare with; "
        "once another server has answered the request, it also ends a trial"
    )
    COMPARED = "counts in the comparison with the other servers of the model"
    COMPARED_OR_ALONE = (
        "counts in the comparison, and alone where no other server has requests to compare with"
    )
    BACKS_OFF = "the server is asked only where there is no other, until its Retry-After is over"
    EJECTS = "ejects the server until a trial"
    CHECKED = "several in a row, or a low share of successes, mark the server down"
    SLEEPS = "takes the server out of service until it reports that it is awake"
    LISTED = "the server is asked for its models again"
    NONE = "no consequence for the server"


class Evidence(NamedTuple):
    """One row of the table.

    Attributes:
        seen: The observation, in words.
        event: The event that it becomes, or None where nothing is remembered.
        weight: Its consequence.
        reason: The reason for that.
    """

    seen: str
    event: Event | None
    weight: Weight
    reason: str


EVIDENCE: tuple[Evidence, ...] = (
    Evidence(
        "a 2xx or 3xx to an inference request",
        Event.REQUEST_OK,
        Weight.PROOF,
        "the engine works",
    ),
    Evidence(
        "a 4xx, or a response below 500 on another path",
        None,
        Weight.NONE,
        "the client's doing, or no work for the engine: it would hide that all else fails",
    ),
    Evidence(
        "500, 501, 505 and other server errors",
        Event.REQUEST_ERROR,
        Weight.COMPARED,
        "vLLM answers 500 to requests that a model does not support, on every server",
    ),
    Evidence(
        "502 or 504",
        Event.REQUEST_LOST,
        Weight.CONFIRMED,
        "a gateway in front of the server lost it; for us that is a transport failure",
    ),
    Evidence(
        "429 or 503 to an inference request",
        Event.BUSY,
        Weight.BACKS_OFF,
        "overloaded, not broken; a server with several models backs off for the model alone",
    ),
    Evidence(
        "401 or 403 to an inference request, where the key is the server's own",
        Event.KEY_REFUSED,
        Weight.BACKS_OFF,
        "its `api_key` is wrong; without a backoff it would be the least loaded server. Not while "
        "the server delivers responses with the same key",
    ),
    Evidence(
        "404 to an inference request for a model that the server has listed",
        Event.MODEL_MISSING,
        Weight.LISTED,
        "the model was unloaded, or the process is another one",
    ),
    Evidence(
        "a 500 that says that the engine is shutting down",
        Event.SHUTTING_DOWN,
        Weight.EJECTS,
        "nothing was started, and every request gets it until the process ends",
    ),
    Evidence(
        "no connection: refused, unreachable, timeout, TLS failed",
        Event.REQUEST_FAILED,
        Weight.COMPARED_OR_ALONE,
        "a request that was not sent cannot be to blame",
    ),
    Evidence(
        "the connection ended before or within the response, or the response was not valid HTTP",
        Event.REQUEST_LOST,
        Weight.CONFIRMED,
        "one request may kill a process, so a request that fails the same way on a second server "
        "is to blame and counts against neither",
    ),
    Evidence(
        "no byte for `request_timeout`",
        Event.REQUEST_SILENT,
        Weight.COMPARED,
        "a long generation that is not streamed looks the same",
    ),
    Evidence(
        "the client went away",
        None,
        Weight.NONE,
        "the client's doing",
    ),
    Evidence(
        "out of descriptors, ports or memory on our side "
        "(EMFILE, ENFILE, ENOBUFS, EADDRNOTAVAIL, ENOMEM)",
        None,
        Weight.NONE,
        "our limit, not the server's",
    ),
    Evidence(
        "a failed health check",
        Event.PROBE_FAILED,
        Weight.CHECKED,
        "asked by ourselves, so no client can cause it; it may mark all servers down",
    ),
    Evidence(
        "a slow health check",
        Event.PROBE_SLOW,
        Weight.CHECKED,
        "not counted while the server delivers bytes to requests: it is busy, not dead",
    ),
    Evidence(
        "its metrics say that the engine is asleep",
        Event.ASLEEP,
        Weight.SLEEPS,
        "requests would wait until it is woken",
    ),
    Evidence(
        "requests wait for it, and for `stall_timeout` there was no byte and no token, while the "
        "other servers make progress",
        Event.STALLED,
        Weight.EJECTS,
        "a hung engine answers /health and /metrics all the time",
    ),
)
"""The table, in the order of the documentation."""

COMPARED: Mapping[Event, bool] = {
    Event.REQUEST_FAILED: True,
    Event.REQUEST_LOST: True,
    Event.REQUEST_ERROR: False,
    Event.REQUEST_SILENT: False,
}
"""Events that count in the comparison; True if they also count alone (`Weight`)."""

REFUSALS = frozenset(
    (
        Event.REQUEST_FAILED,
        Event.REQUEST_LOST,
        Event.REQUEST_ERROR,
        Event.KEY_REFUSED,
        Event.MODEL_MISSING,
    )
)
"""Events after which a server looks loaded for a while (`rules.refusals`). Not silence: a silent
server has its requests in flight, and so attracts none."""
