"""Clients that send requests continuously during a test, and record each result."""

import threading
import time
from dataclasses import dataclass

from tests.real.wire import BrokenReply, WireConnection, WireReply, completion, stream_text

DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of one request.

    Times are of time.monotonic(). `head_at` is None if no response headers arrived; `problem` is ""
    if the response was as expected.
    """

    stream: bool
    sent_at: float
    head_at: float | None
    problem: str


class SteadyLoad:
    """A number of clients that send sequential requests; use as a context manager.

    Each waits `pause` seconds between two requests.
    """

    def __init__(
        self, port: int, *, streams: int, plain: int, tokens: int = 40, pause: float = 0.0
    ) -> None:
        self._port = port
        self._tokens = tokens
        self._pause = pause
        self._over = threading.Event()
        self._outcomes: list[Outcome] = []
        kinds = [True] * streams + [False] * plain
        self._threads = [threading.Thread(target=self._run, args=(kind,)) for kind in kinds]

    def __enter__(self) -> "SteadyLoad":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def outcomes(self) -> list[Outcome]:
        """Return the results so far, without requests in flight."""
        return list(self._outcomes)

    def failures(self) -> list[Outcome]:
        """Return the results that were not as expected."""
        return [outcome for outcome in self.outcomes() if outcome.problem]

    def _run(self, stream: bool) -> None:
        while not self._over.is_set():
            try:
                with WireConnection(self._port) as connection:
                    self._ask_on(connection, stream)
            except OSError as error:
                self._outcomes.append(Outcome(stream, time.monotonic(), None, repr(error)))

    def _ask_on(self, connection: WireConnection, stream: bool) -> None:
        """Send requests until the end of the load, or of the connection."""
        while not self._over.is_set():
            sent_at, reply, problem = time.monotonic(), None, ""
            try:
                connection.send(completion(self._tokens, stream=stream))
                reply = connection.read_reply(until_chunks=0)
                head_at = time.monotonic()
                if reply.value(b"transfer-encoding"):
                    connection.read_chunks(reply)
                problem = self._problem(reply, stream)
            except BrokenReply as error:
                problem = str(error)
            head_at = head_at if reply is not None else None
            self._outcomes.append(Outcome(stream, sent_at, head_at, problem))
            if problem:
                return
            self._over.wait(self._pause)

    def _problem(self, reply: WireReply, stream: bool) -> str:
        if reply.status != 200:
            return f"{reply.status}: {reply.content[:200]!r}"
        if not stream:
            whole = b'"completion_tokens":%d' % self._tokens in reply.content
            return "" if whole else f"not whole: {reply.content[-300:]!r}"
        if not reply.chunks or reply.chunks[-1] != DONE:
            return f"no end: {reply.chunks[-1:]!r}"
        length = len(stream_text(reply.chunks))
        return "" if length == self._tokens else f"{length} tokens: {reply.chunks[:3]!r}"
