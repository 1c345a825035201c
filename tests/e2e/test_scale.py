"""Large bodies and many clients on one worker of the real process: memory stays constant, and all
gauges end at 0.

The figures are printed (`pytest -s`). Memory is the worker's private memory, in bytes.
"""

import asyncio
import gc
import hashlib
import resource

import pytest

from tests.support.endings import ended
from tests.support.processes import descriptors, in_flight_is, memory, router_process
from tests.support.scripted import scripted
from tests.support.standin_client import ask, chat, client, get
from tests.support.standins import standin_process, until

MB = 1 << 20
pytestmark = pytest.mark.alone


class Watch:
    """Records the memory of a process over time."""

    def __init__(self, pid: int) -> None:
        self.before = self.most = memory(pid)
        self._pid = pid

    async def __aenter__(self):
        self._watching = asyncio.ensure_future(self._watch())
        return self

    async def __aexit__(self, *_):
        self._watching.cancel()
        self.most = max(self.most, memory(self._pid))

    @property
    def growth(self) -> int:
        return self.most - self.before

    async def _watch(self) -> None:
        while True:
            self.most = max(self.most, memory(self._pid))
            await asyncio.sleep(0.01)


class Sink(asyncio.Protocol):
    """A client that sends one request and counts the received bytes, cheap enough for thousands."""

    def __init__(self, request: bytes = b"") -> None:
        self.request = request
        self.got = 0
        self.tail = b""
        self.first = asyncio.get_running_loop().create_future()
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport
        if self.request:
            transport.write(self.request)

    def data_received(self, data):
        if not self.got:
            self.first.set_result(None)
        self.got += len(data)
        self.tail = (self.tail + data)[-20:]

    def connection_lost(self, exc):
        self.lost.set_result(exc)


async def connect(router, count: int, request: bytes = b"") -> list[Sink]:
    """Open `count` connections, 200 at a time."""
    loop = asyncio.get_running_loop()
    sinks: list[Sink] = []
    for start in range(0, count, 200):
        opened = await asyncio.gather(
            *(
                loop.create_connection(lambda: Sink(request), "127.0.0.1", router.port)
                for _ in range(min(200, count - start))
            )
        )
        sinks += [sink for _, sink in opened]
    return sinks


async def clients_are(router, count: int, seconds: float = 20.0) -> None:
    """Wait until the worker has this number of clients, besides the one that polls."""
    async with asyncio.timeout(seconds):
        while True:
            stats = await asyncio.to_thread(router.get, "/load-stats")
            if stats["summary"]["workers"][0]["client_connections"] == count + 1:
                return
            await asyncio.sleep(0.05)


@pytest.fixture(name="server")
def server_fixture():
    options = ("--slots", "5000", "--ttft", "0.2", "--token-interval", "1.0", "--keep-alive", "60")
    with standin_process(*options) as server:
        yield server


@pytest.fixture(name="router")
async def router_fixture(tmp_path, server):
    limits = {"max_connections": 9000, "request_timeout": 60.0}
    async with router_process(tmp_path, server.url, capacity=5000, **limits) as router:
        # One of each, so that everything that is created once exists.
        assert (await ask(router.port, chat(max_tokens=1))).status == 200
        assert (await ask(router.port, get("/livez"))).status == 200
        await clients_are(router, 0)
        yield router
        await in_flight_is(router, 0)


async def test_a_reply_of_a_gigabyte(router, server):
    size = 1_000_000_000
    (worker,) = router.worker_pids()
    async with Watch(worker) as watch:
        async with client(router.port) as connection:
            connection.send(get(f"/standin/bytes?size={size}"))
            head = await connection.reader.readuntil(b"\r\n\r\n")
            assert b"%d" % size in head
            left = size
            while left:
                left -= len(await connection.reader.read(MB))
            connection.send(get("/livez"))
            assert (await connection.receive()).status == 200
    print(f"\na reply of 1 GB: {watch.growth / MB:.1f} MiB more at most")
    assert watch.growth < 8 * MB


