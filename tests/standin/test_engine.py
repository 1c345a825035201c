"""Slots, queue, pace, and engines that are hung or asleep."""

import asyncio

import pytest

from fastroute.standin.engine import TOKENS_PER_TURN, Engine, Mode, Pace, Sequence
from fastroute.standin.message import Settings
from tests.support.standins import until

FAST = Pace(0, 0)
SLOW = Pace(60, 60)
STEADY = Pace(0, 0.002)


class Recorder:
    """An owner that records its tokens."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.counts: dict[Sequence, int] = {}
        self.ended: list[tuple[int, str]] = []

    def submit(self, pace: Pace, length: int = 4) -> Sequence:
        sequence = Sequence(self, len(self.counts), pace, 10, length)
        self.counts[sequence] = 0
        self.engine.submit(sequence)
        return sequence

    def produced(self, sequence, count, finish_reason):
        self.counts[sequence] += count
        if finish_reason is not None:
            self.ended.append((sequence.index, finish_reason))


@pytest.fixture
async def settings():
    return Settings(slots=2)


@pytest.fixture
async def engine(settings):
    return Engine(settings, asyncio.get_running_loop())


@pytest.fixture
async def owner(engine):
    return Recorder(engine)


async def test_fast_sequence_ends_while_it_is_submitted(engine, owner):
    sequence = owner.submit(FAST)
    assert owner.counts[sequence] == 4
    assert owner.ended == [(0, "length")]
    assert (engine.running, engine.waiting, engine.generation_tokens) == (0, 0, 4)
    assert engine.prompt_tokens == 10
    assert engine.finished == {"length": 1}


async def test_a_long_sequence_does_not_block_others(engine, owner):
    sequence = owner.submit(FAST, length=TOKENS_PER_TURN * 3)
    assert owner.counts[sequence] == TOKENS_PER_TURN
    await until(lambda: owner.ended)
    assert owner.counts[sequence] == TOKENS_PER_TURN * 3


async def test_sequences_without_a_slot_wait_in_order(engine, owner):
    sequences = [owner.submit(SLOW) for _ in range(5)]
    assert (engine.running, engine.waiting) == (2, 3)
    engine.abort(sequences[3])
    engine.abort(sequences[0])
    assert (engine.running, engine.waiting) == (2, 1)
    engine.abort(sequences[2])  # It had got the free slot, being next in the queue.
    assert (engine.running, engine.waiting) == (2, 0)
    engine.end_all("abort")
    assert sorted(owner.ended) == [(1, "abort"), (4, "abort")]


async def test_a_thousand_waiting_sequences_end_without_deep_recursion(engine, settings, owner):
    settings.slots = 0
    for _ in range(2000):
        owner.submit(FAST)
    assert engine.waiting == 2000
    settings.slots = 1
    engine.fill_slots()
    assert [index for index, _ in owner.ended] == list(range(2000))


async def test_tokens_come_by_the_clock(engine, owner):
    loop = asyncio.get_running_loop()
    begin = loop.time()
    sequence = owner.submit(Pace(0.03, 0.01), length=4)
    assert owner.counts[sequence] == 0
    assert engine.running == 1
    await until(lambda: owner.ended)
    # Timers of uvloop count whole milliseconds, rounded.
    assert loop.time() - begin > 0.055


async def test_ended_sequences_wake_the_waiter(engine, owner):
    owner.submit(STEADY)
    async with asyncio.timeout(5):
        await engine.wait_idle()
        await engine.wait_idle()
    assert owner.ended == [(0, "length")]


@pytest.mark.parametrize("mode", [Mode.HUNG, Mode.ASLEEP])
async def test_metrics_of_a_hung_engine_do_not_change(engine, owner, mode):
    running = owner.submit(STEADY, length=1000)
    engine.set_mode(mode)
    tokens = engine.generation_tokens
    late = owner.submit(FAST)
    gone = owner.submit(FAST)
    engine.abort(gone)
    await until(lambda: running.timer is None)
    assert (engine.running, engine.waiting, engine.generation_tokens) == (1, 0, tokens)
    engine.set_mode(Mode.AWAKE)
    assert (late.index, "length") in owner.ended
    await until(lambda: engine.generation_tokens > tokens + owner.counts[late] + 2)
    engine.abort(running)
    assert engine.running == 0


async def test_held_sequence_waits_for_its_reader(engine, owner):
    sequence = owner.submit(STEADY, length=1000)
    await until(lambda: owner.counts[sequence] > 2)
    engine.hold(sequence)
    await until(lambda: sequence.timer is None)
    count = owner.counts[sequence]
    await asyncio.sleep(0.02)
    assert owner.counts[sequence] == count
    engine.release(sequence)
    await until(lambda: owner.counts[sequence] > count)
    engine.abort(sequence)


async def test_limit_counts_running_and_waiting(engine, settings, owner):
    settings.max_queued = 3
    sequences = [owner.submit(SLOW) for _ in range(3)]
    assert not engine.has_capacity_for(1)
    engine.abort(sequences[0])
    assert engine.has_capacity_for(1)
    assert not engine.has_capacity_for(2)
    engine.end_all("abort")
