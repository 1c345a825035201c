"""The retries of one request: how many may follow, and what they are evidence for.

Most requests need none and never have this object.
"""

from typing import Final, NamedTuple

from fastroute.proxy.context import WorkerContext
from fastroute.proxy.request_trace import RequestTrace
from fastroute.proxy.router import ModelServers
from fastroute.proxy.server import Server
from fastroute.rules.outcome import ENDINGS, Next, Outcome, evidence_of
from fastroute.rules.request_head import RequestHead
from fastroute.rules.retry import is_replayable, may_retry

# Tells a request that was sent again from the one before, in the logs of the servers.
REPLAY_SUFFIX: Final = b"-replay"


class Suspicion(NamedTuple):
    """Evidence against a server that the request itself may be to blame for."""

    server: Server
    outcome: Outcome
    detail: str


class Retries:
    """The attempts of a request that failed, and what follows from them."""

    __slots__ = ("_context", "_group", "_left", "_replayed", "_request", "_suspicions", "_trace",
                 "_tried")  # fmt: skip

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
        self._replayed = False

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
        if ending.is_replay and (self._replayed or not is_replayable(method, path)):
            return Next.GIVE_UP
        if ending.follow is Next.OTHER_SERVER and not self._left:
            return Next.GIVE_UP
        return ending.follow

    def request_id(self, plain: bytes) -> bytes:
        """Return the id that the request has at the next server."""
        return plain + REPLAY_SUFFIX if self._replayed else plain

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

    def note(self, server: Server, outcome: Outcome, detail: str, retry_after: float) -> None:
        """Note an attempt that another one follows, as evidence about its server.

        Where the request itself may be to blame, the evidence waits until another server answers.
        """
        ending = ENDINGS[outcome]
        self._replayed = self._replayed or ending.is_replay
        if ending.suspects_request:
            self._suspicions.append(Suspicion(server, outcome, detail))
            self._context.router.refusals.note(server.row)
            return
        evidence = evidence_of(outcome, self._request.is_inference)
        if evidence is not None:
            self._context.observer.observe(server, evidence, detail, self._group, retry_after)

    def confirm(self) -> None:
        """Report the evidence that waited, now that another server answers the request.

        A request that failed in the same way on two servers says nothing about either of them.
        """
        suspicions, self._suspicions = self._suspicions, []
        outcomes = [each.outcome for each in suspicions]
        for server, outcome, detail in suspicions:
            evidence = ENDINGS[outcome].evidence
            if outcomes.count(outcome) > 1:
                self._context.router.refusals.forget(server.row)
            elif evidence is not None:
                self._context.observer.report(server, evidence, detail, self._group.name, 0.0)

    def blames_request(self, outcome: Outcome) -> bool:
        """Drop the evidence that no answer has confirmed, as the request has ended.

        Args:
            outcome: How the last attempt ended.

        Returns:
            True if an attempt at another server ended in the same way, so that the request is to
            blame and not the last server either.
        """
        suspicions, self._suspicions = self._suspicions, []
        same = [each.server for each in suspicions if each.outcome is outcome]
        for server in same:
            self._context.router.refusals.forget(server.row)
        return bool(same)
