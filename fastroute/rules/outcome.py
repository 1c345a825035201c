"""The endings of a request, and the consequences of each: one table.

A request ends once, and so does each attempt at a server. Both have the same outcomes: if the row
of an attempt's outcome allows a retry and there is a server for it, the request goes on; otherwise
the request ends with the outcome of its last attempt. Counters, statuses, messages, evidence and
span errors of an outcome all stand in its row of `ENDINGS`: to add an outcome, add a row.
"""

import enum
from collections.abc import Mapping
from typing import Final

import msgspec

from fastroute.rules.evidence import Event


class Side(enum.Enum):
    """The side that ended a request, with its response or by failing."""

    CLIENT = "client"
    SERVER = "server"
    FASTROUTE = "fastroute"


class Outcome(enum.Enum):
    """An ending of a request or of an attempt; the value is its name in the access log."""

    # A whole response of the server
    ANSWERED = "answered"
    OVERLOADED = "overloaded"
    SERVER_ERROR = "server_error"
    GATEWAY_FAILED = "gateway_failed"
    KEY_REFUSED = "key_refused"
    MODEL_MISSING = "model_missing"
    SHUTTING_DOWN = "shutting_down"
    # No whole response, and the client got no part of one
    CONNECT_FAILED = "connect_failed"
    STALE_CONNECTION = "stale_connection"
    CONNECTION_LOST = "connection_lost"
    BROKEN_RESPONSE = "broken_response"
    TIMED_OUT = "timed_out"
    # No whole response, and the client got a part of one
    TRUNCATED = "truncated"
    STALLED = "stalled"
    # The client closed its connection
    CLIENT_GONE_WAITING = "client_gone_waiting"
    CLIENT_GONE_REPLYING = "client_gone_replying"
    # fastroute gave up an attempt
    OUT_OF_RESOURCES = "out_of_resources"
    STOPPED_WAITING = "stopped_waiting"
    STOPPED_REPLYING = "stopped_replying"
    # No server was asked
    NO_USABLE_SERVER = "no_usable_server"
    UNKNOWN_MODEL = "unknown_model"
    REFUSED = "refused"
    LOCAL = "local"


class Next(enum.Enum):
    """The next step after an attempt that has ended."""

    ONCE_MORE = "once more, on another server if there is one"
    OTHER_SERVER = "another server is tried if there is one"
    GIVE_UP = "given up"


class Phase(enum.Enum):
    """Progress of an attempt."""

    CONNECTING = "connecting"
    WAITING = "waiting for the first byte"
    REPLYING = "replying"


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """Consequences of an outcome.

    Attributes:
        by: The side that ended the request.
        status: Of the error that fastroute answers with. None: the client gets the server's
            response, or a part of it, or an answer that brings its own status.
        counter: Column of the score table that counts it. None: the one of the status's class.
        model_counter: The same among the counters of a model.
        message: Its reason, for people; `{}` stands for details.
        follow: What follows, if there are retries left and a server for one.
        cause: Name in `retry_on` that allows this. Empty: the response's status. None: it is
            always allowed.
        retry_counter: Column that counts the attempt that follows.
        retry_message: Reason of the attempt that follows, for people.
        evidence: What it says about the server, or None.
        is_replay: True if the attempt that follows sends a request again that was sent whole, so
            that a server may have begun to work on it.
        suspects_request: True if the request itself may be to blame: the evidence waits until
            another server has answered the request, and is dropped if that fails in the same way.
        span_error: Class of error in a span, if no status from 400 on is the class.
    """

    by: Side = Side.SERVER
    status: int | None = None
    counter: str | None = None
    model_counter: str | None = None
    message: str = "{}"
    follow: Next = Next.GIVE_UP
    cause: str | None = ""
    retry_counter: str = ""
    retry_message: str = ""
    evidence: Event | None = None
    is_replay: bool = False
    suspects_request: bool = False
    span_error: str | None = None

    @property
    def is_response(self) -> bool:
        """Return True if the server gave a whole response, and its status is what is counted."""
        return self.counter is None


