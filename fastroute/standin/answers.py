"""Responses that take time: a generation, streamed or not, and a large body of bytes."""

import asyncio

from fastroute.standin.connection import Connection, Counters
from fastroute.standin.engine import Engine, Mode, Pace, Sequence
from fastroute.standin.message import JSON, Reply
from fastroute.standin.texts import GenerationBody, Texts, Usage, count_tokens, text_of

STREAM_FIELDS = b"content-type: text/event-stream; charset=utf-8\r\n"
BLOCK = bytes(range(256)) * 256
BLOCKS_PER_TURN = 16


class Generation:
    """The sequences of one request, and the connection that waits for them."""

    __slots__ = (
        "_breaks",
        "_connection",
        "_counters",
        "_engine",
        "_left",
        "_prompt_tokens",
        "_sequences",
        "_texts",
    )

    def __init__(
        self, connection: Connection, engine: Engine, counters: Counters, texts: Texts
    ) -> None:
        self._connection = connection
        self._engine = engine
        self._counters = counters
        self._texts = texts
        self._sequences: list[Sequence] = []
        self._left = 0
        self._prompt_tokens = 0
        self._breaks = False

    def begin(self, body: GenerationBody, pace: Pace) -> None:
        """Submit each choice of each prompt to the engine; all may be finished on return."""
        length = body.length
        if body.standin.drop_after is not None:
            self._breaks = True
            length = min(length, max(1, body.standin.drop_after))
        for prompt in body.prompts():
            prompt_tokens = count_tokens(prompt)
            self._prompt_tokens += prompt_tokens
            for _ in range(body.n or 1):
                index = len(self._sequences)
                self._sequences.append(Sequence(self, index, pace, prompt_tokens, length))
        self._left = len(self._sequences)
        self._connection.start(self)
        for sequence in self._sequences:
            if self._left:  # The first may already have closed the connection.
                self._engine.submit(sequence)

    def produced(self, sequence: Sequence, count: int, finish_reason: str | None) -> None:
        """Handle new tokens from the engine (see `engine.Owner`)."""
        reason = None if self._breaks else finish_reason
        self._take(sequence, count, reason)
        if finish_reason is None:
            return
        self._left -= 1
        if self._breaks:
            self._connection.drop()
        elif self._left == 0:
            self._counters.served += 1
            self._complete()

    def client_gone(self) -> None:
        self._counters.aborted += 1
        self._left = 0
        for sequence in self._sequences:
            self._engine.abort(sequence)

    def pause(self) -> None:
        for sequence in self._sequences:
            self._engine.hold(sequence)

    def resume(self) -> None:
        for sequence in self._sequences:
            self._engine.release(sequence)

    def _usage(self) -> Usage:
        return Usage(self._prompt_tokens, sum(sequence.made for sequence in self._sequences))

    def _take(self, sequence: Sequence, count: int, finish_reason: str | None) -> None:
        raise NotImplementedError

    def _complete(self) -> None:
        raise NotImplementedError


class WholeGeneration(Generation):
    """Keeps the texts until all are complete."""

    __slots__ = ("_reasons",)

    def begin(self, body: GenerationBody, pace: Pace) -> None:
        self._reasons: dict[int, str] = {}
        super().begin(body, pace)

    def _take(self, sequence: Sequence, count: int, finish_reason: str | None) -> None:
        if finish_reason is not None:
            self._reasons[sequence.index] = finish_reason

    def _complete(self) -> None:
        choices = [
            (text_of(each.index, each.made), self._reasons[each.index]) for each in self._sequences
        ]
        self._connection.reply(Reply(200, self._texts.whole(choices, self._usage()), JSON))


class StreamedGeneration(Generation):
    """Sends each token as one event in one chunk."""

    __slots__ = ("_has_begun",)

    def begin(self, body: GenerationBody, pace: Pace) -> None:
        self._has_begun = False
        # The headers are sent before the request gets its slot, except by a sleeping server.
        if self._engine.mode is not Mode.ASLEEP:
            self._connection.send_head(STREAM_FIELDS, chunked=True)
        super().begin(body, pace)

    def _take(self, sequence: Sequence, count: int, finish_reason: str | None) -> None:
        texts, index = self._texts, sequence.index
        events = [] if self._has_begun else self._first_events()
        first = sequence.made - count
        events += [texts.token_event(index, at, None) for at in range(first, sequence.made - 1)]
        # A sequence ended from outside (count 0) still gets an event with the finish reason.
        at = sequence.made - 1 if count else -1
        events.append(texts.token_event(index, at, finish_reason))
        self._connection.send(b"".join(events))

    def _first_events(self) -> list[bytes]:
        self._has_begun = True
        if not self._connection.head_sent:
            self._connection.send_head(STREAM_FIELDS, chunked=True)
        return [self._texts.first_event(each.index) for each in self._sequences]

    def _complete(self) -> None:
        self._connection.send(self._texts.end(self._usage()))
        self._connection.finish()


class ByteRun:
    """Sends `size` bytes with a Content-Length, with backpressure from the client."""

    __slots__ = ("_connection", "_handle", "_left", "_loop")

    def __init__(self, connection: Connection, loop: asyncio.AbstractEventLoop, size: int) -> None:
        self._connection = connection
        self._loop = loop
        self._left = size
        self._handle: asyncio.Handle | None = None

    def begin(self) -> None:
        fields = b"content-length: %d\r\ncontent-type: application/octet-stream\r\n" % self._left
        self._connection.start(self)
        self._connection.send_head(fields, chunked=False)
        self._send_some()

    def client_gone(self) -> None:
        self.pause()

    def pause(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def resume(self) -> None:
        if self._handle is None:
            self._handle = self._loop.call_soon(self._send_some)

    def _send_some(self) -> None:
        """Send until the client stalls or other tasks must run."""
        self._handle = None
        for _ in range(BLOCKS_PER_TURN):
            if self._connection.is_paused:
                return
            block = BLOCK[: self._left]
            self._left -= len(block)
            if block:
                self._connection.send(block)
            if not self._left:
                self._connection.finish()
                return
        if not self._connection.is_paused:
            self._handle = self._loop.call_soon(self._send_some)
