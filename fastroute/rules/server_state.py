"""The states of a server, in one list for health, the score table, routing and the views."""

import enum


class ServerState(enum.IntEnum):
    """The state of a server: how requests may be sent to it. The numbers stand in the score table.

    FREE      no server: its row of the score table is free, or it was removed
    UP        gets requests
    DOWN      gets none, until a probe, the clock or its own metrics give reason to try it again
    DRAINING  gets none because the configuration says so, whatever its health is meanwhile
    TRIAL     gets one request at a time; the first good answer, to a request or a probe, is UP
    COOLING   said that it is overloaded; until its Retry-After is over it gets requests only
              where there is no other server
    """

    FREE = 0
    UP = 1
    DOWN = 2
    DRAINING = 3
    TRIAL = 4
    COOLING = 5

    @property
    def is_usable(self) -> bool:
        """True if a request may be sent to it.

        A server that cools down is overloaded, not broken, and is asked where there is no other:
        to count it out would report a busy hour as an outage.
        """
        return self in _USABLE


_USABLE = frozenset((ServerState.UP, ServerState.TRIAL, ServerState.COOLING))