async def test_a_slow_reader_of_a_large_reply(router, server):
    """200 MB behind a client that takes 1 MB at a time, with pauses."""
    size = 200_000_000
    (worker,) = router.worker_pids()
    async with Watch(worker) as watch:
        async with client(router.port) as connection:
            connection.send(get(f"/standin/bytes?size={size}"))
            await connection.reader.readuntil(b"\r\n\r\n")
            left = size
            while left:
                left -= len(await connection.reader.readexactly(min(left, MB)))
                await asyncio.sleep(0.005)  # simulates a slow client
    print(f"\na slow reader of 200 MB: {watch.growth / MB:.1f} MiB more at most")
    assert watch.growth < 8 * MB


@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
async def test_a_request_of_60_megabytes(router, server, chunked):
    """Buffered completely, as documented, but only once, and released when the response starts."""
    body = bytes(range(256)) * 234_375
    (worker,) = router.worker_pids()
    async with Watch(worker) as watch:
        async with client(router.port) as connection:
            framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
            connection.send(f"POST /standin/echo HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n".encode())
            for start in range(0, len(body), 100_000):
                piece = body[start : start + 100_000]
                connection.send(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
                await connection.writer.drain()
            connection.send(b"0\r\n\r\n" if chunked else b"")
            answer = await connection.receive()
            got = answer.json()["body"]
            assert got == {"size": len(body), "sha256": hashlib.sha256(body).hexdigest()}
            # Released after the response, although the connection is still open.
            await until(lambda: memory(worker) < watch.before + 12 * MB)
    print(f"\na request of 60 MB: {watch.growth / MB:.0f} MiB more at most")
    # The buffer grows as data arrives, and is sometimes copied.
    assert watch.growth < 2.5 * len(body)


async def test_five_thousand_idle_and_two_thousand_streaming(router, server):
    (worker,) = router.worker_pids()
    gc.collect()
    before, before_open = memory(worker), descriptors(worker)
    idle = await connect(router, 5000)
    await clients_are(router, 5000)
    with_idle = memory(worker)

    request = chat(stream=True, max_tokens=4)
    streams = await connect(router, 2000, request)
    await asyncio.wait_for(asyncio.gather(*(sink.first for sink in streams)), 30)
    await in_flight_is(router, 2000)
    with_streams = memory(worker)
    # One came from the pool, and one that asked for the pid may have been open at the start.
    assert 5000 + 2 * 2000 - (descriptors(worker) - before_open) in (1, 2)

    # Meanwhile other clients are served quickly.
    loop = asyncio.get_running_loop()
    delays = []
    for _ in range(20):
        begun = loop.time()
        assert (await ask(router.port, get("/livez"))).status == 200
        delays.append(loop.time() - begun)
    async with asyncio.timeout(60):
        while not all(sink.tail.endswith(b"[DONE]\n\n\r\n0\r\n\r\n") for sink in streams):
            await asyncio.sleep(0.1)
    assert len({sink.got for sink in streams}) < 100, "all got about the same"
    await in_flight_is(router, 0)

    for sink in idle[:100]:
        sink.transport.write(get("/livez"))
    await asyncio.wait_for(asyncio.gather(*(sink.first for sink in idle[:100])), 10)
    for sink in (*idle, *streams):
        sink.transport.close()
    await asyncio.gather(*(sink.lost for sink in (*idle, *streams)))
    await clients_are(router, 0)
    left = memory(worker) - before
    per_idle, per_stream = (with_idle - before) / 5000, (with_streams - with_idle) / 2000
    print(
        f"\nan idle client: {per_idle / 1024:.1f} KiB, a stream: {per_stream / 1024:.1f} KiB; "
        f"/livez beside them: median {sorted(delays)[10] * 1000:.1f} ms, "
        f"most {max(delays) * 1000:.1f} ms; afterwards {left / MB:.1f} MiB more"
    )
    assert per_idle < 10 * 1024
    assert per_stream < 40 * 1024
    # The servers' connections are closed after the idle timeout.
    await until(lambda: descriptors(worker) <= before_open, 10)


async def test_two_thousand_streams_cut_at_once(router, server):
    """All clients disconnect at the same time: their servers' connections must close as quickly."""
    streams = await connect(router, 2000, chat(stream=True, max_tokens=1000))
    await asyncio.wait_for(asyncio.gather(*(sink.first for sink in streams)), 30)
    await in_flight_is(router, 2000)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    for sink in streams:
        sink.transport.abort()
    while (await asyncio.to_thread(server.state))["running"]:
        assert loop.time() - begun < 5
    print(f"\n2,000 clients gone: their generations ended after {loop.time() - begun:.2f} s")
    await in_flight_is(router, 0)
    stats = await asyncio.to_thread(router.get, "/load-stats")
    assert stats["servers"][0]["requests"]["aborted"] == 2000


async def test_many_requests_leave_no_memory_behind(router, server):
    """20,000 requests, some invalid or aborted: the worker does not grow in the second half."""
    (worker,) = router.worker_pids()
    sizes = []
    for _ in range(4):
        async with asyncio.TaskGroup() as group:
            for number in range(20):
                group.create_task(hammer(router, 250, number))
        await clients_are(router, 0)
        sizes.append(memory(worker))
    print("\nafter each 5,000 requests, MiB:", *(f"{size / MB:.1f}" for size in sizes))
    assert sizes[3] - sizes[1] < 2 * MB


async def hammer(router, count: int, number: int) -> None:
    """Send requests one after another; each client behaves differently."""
    for start in range(0, count, 50):
        async with client(router.port) as connection:
            for _ in range(min(50, count - start)):
                if number % 5 == 4:
                    connection.send(get(f"/standin/bytes?size={number * 1000}"))
                else:
                    connection.send(get("/standin/bytes?size=10"))
                assert (await connection.receive()).status == 200
            if number % 4 == 0:
                connection.send(b"\0\r\n\r\n")
            elif number % 4 == 1:
                connection.send(chat(max_tokens=5))  # and it disconnects


def allow_descriptors(pid: int, count: int) -> None:
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (count, hard))


