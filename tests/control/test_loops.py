import asyncio

import pytest

from fastroute.control.loops import Coalesced, keep_on, pause
from tests.support.standins import until


async def test_it_waits_the_time_out():
    loop = asyncio.get_running_loop()
    began = loop.time()
    await pause(0.02, asyncio.Event())
    assert loop.time() - began >= 0.019


@pytest.mark.parametrize("seconds", [60.0, 0.0])
async def test_an_event_ends_it_once(seconds):
    wake = asyncio.Event()
    wake.set()
    async with asyncio.timeout(5):
        await pause(seconds, wake)
    assert not wake.is_set()


async def test_it_can_be_cancelled():
    task = asyncio.create_task(pause(60.0, asyncio.Event()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_loop_that_fails_is_started_again(caplog):
    starts = []

    async def loop():
        starts.append(1)
        if len(starts) < 3:
            raise KeyError("model")
        await asyncio.Event().wait()

    task = asyncio.create_task(keep_on("listing models", loop, 0.001))
    await until(lambda: len(starts) == 3)
    messages = [record.message for record in caplog.records]
    assert messages == ["listing models failed; restarting in 0.001 s"] * 2
    assert "KeyError: 'model'" in caplog.text
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_requests_of_one_turn_are_one():
    done = []
    coalesced = Coalesced(lambda: done.append(1), gap=60)
    for _ in range(3):
        coalesced.request()
    assert done == []
    await asyncio.sleep(0)
    assert done == [1]


async def test_the_gap_is_kept_and_nothing_is_lost():
    loop = asyncio.get_running_loop()
    done = []
    coalesced = Coalesced(lambda: done.append(loop.time()), gap=0.05)
    coalesced.request()
    await asyncio.sleep(0)
    coalesced.request()
    coalesced.request()
    await until(lambda: len(done) == 2)
    assert done[1] - done[0] >= 0.049
    await asyncio.sleep(0.06)
    assert len(done) == 2
    coalesced.request()
    await asyncio.sleep(0)
    assert len(done) == 3


async def test_a_request_by_the_action_itself():
    done = []

    def act():
        done.append(1)
        if len(done) < 2:
            coalesced.request()

    coalesced = Coalesced(act, gap=0.0)
    coalesced.request()
    await until(lambda: len(done) == 2)


async def test_cancelled():
    done = []
    coalesced = Coalesced(lambda: done.append(1), gap=0)
    coalesced.cancel()
    coalesced.request()
    coalesced.cancel()
    await asyncio.sleep(0.001)
    assert done == []
