"""The retries of one request: how many may follow, and what they are evidence for.

Most requests need none and never have this object.
"""

from typing import Final, NamedTuple

from fastroute.proxy.context import WorkerContext
from fastroute.proxy.model_servers import ModelServers
from fastroute.proxy.observer import Seen
from fastroute.proxy.request_trace import RequestTrace
from fastroute.proxy.server import Server
from fastroute.proxy.upstream import UpstreamConnection
from fastroute.rules.evidence import Event
from fastroute.rules.outcome import ENDINGS, Next, Outcome
from fastroute.rules.request_head import RequestHead
from fastroute.rules.retry import is_replayable, may_retry

# Tells a request that was sent again from the one before, in the logs of the servers.
REPLAY_SUFFIX: Final = b"-replay"


class Suspicion(NamedTuple):
    """Evidence against a server that the request itself may be to blame for."""

    outcome: Outcome
    seen: Seen


class Retries:
    """The attempts of a request that failed, and what follows from them.

    Attributes:
        is_replay: True if the request was sent whole before.
    """

    __slots__ = ("_context", "_group", "_left", "_request", "_suspicions", "_trace", "_tried",
                 "is_replay")  # fmt: skip

    def __init__(
        self,
        context: WorkerContext,
        request: RequestHead,
        group: ModelServers,
        trace: RequestTrace | None,
    ) -> None:
        """Begin after the first failure.

        Args:
            context: The state that connections share.
            request: Head of the request.
            group: The servers that may have it.
            trace: Its trace, or None.
        """
        self._context = context
        self._request = request
        self._group = group
        self._trace = trace
        self._left: int = context.settings.max_retries
        self._suspicions: list[Suspicion] = []
        self._tried: list[Server] = []
        self.is_replay = False

    def follow(self, outcome: Outcome, status: int) -> Next:
        """Return what settings and rules allow after an attempt.

        Args:
            outcome: How the attempt ended.
            status: Of its response; 0 if it had none.
        """
        ending = ENDINGS[outcome]
        if not may_retry(outcome, status, self._context.settings.retry_on):
            return Next.GIVE_UP
        method, path = self._request.method, self._request.path
        if ending.is_replay and (self.is_replay or not is_replayable(method, path)):
            return Next.GIVE_UP
        if ending.follow is Next.OTHER_SERVER and not self._left:
            return Next.GIVE_UP
        return ending.follow

    def request_id(self, plain: bytes) -> bytes:
        """Return the id that the request has at the next server."""
        return plain + REPLAY_SUFFIX if self.is_replay else plain

    def connection_for(self, idle: UpstreamConnection) -> UpstreamConnection | None:
        """Return an idle connection, or None if a new one must be opened.

        A replay must not meet a second connection that its server is just closing.
        """
        if not (self.is_replay and idle.reused):
            return idle
        idle.cancel()
        return None

    def next_server(self, server: Server, outcome: Outcome, status: int) -> Server | None:
        """Choose the server of the next attempt; None if there is none to be made.

        Args:
            server: The server of the last attempt.
            outcome: How that ended.
            status: Of its response; 0 if it had none.
        """
        follow = self.follow(outcome, status)
        if follow is Next.ONCE_MORE:
            server.close_idle()  # they are as old or older, and as likely to be closed
            # It may be dying, and the request is sent again only once: another server is safer.
            return self._choose([*self._tried, server]) or server
        ledger = self._context.ledger
        if follow is Next.GIVE_UP or not ledger.allows_retry():
            return None
        self._tried.append(server)
        other = self._choose(self._tried)
        if other is not None:
            self._left -= 1
            ledger.retries += 1
        return other

    def _choose(self, tried: list[Server]) -> Server | None:
        chooser = self._context.router if self._trace is None else self._trace
        return chooser.choose(self._group, tried)

    def note(self, outcome: Outcome, seen: Seen | None) -> None:
        """Note an attempt that another one follows, as evidence about its server.

        Where the request itself may be to blame, the evidence waits until another server answers.

        Args:
            outcome: How it ended.
            seen: The evidence, or None.
        """
        ending = ENDINGS[outcome]
        self.is_replay = self.is_replay or ending.is_replay
        if seen is None:
            return
        if ending.suspects_request:
            self._suspicions.append(Suspicion(outcome, seen))
            self._context.router.refusals.note(seen.server.row)
        else:
            self._context.observer.observe(seen, self._group)

    def confirm(self) -> None:
        """Report the evidence that waited: another server answers the request."""
        suspicions, self._suspicions = self._suspicions, []
        for suspicion in suspicions:
            seen = suspicion.seen._replace(kind=Event.REQUEST_FAILED)
            self._context.observer.report(seen, self._group)

    def settle(self, outcome: Outcome) -> bool:
        """Report or drop the evidence that waited, as the request has ended.

        Args:
            outcome: How the last attempt ended.

        Returns:
            False if an attempt at another server ended in the same way, so that the request is to
            blame and not the last server either.
        """
        if outcome is Outcome.ANSWERED:
            self.confirm()
            return True
        suspicions, self._suspicions = self._suspicions, []
        same = [each.seen.server for each in suspicions if each.outcome is outcome]
        for server in same:
            self._context.router.refusals.forget(server.row)
        return not same
