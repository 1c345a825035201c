import asyncio

import pytest

from fastroute.control.pause import pause


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
