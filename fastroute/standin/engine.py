"""The engine of the stand-in: slots, a first-come queue, tokens made by the clock."""

import asyncio
import enum
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Protocol

import msgspec

from fastroute.standin.message import Settings

# One loop turn makes at most this many tokens of a sequence, so that others get their turn too.
TOKENS_PER_TURN = 64


class Mode(enum.Enum):
    """What the engine does. Hung and asleep look alike from inside; requests tell them apart."""

    AWAKE = "awake"
    HUNG = "hung"  # stream heads still leave, nothing else moves, and the metrics stand still
    ASLEEP = "asleep"  # not even a head leaves


class Pace(msgspec.Struct, frozen=True, gc=False):
    """How fast a sequence goes: seconds to its first token and between tokens."""

    ttft: float
    token_interval: float


class Owner(Protocol):
    """Who asked for a sequence."""

    def produced(self, sequence: "Sequence", count: int, finish_reason: str | None) -> None:
        """Take `count` new tokens; with a finish reason they are the last."""


class Sequence:
    """One text being generated: one choice of one prompt, one place in the engine."""

    __slots__ = (
        "due",
        "held",
        "index",
        "length",
        "made",
        "owner",
        "pace",
        "prompt_tokens",
        "timer",
    )

    def __init__(
        self, owner: Owner, index: int, pace: Pace, prompt_tokens: int, length: int
    ) -> None:
        """Describe a sequence; `Engine.submit` starts it.

        Args:
            owner: Gets the tokens.
            index: Which choice of the answer it is.
            pace: How fast tokens come.
            prompt_tokens: Size of the prompt, for the counters.
            length: Tokens to make.
        """
        self.owner = owner
        self.index = index
        self.pace = pace
        self.prompt_tokens = prompt_tokens
        self.length = length
        self.made = 0
        self.due = 0.0
        self.held = False
        self.timer: asyncio.Handle | None = None

    def make_due(self, now: float) -> int:
        """Count the tokens that are due now (always one at least) as made."""
        count = min(self.length - self.made, TOKENS_PER_TURN)
        interval = self.pace.token_interval
        if interval > 0:
            count = min(count, 1 + max(0, int((now - self.due) / interval)))
            self.due += count * interval
        self.made += count
        return count


class Engine:
    """Runs up to `slots` sequences at a time; counts what vLLM's engine counts."""

    def __init__(self, settings: Settings, loop: asyncio.AbstractEventLoop) -> None:
        self._settings = settings
        self._loop = loop
        self._waiting: OrderedDict[Sequence, None] = OrderedDict()
        self._running: dict[Sequence, None] = {}
        # What was asked of an engine that does not move; done when it moves again.
        self._inbox: list[Callable[[], None]] = []
        self._filling = False
        self._idle = asyncio.Event()
        self.mode = Mode.AWAKE
        self.accepts_work = True
        self.prompt_tokens = 0
        self.generation_tokens = 0
        self.refused = 0
        self.finished: dict[str, int] = {}

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def tokens_held(self) -> int:
        """Tokens that would lie in the KV cache now."""
        return sum(sequence.prompt_tokens + sequence.made for sequence in self._running)

    def has_room_for(self, count: int) -> bool:
        limit = self._settings.max_queued
        return limit is None or self.running + self.waiting + count <= limit

    def submit(self, sequence: Sequence) -> None:
        if self.mode is not Mode.AWAKE:
            self._inbox.append(partial(self.submit, sequence))
            return
        self._waiting[sequence] = None
        self.fill_slots()

    def abort(self, sequence: Sequence) -> None:
        """Forget a sequence whose owner has gone; the owner hears no more of it."""
        if self.mode is not Mode.AWAKE:
            self._stop_timer(sequence)
            self._inbox.append(partial(self.abort, sequence))
            return
        self._remove(sequence)
        self.fill_slots()

    def hold(self, sequence: Sequence) -> None:
        """Make no more tokens until `release`: the client does not read.

        vLLM goes on generating into its own memory; the stand-in keeps memory flat.
        """
        sequence.held = True

    def release(self, sequence: Sequence) -> None:
        sequence.held = False
        self._go_on(sequence)

    def set_mode(self, mode: Mode) -> None:
        self.mode = mode
        if mode is not Mode.AWAKE:
            return
        inbox, self._inbox = self._inbox, []
        for do in inbox:
            do()
        for sequence in list(self._running):
            self._go_on(sequence)

    def end_all(self, finish_reason: str) -> None:
        """End every sequence now, well formed, whatever the mode."""
        self.mode = Mode.AWAKE
        inbox, self._inbox = self._inbox, []
        for do in inbox:
            do()
        for sequence in [*self._running, *self._waiting]:
            self._finish(sequence, 0, finish_reason)

    def fill_slots(self) -> None:
        """Start waiting sequences while there are slots; call it when `slots` was changed."""
        # A sequence may end while it starts, and ask for this again: the outer loop goes on.
        if self._filling:
            return
        self._filling = True
        try:
            while self._waiting and len(self._running) < self._settings.slots:
                sequence, _ = self._waiting.popitem(last=False)
                self._start(sequence)
        finally:
            self._filling = False
        if not self._running and not self._waiting:
            self._idle.set()

    async def wait_idle(self) -> None:
        """Return when nothing runs and nothing waits."""
        if self._running or self._waiting or self._inbox:
            self._idle.clear()
            await self._idle.wait()

    def _start(self, sequence: Sequence) -> None:
        self._running[sequence] = None
        self.prompt_tokens += sequence.prompt_tokens
        delay = sequence.pace.ttft
        sequence.due = self._loop.time() + delay
        if delay > 0:
            sequence.timer = self._loop.call_later(delay, self._step, sequence)
        else:
            self._step(sequence)

    def _step(self, sequence: Sequence) -> None:
        sequence.timer = None
        if self.mode is not Mode.AWAKE or sequence.held:
            return
        now = self._loop.time()
        count = sequence.make_due(now)
        self.generation_tokens += count
        if sequence.made >= sequence.length:
            self._finish(sequence, count, "length")
            return
        sequence.owner.produced(sequence, count, None)
        # The owner may have aborted it just now, or asked to hold it.
        if sequence in self._running and not sequence.held:
            self._schedule(sequence, sequence.due - now)

    def _schedule(self, sequence: Sequence, delay: float) -> None:
        if delay > 0:
            sequence.timer = self._loop.call_later(delay, self._step, sequence)
        else:
            sequence.timer = self._loop.call_soon(self._step, sequence)

    def _go_on(self, sequence: Sequence) -> None:
        """Take up a sequence that stood still; the pause is not made up for."""
        if sequence in self._running and sequence.timer is None:
            sequence.due = max(sequence.due, self._loop.time())
            self._schedule(sequence, sequence.due - self._loop.time())

    def _finish(self, sequence: Sequence, count: int, finish_reason: str) -> None:
        self._remove(sequence)
        self.finished[finish_reason] = self.finished.get(finish_reason, 0) + 1
        sequence.owner.produced(sequence, count, finish_reason)
        self.fill_slots()

    def _remove(self, sequence: Sequence) -> None:
        self._stop_timer(sequence)
        self._waiting.pop(sequence, None)
        self._running.pop(sequence, None)

    def _stop_timer(self, sequence: Sequence) -> None:
        if sequence.timer is not None:
            sequence.timer.cancel()
            sequence.timer = None