class TestOutOfDescriptors:
    """Each client needs two. When none are left, open connections must continue."""

    async def test_clients_are_served_again_when_others_left(self, router, server):
        (worker,) = router.worker_pids()
        async with client(router.port) as before:
            before.send(get("/livez"))
            assert (await before.receive()).status == 200
            limit = descriptors(worker) + 20
            allow_descriptors(worker, limit)
            crowd = await connect(router, 100)
            await until(lambda: descriptors(worker) >= limit - 2)
            before.send(get("/livez"))
            assert (await before.receive()).status == 200
            for sink in crowd:
                sink.transport.abort()
            await asyncio.gather(*(sink.lost for sink in crowd))
            await clients_are(router, 1)
            assert (await ask(router.port, chat(max_tokens=1))).status == 200

    async def test_the_servers_are_not_blamed(self, router, server):
        """A failure for lack of the router's own descriptors does not count against servers."""
        (worker,) = router.worker_pids()
        async with client(router.port) as before, client(router.port) as holder:
            holder.send(chat(stream=True, max_tokens=1000))  # on the pooled connection
            await holder.reader.readuntil(b"data: ")
            limit = descriptors(worker) + 1
            allow_descriptors(worker, limit)
            crowd = await connect(router, 20)
            for _ in range(10):
                before.send(chat(max_tokens=1))
                answer = await before.receive()
                assert answer.status in (502, 503)
            for sink in crowd:
                sink.transport.abort()
            await asyncio.gather(*(sink.lost for sink in crowd))
            allow_descriptors(worker, limit + 10)
            before.send(chat(max_tokens=1))
            assert (await before.receive()).status == 200
            stats = await asyncio.to_thread(router.get, "/load-stats")
            assert stats["servers"][0]["status"] == "up"
        assert "Too many open files" in router.stderr()


async def test_a_server_that_reads_nothing_holds_one_request_only(tmp_path):
    """60 MB for a server that does not read: buffered once, and released with the client."""

    async def handler(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        if b" /v1/audio" in head:
            writer.transport.pause_reading()
            asked.set()
            await go_on.wait()
            writer.transport.resume_reading()
            await ended(reader)
        else:
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

    asked, go_on = asyncio.Event(), asyncio.Event()
    async with scripted(handler) as server:
        async with router_process(tmp_path, server.url) as router:
            (worker,) = await asyncio.to_thread(router.worker_pids)
            async with Watch(worker) as watch:
                async with client(router.port) as connection:
                    size = 60_000_000
                    head = f"POST /v1/audio HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n"
                    connection.send(head.encode())
                    connection.send(bytes(size))
                    await asyncio.wait_for(asked.wait(), 10)
                go_on.set()
                await until(lambda: memory(worker) < watch.before + 12 * MB)
            assert watch.growth < 2.5 * size
            await in_flight_is(router, 0)
