"""What may be tried again, and where. A generation must never be started twice unawares."""

import enum


class Phase(enum.Enum):
    """How far an exchange with a server had come when it failed."""

    CONNECTING = "connecting"
    WAITING = "waiting for the first byte"
    REPLYING = "replying"


class Next(enum.Enum):
    """What to do after a failure."""

    SAME_SERVER_FRESH = "once more on a fresh connection"
    OTHER_SERVER = "another server is tried if there is one"
    GIVE_UP = "given up"


def after_failure(phase: Phase, *, reused: bool, silent: bool, retries_left: int) -> Next:
    """Decide what follows when an exchange failed.

    There are three cases in which no server can have begun to serve the request, or it is as good
    as certain:

    1. There was no connection: nothing was sent, any other server may be asked.
    2. A reused connection ended without a byte of reply: the server closed it while it was idle,
       as vLLM does after 5 s, and our request crossed that. Once more, on a fresh connection.
    3. All else, a silence among it, may have started a generation. It is not repeated.

    Args:
        phase: How far it had come.
        reused: Whether the connection had carried another request before.
        silent: Whether it failed by a timeout.
        retries_left: How many more servers may be tried.
    """
    if phase is Phase.CONNECTING:
        return Next.OTHER_SERVER if retries_left > 0 else Next.GIVE_UP
    if phase is Phase.WAITING and reused and not silent:
        return Next.SAME_SERVER_FRESH
    return Next.GIVE_UP