ENDINGS: Final[Mapping[Outcome, Ending]] = {
    Outcome.ANSWERED: Ending(
        message="status {}",
        evidence=Event.REQUEST_OK,
    ),
    Outcome.OVERLOADED: Ending(
        message="status {}",
        follow=Next.OTHER_SERVER,
        retry_counter="retries_busy",
        retry_message="status {}",
        evidence=Event.BUSY,
    ),
    Outcome.SERVER_ERROR: Ending(
        message="status {}",
        evidence=Event.REQUEST_ERROR,
    ),
    # A gateway in front of the server could not reach it, or gave up waiting for it.
    Outcome.GATEWAY_FAILED: Ending(
        message="status {}",
        follow=Next.OTHER_SERVER,
        retry_counter="retries_failed",
        retry_message="status {}",
        evidence=Event.REQUEST_LOST,
        is_replay=True,
        suspects_request=True,
    ),
    # 401 or 403 where the key is the operator's: other servers may have the right one.
    Outcome.KEY_REFUSED: Ending(
        message="status {}",
        follow=Next.OTHER_SERVER,
        cause=None,
        retry_counter="retries_failed",
        retry_message="status {}",
        evidence=Event.KEY_REFUSED,
    ),
    # 404 for a model that the server has listed: it was unloaded, or the process is another one.
    Outcome.MODEL_MISSING: Ending(
        message="status {}",
        follow=Next.OTHER_SERVER,
        cause=None,
        retry_counter="retries_failed",
        retry_message="status {}",
        evidence=Event.MODEL_MISSING,
    ),
    # The server has started nothing, and will not come back.
    Outcome.SHUTTING_DOWN: Ending(
        message="it takes no more requests",
        follow=Next.OTHER_SERVER,
        cause=None,
        retry_counter="retries_failed",
        retry_message="status {}",
        evidence=Event.SHUTTING_DOWN,
    ),
    # Nothing was sent: any other server may be asked.
    Outcome.CONNECT_FAILED: Ending(
        status=502,
        counter="failed",
        model_counter="failed",
        message="the server failed: {}",
        follow=Next.OTHER_SERVER,
        cause="connect",
        retry_counter="retries_connect",
        retry_message="connect failure",
        evidence=Event.REQUEST_FAILED,
    ),
    # The server closed a reused connection while it was idle, as vLLM does after 5 s, and our
    # request crossed that. It says nothing about the server.
    Outcome.STALE_CONNECTION: Ending(
        status=502,
        counter="failed",
        model_counter="failed",
        message="the server failed: {}",
        follow=Next.ONCE_MORE,
        cause=None,
        is_replay=True,
        retry_counter="retries_reset",
        retry_message="closed connection",
    ),
    # A fresh connection ended without a byte: vLLM closes so when it is stopping or was killed.
    # No client can get two responses; but a killed vLLM's engine was seen to work on for a while.
    Outcome.CONNECTION_LOST: Ending(
        status=502,
        counter="failed",
        model_counter="failed",
        message="the server failed: {}",
        follow=Next.OTHER_SERVER,
        cause="reset",
        retry_counter="retries_reset",
        retry_message="closed connection",
        evidence=Event.REQUEST_LOST,
        is_replay=True,
        suspects_request=True,
    ),
    # From here on a generation may be running. It is not repeated.
    Outcome.BROKEN_RESPONSE: Ending(
        status=502,
        counter="failed",
        model_counter="failed",
        message="the server failed: {}",
        evidence=Event.REQUEST_LOST,
    ),
    Outcome.TIMED_OUT: Ending(
        status=504,
        counter="failed",
        model_counter="failed",
        message="the server did not answer: {}",
        evidence=Event.REQUEST_SILENT,
    ),
    Outcome.TRUNCATED: Ending(
        counter="failed",
        model_counter="failed",
        message="broken: {}",
        evidence=Event.REQUEST_LOST,
        span_error="broken",
    ),
    Outcome.STALLED: Ending(
        counter="failed",
        model_counter="failed",
        message="broken: {}",
        evidence=Event.REQUEST_SILENT,
        span_error="broken",
    ),
    Outcome.CLIENT_GONE_WAITING: Ending(
        by=Side.CLIENT,
        counter="aborts_waiting",
        model_counter="aborted",
        message="gone while {}",
        span_error="cancelled",
    ),
    Outcome.CLIENT_GONE_REPLYING: Ending(
        by=Side.CLIENT,
        counter="aborts_replying",
        model_counter="aborted",
        message="gone while {}",
        span_error="cancelled",
    ),
    # No server is at fault, and another would fare no better.
    Outcome.OUT_OF_RESOURCES: Ending(
        by=Side.FASTROUTE,
        status=503,
        counter="failed",
        model_counter="failed",
        message="fastroute is at its limits; try again shortly",
    ),
    Outcome.STOPPED_WAITING: Ending(
        by=Side.FASTROUTE,
        status=503,
        counter="failed",
        model_counter="failed",
        message="fastroute is stopping; try again shortly",
    ),
    Outcome.STOPPED_REPLYING: Ending(
        by=Side.FASTROUTE,
        counter="failed",
        model_counter="failed",
        message="cut: fastroute was stopping",
        span_error="broken",
    ),
    Outcome.NO_USABLE_SERVER: Ending(
        by=Side.FASTROUTE,
        status=503,
        counter="unrouted_503",
        message="no server is usable now; try again shortly",
    ),
    Outcome.UNKNOWN_MODEL: Ending(
        by=Side.FASTROUTE,
        status=404,
        counter="unknown_models",
        message="no server has it",
    ),
    Outcome.REFUSED: Ending(by=Side.FASTROUTE, counter="requests_refused"),
    Outcome.LOCAL: Ending(by=Side.FASTROUTE, counter="requests_local"),
}


def evidence_of(outcome: Outcome, is_inference: bool) -> Event | None:
    """Return what an outcome says about its server, or None.

    Args:
        outcome: How an attempt ended.
        is_inference: True if its request was work for the engine. That other requests are answered
            with 429 or 503 says nothing about the engine's load.
    """
    evidence = ENDINGS[outcome].evidence
    return None if evidence is Event.BUSY and not is_inference else evidence


def outcome_of_failure(phase: Phase, *, reused: bool, silent: bool, begun: bool) -> Outcome:
    """Return the outcome of an attempt that ended without a whole response.

    Args:
        phase: How far it had come.
        reused: True if the connection had carried another request before.
        silent: True if a timeout ended it.
        begun: True if the client has a part of the response.
    """
    if phase is Phase.CONNECTING:
        return Outcome.CONNECT_FAILED
    if begun:
        return Outcome.STALLED if silent else Outcome.TRUNCATED
    if silent:
        return Outcome.TIMED_OUT
    if phase is Phase.REPLYING:
        return Outcome.BROKEN_RESPONSE
    return Outcome.STALE_CONNECTION if reused else Outcome.CONNECTION_LOST
