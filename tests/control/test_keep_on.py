import asyncio

import pytest

from fastroute.control.keep_on import keep_on
from tests.support.standins import until


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
    assert messages == ["listing models failed; it is tried again in 0.001 s"] * 2
    assert "KeyError: 'model'" in caplog.text
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
