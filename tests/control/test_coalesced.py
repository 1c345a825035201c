import asyncio

from fastroute.control.coalesced import Coalesced
from tests.support.standins import until


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
