import asyncio
import os
import threading

import pytest

from fastroute.config import Config
from fastroute.control.metrics import NICENESS, RENDER_GAP, MetricsRenderer, Numbers
from fastroute.ipc.messages import Configure, Losses, MetricsReply, MetricsRequest
from fastroute.ipc.score_table import TableSnapshot
from tests.support.standins import until

NUMBERS = Numbers(
    TableSnapshot(servers=(), workers=(), models=()),
    Configure(config=Config(servers=()), servers=()),
    Losses(),
)


class Renderings:
    """A renderer whose replies tell how often it rendered.

    Attributes:
        rendered: The formats that were rendered, in order.
        replies: What was sent.
        go_on: While it is not set, rendering takes its time.
    """

    def __init__(self) -> None:
        self.rendered: list[str] = []
        self.replies: list[MetricsReply] = []
        self.go_on = threading.Event()
        self.go_on.set()
        self.threads: set[int] = set()
        self.niceness = 0
        self.renderer = MetricsRenderer(lambda: NUMBERS, self._render)

    def _render(self, numbers: Numbers, request: MetricsRequest) -> MetricsReply:
        assert numbers is NUMBERS
        self.go_on.wait(5)
        self.threads.add(threading.get_ident())
        self.niceness = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        self.rendered.append(request.accept)
        if request.accept == "bad":
            raise ValueError("as wanted")
        body = b"%d" % len(self.rendered)
        return MetricsReply(id=request.id, status=200, body=body, content_type="x")

    def ask(self, *formats: str) -> None:
        for accept in formats:
            number = 1 + len(self.rendered) + len(self.replies)
            self.renderer.ask(MetricsRequest(id=number, accept=accept), self.replies.append)

    async def answered(self, count: int) -> list[bytes]:
        await until(lambda: len(self.replies) == count)
        return [reply.body for reply in self.replies]


@pytest.fixture(name="made")
async def made_fixture():
    made = Renderings()
    yield made
    made.go_on.set()
    made.renderer.close()


async def test_not_in_the_loops_thread(made):
    made.ask("text")
    assert await made.answered(1) == [b"1"]
    assert threading.get_ident() not in made.threads
    assert made.niceness >= NICENESS
    assert os.getpriority(os.PRIO_PROCESS, 0) < NICENESS, "the loop keeps its priority"


async def test_each_gets_its_own_id(made):
    sent: list[tuple[str, int]] = []
    for worker, number in (("a", 7), ("b", 7), ("a", 8)):
        made.renderer.ask(
            MetricsRequest(id=number), lambda reply, worker=worker: sent.append((worker, reply.id))
        )
    await until(lambda: len(sent) == 3)
    assert sorted(sent) == [("a", 7), ("a", 8), ("b", 7)]
    assert len(made.rendered) == 1


async def test_one_rendering_for_all_who_wait(made):
    """Those who ask while it renders get the next one, which is of a later moment."""
    made.go_on.clear()
    made.ask("text")
    await until(lambda: made.renderer._rendering is not None)
    made.ask("text", "text", "openmetrics")
    made.go_on.set()
    assert sorted(await made.answered(4)) == [b"1", b"2", b"2", b"3"]
    assert made.rendered == ["text", "text", "openmetrics"]


async def test_not_at_once_again(made):
    loop = asyncio.get_running_loop()
    started = loop.time()
    for count in range(1, 4):
        made.ask("text")
        await made.answered(count)
    assert loop.time() - started >= 2 * RENDER_GAP


async def test_one_that_fails(made, caplog):
    """It is logged, and the next request is answered as ever."""
    made.ask("bad", "text")
    await made.answered(2)
    made.ask("text")
    await made.answered(3)
    assert [reply.status for reply in made.replies] == [503, 200, 200]
    assert b"see the log" in made.replies[0].body
    assert "ValueError: as wanted" in caplog.text


async def test_closed_while_it_renders(made):
    made.go_on.clear()
    made.ask("text")
    await until(lambda: made.renderer._rendering is not None)
    made.renderer.close()
    made.go_on.set()
    await until(lambda: made.renderer._rendering.done())
    assert not made.replies
