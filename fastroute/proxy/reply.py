"""The response to one attempt, as the client is to get it."""

from typing import Final

from fastroute.proxy.http_date import http_date
from fastroute.rules.framing import Body, Unwrapper
from fastroute.rules.outcome import Outcome
from fastroute.rules.request_head import RequestHead
from fastroute.rules.response_head import ReplyHead, with_date
from fastroute.rules.retry import UNCLEAR, judge, judge_body

# Through the class each costs 60 ns on Python 3.11.
CHUNKED: Final = Body.CHUNKED
UNTIL_CLOSE: Final = Body.UNTIL_CLOSE
FIRST_ERROR: Final = 400
ANSWERED: Final = Outcome.ANSWERED
# How much of a refusal is held back while another server is tried; vLLM's are below 1 KiB.
MAX_HELD_BYTES = 65536


class Reply:
    """A response whose head has come.

    Attributes:
        head: As the server sent it.
        outcome: What it says, if it comes to a whole end.
        body: How its end is found, at the client.
        keep_alive: True if the client's connection stays open after it.
        is_proof: True if it is a good response to an inference request: the engine works.
        passes: True if its pieces go to the client as they are, and count as progress.
        held: The head and pieces of the body that are not written yet, because a refusal waits
            for its end or an event stream for its first event; None once the client gets the
            response as it comes.
        unwrapper: Takes the chunked coding off for a client of HTTP/1.0, or None.
        bytes_out: Bytes that were written to the client.
    """

    __slots__ = (
        "_held_bytes",
        "body",
        "bytes_out",
        "head",
        "held",
        "is_proof",
        "keep_alive",
        "outcome",
        "passes",
        "unwrapper",
    )

    _held_bytes: int
    body: Body
    bytes_out: int
    head: ReplyHead
    held: list[bytes] | None
    is_proof: bool
    keep_alive: bool
    outcome: Outcome
    passes: bool
    unwrapper: Unwrapper | None

    def begin(
        self, head: ReplyHead, raw: bytes, authority: bytes, request: RequestHead, draining: bool
    ) -> bytes:
        """Set all attributes; compiled, arguments of a constructor cost 0.1 us more.

        Args:
            head: Its head.
            raw: The head as it came.
            authority: The server's, which Location fields may name.
            request: Head of the client's request.
            draining: True if the client's connection has to end with this response.

        Returns:
            The head for the client.
        """
        self.head = head
        self.outcome = ANSWERED  # the exchange judges errors
        self.body = head.body
        self.bytes_out = 0
        self.held = None
        self._held_bytes = 0
        self.unwrapper = None
        self.is_proof = self.passes = head.status < FIRST_ERROR and request.is_inference
        if request.http_1_0 and head.body is CHUNKED:
            self.unwrapper = Unwrapper()
            self.passes = False
            self.body = UNTIL_CLOSE
        self.keep_alive = request.keep_alive and not draining and self.body is not UNTIL_CLOSE
        connection = None
        if not self.keep_alive:
            connection = b"close"
        elif request.http_1_0:
            connection = b"keep-alive"
        rendered: bytes = head.render(raw, authority, connection, request.http_1_0)
        return with_date(rendered, http_date()) if head.lacks_date else rendered

    def judge(self, key_is_ours: bool, names_model: bool) -> bool:
        """Set the outcome of an error; True if it is certain before the body is known.

        Args:
            key_is_ours: True if the request had the server's own key.
            names_model: True if it names a model that the server is known to have.
        """
        status = self.head.status
        self.outcome = judge(status, key_is_ours=key_is_ours, names_model=names_model)
        return status != UNCLEAR and self.outcome is not Outcome.MODEL_MISSING

    def judge_body(self) -> None:
        """Set the outcome of an error now that its body is known, if it was held to its end."""
        if self.held is None:
            if self.outcome is Outcome.MODEL_MISSING:
                self.outcome = ANSWERED  # too long to hold: a page, and not about a model
        elif self.outcome is not ANSWERED:
            self.outcome = judge_body(self.outcome, self.head.status, b"".join(self.held))

    def hold_until_body(self, head: bytes) -> None:
        """Keep the head until the first piece of the body comes: that one is too much to hold."""
        self.held = [head]
        self.passes = False
        self._held_bytes = MAX_HELD_BYTES

    def release(self) -> list[bytes]:
        """Return what was held; what follows passes as it comes."""
        held = self.held
        assert held is not None, "nothing is held"
        self.held = None
        self.passes = self.is_proof and self.unwrapper is None
        return held

    def awaits_body(self) -> bool:
        """Return True while the head of an event stream is held until its first event."""
        return self.held is not None and self.outcome is ANSWERED

    def hold(self, data: bytes) -> bool:
        """Keep a piece; False if it is too much by now."""
        if self.held is None:
            self.held = []
            self.passes = False
        self.held.append(data)
        self._held_bytes += len(data)
        return self._held_bytes <= MAX_HELD_BYTES
