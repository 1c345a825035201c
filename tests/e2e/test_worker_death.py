"""A worker killed under load: others continue, it is replaced, and counters are corrected."""

import asyncio
import contextlib
import os
import signal

import pytest

from tests.support.command import is_alive
from tests.support.processes import in_flight_is, router_process
from tests.support.standin_client import ask, chat, client, get
from tests.support.standins import standin, until

STREAMS = 40


async def open_stream(stack, router):
    """Start an endless stream, and return after its first event."""
    connection = await stack.enter_async_context(client(router.port))
    connection.send(chat(stream=True, max_tokens=100_000))
    await connection.reader.readuntil(b"data: ")
    return connection


async def is_cut(connection, within: float = 5.0) -> bool:
    """Return True if a stream is truncated, and False if its events continue."""
    tail, events = b"", 0
    try:
        async with asyncio.timeout(within):
            while data := await connection.reader.read(65536):
                tail = tail[-10:] + data
                events += data.count(b"data: ")
    except TimeoutError:
        assert events > 10, "it hangs"
        return False
    except ConnectionError:
        pass
    assert not tail.endswith(b"0\r\n\r\n"), "cut, but as if it were whole"
    return True


async def test_under_load(tmp_path):
    async with standin(token_interval=0.02, slots=200) as server:
        async with router_process(tmp_path, server.url, workers=2, capacity=200) as router:
            async with contextlib.AsyncExitStack() as stack:
                streams = [await open_stream(stack, router) for _ in range(STREAMS)]
                await in_flight_is(router, STREAMS)
                before = router.worker_pids()
                os.kill(before[0], signal.SIGKILL)
                # Some of these wait in the dead worker's queue until the new one accepts them.
                answers = await asyncio.gather(*(ask(router.port, chat()) for _ in range(60)))
                assert {answer.status for answer in answers} == {200}
                assert all(answer.complete for answer in answers)

                cut = await asyncio.gather(*(is_cut(stream, 1.0) for stream in streams))
                went_on = STREAMS - sum(cut)
                assert 0 < went_on < STREAMS, "both workers had streams"
                await in_flight_is(router, went_on)
                await until(lambda: server.engine.running == went_on)
                after = await asyncio.to_thread(router.worker_pids)
                assert after[1] == before[1]
                assert after[0] != before[0]
                assert is_alive(after[0])
                stats = await asyncio.to_thread(router.get, "/load-stats")
                connected = [w["client_connections"] for w in stats["summary"]["workers"]]
                assert sum(connected) <= went_on + 1, "the streams, and who asks this"
            await in_flight_is(router, 0)
        assert "SIGKILL" in router.stderr()


async def test_over_and_over(tmp_path):
    """Both are killed in turn, while requests continue: only requests in flight on a killed one
    may fail."""
    failed = whole = 0

    async def work(router):
        nonlocal failed, whole
        while not done.is_set():
            try:
                answer = await ask(router.port, chat(max_tokens=2))
            except ConnectionError:
                failed += 1
                continue
            if answer.complete:
                assert answer.status == 200
                whole += 1
            else:
                failed += 1

    done = asyncio.Event()
    async with standin(token_interval=0.005, slots=100) as server:
        async with router_process(tmp_path, server.url, workers=2, capacity=100) as router:
            async with asyncio.TaskGroup() as group:
                for _ in range(10):
                    group.create_task(work(router))
                for number in range(4):
                    goal = whole + 60
                    await until(lambda: whole >= goal, 20)  # noqa: B023  awaited at once
                    pids = await asyncio.to_thread(router.worker_pids)
                    os.kill(pids[number % 2], signal.SIGKILL)
                goal = whole + 60
                await until(lambda: whole >= goal, 20)
                done.set()
            assert failed <= 4 * 10
            await in_flight_is(router, 0)
            stats = await asyncio.to_thread(router.get, "/load-stats")
            assert stats["servers"][0]["status"] == "up", "no server is blamed for it"
        await until(lambda: not server.engine.running)


@pytest.mark.parametrize("workers", [1, 2])
async def test_of_the_supervisor_ends_the_workers(tmp_path, workers):
    """Nothing would restart or drain them, and the port must be free for the next router."""
    async with standin(token_interval=0.02) as server:
        async with router_process(tmp_path, server.url, workers=workers) as router:
            async with contextlib.AsyncExitStack() as stack:
                stream = await open_stream(stack, router)
                pids = router.worker_pids()
                os.kill(router.pid, signal.SIGKILL)
                await until(lambda: not any(map(is_alive, pids)))
                assert await is_cut(stream)
        await until(lambda: not server.engine.running)


async def test_idle_clients_of_a_killed_worker_are_told(tmp_path):
    async with standin() as server:
        async with router_process(tmp_path, server.url) as router:
            async with client(router.port) as connection:
                connection.send(get("/v1/models"))
                assert (await connection.receive()).status == 200
                os.kill(router.worker_pids()[0], signal.SIGKILL)
                with contextlib.suppress(ConnectionError):
                    assert await connection.is_closed()
            assert (await ask(router.port, get("/v1/models"))).status == 200
