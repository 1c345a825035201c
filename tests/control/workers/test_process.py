import asyncio
import signal

import pytest

from fastroute.config import config_from_urls
from fastroute.control.workers.launch import WorkerSpec, start_worker
from fastroute.control.workers.listeners import open_listeners
from fastroute.control.workers.process import Reports, WorkerProcess, exit_text
from fastroute.ipc.logs import LogOptions
from fastroute.ipc.messages import Configure, Drain, Observed, encode
from fastroute.ipc.score_table import ScoreTable
from fastroute.rules.evidence import Event

CONFIGURE = Configure(config=config_from_urls(["http://127.0.0.1:9"], 1), servers=())


def nothing(_):
    pass


SILENT = Reports(nothing, nothing)


@pytest.fixture(name="spec")
def spec_fixture():
    """Return the specification of a worker on a free port."""
    table = ScoreTable.create(rows=8, workers=1)
    (listener,) = open_listeners("127.0.0.1", 0, 1)
    with listener:
        yield WorkerSpec(
            index=0,
            listen_fd=listener.fileno(),
            table_fd=table.fd,
            admin_fd=None,
            logs=LogOptions(level="warning"),
        )
    table.close()


def test_a_worker_becomes_ready_and_drains(spec):
    async def main():
        ready = asyncio.Event()
        worker = await WorkerProcess.attend(
            0, start_worker(spec), Reports(lambda _: ready.set(), nothing)
        )
        assert not worker.was_ready
        worker.send(CONFIGURE)
        async with asyncio.timeout(20):
            await ready.wait()
            assert worker.was_ready
            worker.send(Drain())
            assert await worker.wait() == 0
        worker.send(Drain())  # Dropped, because it has exited.
        worker.kill()

    asyncio.run(main())


def test_a_killed_worker(spec):
    async def main():
        worker = await WorkerProcess.attend(0, start_worker(spec), SILENT)
        worker.kill()
        async with asyncio.timeout(20):
            assert await worker.wait() == -signal.SIGKILL

    asyncio.run(main())


def test_what_it_observes_is_passed_on(spec):
    seen = Observed(row=3, generation=1, kind=Event.REQUEST_FAILED, detail="refused")

    async def main():
        observed = []
        worker = await WorkerProcess.attend(
            0, start_worker(spec), Reports(nothing, observed.append)
        )
        worker.data_received(encode(seen))
        assert observed == [seen]
        worker.kill()
        async with asyncio.timeout(20):
            await worker.wait()

    asyncio.run(main())


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"Traceback (most recent call last)", id="no-message"),
        pytest.param(b"\0\0\0\x0c\x81\xa4type\xa5Drain", id="a-message-of-the-supervisor"),
    ],
)
def test_a_worker_that_talks_nonsense_is_killed(spec, data):
    async def main():
        worker = await WorkerProcess.attend(0, start_worker(spec), SILENT)
        worker.data_received(data)
        async with asyncio.timeout(20):
            assert await worker.wait() == -signal.SIGKILL

    asyncio.run(main())


def test_cancelled_waiting_can_be_taken_up_again(spec):
    async def main():
        worker = await WorkerProcess.attend(0, start_worker(spec), SILENT)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await worker.wait()
        worker.kill()
        async with asyncio.timeout(20):
            assert await worker.wait() == -signal.SIGKILL

    asyncio.run(main())


@pytest.mark.parametrize(
    ("code", "text"),
    [
        pytest.param(0, "exit code 0", id="zero"),
        pytest.param(3, "exit code 3", id="code"),
        pytest.param(-9, "killed by SIGKILL", id="signal"),
        pytest.param(-99, "killed by signal 99", id="nameless-signal"),
    ],
)
def test_exit_text(code, text):
    assert exit_text(code) == text
