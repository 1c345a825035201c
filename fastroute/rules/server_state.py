"""The states of a server, in one list for health, the score table, routing and the views."""

import enum
from collections.abc import Collection


class ServerState(enum.IntEnum):
    """The state of a server: how requests may be sent to it. The numbers stand in the score table.

    FREE      no server: its row of the score table is free, or it was removed
    UP        gets requests
    DOWN      health checks failed: gets none, until a health check succeeds
    DRAINING  gets none because the configuration says so, whatever its health is meanwhile
    TRIAL     gets one request at a time; the first good response, or health check, is UP
    COOLING   overloaded, as it said itself; until its Retry-After is over it gets requests only
              where there is no other server
    EJECTED   requests to it failed or its engine stalled: gets requests only where no other server
              is usable (panic mode), and one on trial when its backoff is over
    ASLEEP    its metrics say that its engine is asleep: gets none but what wakes it
    """

    FREE = 0
    UP = 1
    DOWN = 2
    DRAINING = 3
    TRIAL = 4
    COOLING = 5
    EJECTED = 6
    ASLEEP = 7

    @property
    def is_usable(self) -> bool:
        """True if a request may be sent to it while it is not the last resort.

        A server that cools down is overloaded, not broken, and is asked where there is no other:
        to count it out would report a busy hour as an outage.
        """
        return self in _USABLE


_IN_SERVICE = frozenset((ServerState.UP, ServerState.COOLING))
_USABLE = _IN_SERVICE | {ServerState.TRIAL}


def is_panic(states: Collection[ServerState]) -> bool:
    """Return True if requests go to ejected servers, because no other server is up.

    A server on trial is asked beside them: it has not proved itself, and may be the one that fails.

    Args:
        states: Those of all servers that have the model.
    """
    return ServerState.EJECTED in states and not _IN_SERVICE & set(states)
