"""Attacks on the real process: its worker lives, and streams of other clients do not notice.

Gaps are compared with those in streams through a second router, which nobody attacks: on a busy
machine both have them.
"""

import asyncio
import contextlib
import socket
import time

import pytest

from tests.support import attacks
from tests.support.attacks import BODIES, CLOSE, HEADS, MB, get
from tests.support.hostile import push, steady_server, streams, take_gap
from tests.support.processes import memory, router_process

MAX_GAP = 0.2
MORE_MEMORY = 20 * MB
ATTEMPTS = 3
pytestmark = pytest.mark.alone


@pytest.fixture(name="server", scope="module")
def server_fixture():
    with steady_server() as url:
        yield url


class Arena:
    """A router that is attacked, and one that is not, with streams through both."""

    def __init__(self, router, watched, others):
        self.router = router
        self.watched = watched
        self.others = others
        (self.pid,) = router.worker_pids()
        self.memory = memory(self.pid)

    async def attack(self, *inputs: bytes) -> list[bytes]:
        """Send each on a connection of its own; the streams must go on meanwhile."""
        for _ in range(ATTEMPTS):
            take_gap(self.watched), take_gap(self.others)
            answers = await asyncio.gather(
                *(asyncio.to_thread(push, self.router.port, data) for data in inputs)
            )
            gap, control = take_gap(self.watched), take_gap(self.others)
            if gap <= MAX_GAP + 2 * control:
                return answers
        pytest.fail(f"streams stood still for {gap:.3f} s, others for {control:.3f} s")

    async def check_end(self) -> None:
        """Assert that the worker is the same, and that its memory is free again."""
        assert self.router.worker_pids() == [self.pid]
        async with asyncio.timeout(10):
            while memory(self.pid) > self.memory + MORE_MEMORY:
                await asyncio.sleep(0.1)
        take_gap(self.watched)


@contextlib.asynccontextmanager
async def arena(folder, server, **settings):
    (folder / "attacked").mkdir()
    (folder / "other").mkdir()
    async with (
        router_process(folder / "attacked", server, capacity=100, **settings) as router,
        router_process(folder / "other", server, capacity=100) as other,
        streams(router) as watched,
        streams(other) as others,
    ):
        made = Arena(router, watched, others)
        yield made
        await made.check_end()


@pytest.mark.parametrize("log", ["off", "json"])
async def test_bodies(tmp_path, server, log):
    """With the access log on, each body was searched twice."""
    file = str(tmp_path / "access.log")
    async with arena(tmp_path, server, access_log=log, access_log_file=file) as made:
        for name, make in BODIES.items():
            [answer] = await made.attack(make(15 * MB))
            assert answer.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 404 ")), name


async def test_heads(tmp_path, server):
    async with arena(tmp_path, server) as made:
        for make in HEADS.values():
            await made.attack(make(60_000))
            await made.attack(make(60_000) * 60)
        await made.attack(*[HEADS["small fields"](60_000)] * 30)
        await made.attack(*[HEADS["a query"](60_000) * 60] * 4)


async def test_many_requests(tmp_path, server):
    upgrade = b"Connection: upgrade\r\nUpgrade: h2c\r\n"
    async with arena(tmp_path, server) as made:
        await made.attack(get(b"/livez") * 100_000)
        await made.attack(get(b"/livez", upgrade) * 50_000)
        await made.attack(*[get(b"/load-stats") * 90] * 20)
        await made.attack(*[get(b"/metrics").replace(b"GET", b"HEAD") * 40 + get(b"/", CLOSE)] * 20)


async def test_nothing_is_remembered_for_ever(tmp_path, server):
    """Different values of each header that something is derived from, and different heads."""
    members = [b"a%03d," % number * 12_000 for number in range(150)]
    long = [b"%03d" % number + b"y" * 3_500 for number in range(600)]
    async with arena(tmp_path, server) as made:
        await made.attack(*(get(b"/livez", b"Connection: %b\r\n" % each) for each in members[:50]))
        await made.attack(
            b"".join(get(b"/livez", b"Connection: a, %b\r\n" % each[:120]) for each in members)
        )
        for start in range(0, len(long), 60):
            await made.attack(
                b"".join(get(b"/v1/x", b"X: %b\r\n" % each) for each in long[start : start + 60])
            )
        for start in range(0, len(long), 60):
            requests = (
                get(b"/livez", b"Authorization: %b\r\n" % each) for each in long[start : start + 60]
            )
            await made.attack(b"".join(requests))


async def test_bodies_without_an_end(tmp_path, server):
    """They are bounded together, end when they are too slow, and leave nothing behind."""
    settings = {"client_body_timeout": 1.0, "max_buffered_bytes": 40 * MB}
    async with arena(tmp_path, server, **settings) as made, contextlib.AsyncExitStack() as stack:
        held = [stack.enter_context(made.router.connect()) for _ in range(6)]
        for each in held:
            each.setblocking(False)
        start = attacks.CHAT + b"Content-Length: %d\r\n\r\n" % (60 * MB) + bytes(12 * MB)
        loop = asyncio.get_running_loop()
        for each in held:
            with contextlib.suppress(OSError):
                await loop.sock_sendall(each, start)
        assert memory(made.pid) < made.memory + 100 * MB
        statuses = await asyncio.gather(*(asyncio.to_thread(drip, each) for each in held))
        assert statuses.count("503") >= 2, "three of them fill the memory"
        assert statuses.count("408") >= 1, "a byte now and then is no upload"
        [answer] = await made.attack(attacks.with_body(b'{"model":"m"}'))
        assert answer.startswith(b"HTTP/1.1 200 ")


def drip(connection: socket.socket) -> str:
    """Send a byte now and then; return the status with which the router ends that."""
    connection.settimeout(0.1)
    ended = time.monotonic() + 20
    while time.monotonic() < ended:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.send(b"x")
        with contextlib.suppress(TimeoutError):
            return connection.recv(100).decode().split()[1]
    return "none"


async def test_heads_without_an_end(tmp_path, server):
    limits = {"client_header_timeout": 1.0}
    async with arena(tmp_path, server, **limits) as made, contextlib.AsyncExitStack() as stack:
        piece = b"GET / HTTP/1.1\r\n" + b"a:\r\n" * 199
        held = [stack.enter_context(made.router.connect()) for _ in range(300)]
        for each in held:
            each.sendall(piece)
        assert memory(made.pid) < made.memory + 30 * MB
        for each in held:
            assert b" 408 " in await asyncio.to_thread(each.recv, 1000)
            each.close()
