"""A busy worker and a hung one at the same time: only the hung one is killed."""

import asyncio
import contextlib
import os
import signal

from tests.support.command import RunningCommand
from tests.support.processes import in_flight_is, router_process
from tests.support.standin_client import chat, client
from tests.support.standins import standin, until

BUSY_ON_SIGNAL = """
import os, signal, sys

def compute(*_):
    while not os.path.exists(os.environ["COMPUTED"]):
        pass

if "run_worker" in sys.orig_argv[-2]:
    signal.signal(signal.SIGUSR1, compute)
"""
STREAMS = 16


async def logged(router: RunningCommand, text: str) -> str:
    """Wait for a line with this text, and return it."""
    async with asyncio.timeout(60):
        while True:
            for line in router.stderr().splitlines():
                if text in line:
                    return line
            await asyncio.sleep(0.1)


async def test_only_the_hung_worker_is_killed(tmp_path):
    """A costly request stopped the heartbeat for 10 s, and the supervisor ended all streams."""
    (tmp_path / "sitecustomize.py").write_text(BUSY_ON_SIGNAL)
    computed = tmp_path / "computed"
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    async with (
        standin(token_interval=0.1, slots=100) as server,
        router_process(
            tmp_path,
            server.url,
            workers=2,
            capacity=100,
            env={"PYTHONPATH": path, "COMPUTED": str(computed)},
        ) as router,
        contextlib.AsyncExitStack() as stack,
    ):
        for _ in range(STREAMS):
            stream = await stack.enter_async_context(client(router.port))
            stream.send(chat(stream=True, max_tokens=100_000))
            await stream.reader.readuntil(b"data: ")
        await in_flight_is(router, STREAMS)
        busy, hung = await asyncio.to_thread(router.worker_pids)
        os.kill(busy, signal.SIGUSR1)
        os.kill(hung, signal.SIGSTOP)
        line = await logged(router, "hangs")
        assert f"worker 1 (pid {hung}) hangs: it had no heartbeat for 1" in line
        assert "is stopped; it is killed" in line
        line = await logged(router, "is busy")
        assert f"worker 0 (pid {busy}) is busy: it had no heartbeat for 1" in line
        assert line.endswith("it is not killed")
        computed.touch()
        await logged(router, "is back")
        await until(lambda: len(router.children() - {hung}) == 2, 60)
        (new,) = router.children() - {busy}
        assert new != hung
        # Before that, a request could wait in the socket of the new worker.
        await logged(router, f"worker 1 (pid {new}) accepts clients")
        assert 0 < await asyncio.to_thread(router.in_flight) < STREAMS, "both had streams"
