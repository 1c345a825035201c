"""Events that matter for a server's health, as probes, scrapes and requests see them."""

import enum

import msgspec


class Event(enum.Enum):
    """An observation of a server; the value is its wording in reasons and logs."""

    PROBE_OK = "a health check succeeded"
    PROBE_FAILED = "a health check failed"
    PROBE_SLOW = "a health check took too long"
    REQUEST_OK = "a request was answered"
    REQUEST_FAILED = "a request failed"
    BUSY = "it is full"
    SHUTTING_DOWN = "it is shutting down"
    ASLEEP = "its engine is asleep"
    AWAKE = "its engine is awake"
    STALLED = "its engine makes no progress"
    MOVING = "its engine makes progress, or has nothing to do"
    DRAIN = "it is to be drained"
    UNDRAIN = "it is not to be drained any more"
    TIME = "time has passed"


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Details of an event.

    Attributes:
        detail: More exactly what happened, for the log; such as "connection refused".
        response_time: Of a probe, seconds.
        delivering: Of a probe: streams of this server delivered bytes in the last interval.
        retry_after: Of BUSY, seconds; 0 if it gave none.
    """

    detail: str = ""
    response_time: float = 0.0
    delivering: bool = False
    retry_after: float = 0.0


NO_FACTS = Facts()
