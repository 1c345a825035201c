import asyncio
import contextlib
import ssl

import pytest
import trustme

from fastroute.config import Config
from fastroute.ipc.messages import RoutedServer
from fastroute.net.connecting import ATTEMPT_DELAY
from fastroute.net.resolver import Resolver
from fastroute.proxy.server import MAX_CONNECTS, Server
from fastroute.rules.server_state import ServerState
from tests.support.endings import refusing_url
from tests.support.memory_router import memory_router
from tests.support.memory_transport import End
from tests.support.names import Names
from tests.support.ports import dropping, free_port
from tests.support.scripted import scripted
from tests.support.standins import until

IDLE = 4.0


@pytest.fixture
def router():
    with memory_router(pool_idle_timeout=IDLE) as router:
        yield router


def pool_for(
    url: str,
    tls: ssl.SSLContext | None = None,
    resolver: Resolver | None = None,
    **server,
) -> Server:
    routed = RoutedServer(row=3, generation=7, url=url, max_concurrent_requests=8, **server)
    resolver = resolver or Resolver()
    made = ssl.create_default_context if tls is None else lambda: tls
    return Server(routed, Config(servers=()), made, resolver)


class TestIdle:
    """Times are given: the pool looks at no clock."""

    def test_newest_first(self, router):
        pool = router.pool
        upstreams = [pool.open() for _ in range(3)]
        for upstream in upstreams:
            pool.give_back(upstream, 100.0)
        assert [pool.take_idle(100.0) for _ in range(4)] == [*reversed(upstreams), None]

    def test_what_is_given_back_is_used(self, router):
        upstream = router.pool.open()
        assert not upstream.reused
        router.pool.give_back(upstream, 100.0)
        assert upstream.reused
        assert upstream.idle_since == 100.0

    @pytest.mark.parametrize(
        ("age", "kept"), [(0.0, True), (IDLE - 0.01, True), (IDLE, False), (1000.0, False)]
    )
    def test_too_old(self, router, age, kept):
        """The server may be closing it just now: vLLM does after 5 s."""
        pool = router.pool
        upstream = pool.open()
        pool.give_back(upstream, 100.0)
        assert (pool.take_idle(100.0 + age) is upstream) is kept
        assert (pool.upstreams[0].end is End.OPEN) is kept

    def test_with_the_newest_all_are_too_old(self, router):
        pool = router.pool
        for _ in range(3):
            pool.give_back(pool.open(), 100.0)
        assert pool.take_idle(200.0) is None
        assert [transport.end for transport in pool.upstreams] == [End.ABORTED] * 3
        assert pool.take_idle(100.0) is None

    def test_expire(self, router):
        """Oldest first, and no further than needed."""
        pool = router.pool
        for since in (100.0, 101.0, 102.0):
            pool.give_back(pool.open(), since)
        pool.expire_idle(101.0 + IDLE)
        assert [t.end for t in pool.upstreams] == [End.ABORTED, End.ABORTED, End.OPEN]
        assert pool.take_idle(102.0) is pool.upstreams[2].protocol
        pool.expire_idle(1000.0)

    @pytest.mark.parametrize("ended", [0, 1, 2])
    @pytest.mark.parametrize("how", ["eof", "bytes"])
    def test_one_ends(self, router, ended, how):
        pool = router.pool
        for _ in range(3):
            pool.give_back(pool.open(), 100.0)
        gone = pool.upstreams[ended]
        if how == "eof":
            gone.eof()
        else:
            gone.feed(b"x")
            gone.settle()
        left = [pool.take_idle(100.0) for _ in range(3)]
        assert left[2] is None
        assert gone.protocol not in left

    def test_close_idle(self, router):
        pool = router.pool
        idle, taken = pool.open(), pool.open()
        pool.give_back(idle, 100.0)
        pool.close_idle()
        assert [transport.end for transport in pool.upstreams] == [End.ABORTED, End.OPEN]
        assert pool.take_idle(100.0) is None
        taken.cancel()

    def test_never_reused(self):
        with memory_router(pool_idle_timeout=0.0) as router:
            router.pool.give_back(router.pool.open(), 100.0)
            assert router.pool.take_idle(100.0) is None

    def test_a_removed_server(self, router):
        """Nobody will take the connection, and nobody would look at its age."""
        router.pool.state = ServerState.FREE
        router.pool.give_back(router.pool.open(), 100.0)
        assert router.pool.upstreams[0].end is End.ABORTED
        assert router.pool.take_idle(100.0) is None

    def test_repr(self, router):
        router.pool.give_back(router.pool.open(), 100.0)
        assert repr(router.pool) == "<Server http://server-0:8000 row=0 idle=1>"


class TestServer:
    @pytest.mark.parametrize(
        ("url", "authority"),
        [
            pytest.param("http://gpu-1:8000", b"gpu-1:8000", id="port"),
            pytest.param("http://gpu-1", b"gpu-1", id="usual-port"),
            pytest.param("https://gpu-1:443", b"gpu-1", id="usual-port-https"),
            pytest.param("http://[::1]:8000", b"[::1]:8000", id="ipv6"),
        ],
    )
    async def test_authority(self, url, authority):
        assert pool_for(url).authority == authority

    async def test_one_that_dns_found_is_called_by_its_name(self):
        pool = pool_for("http://10.0.0.1:8000", discovered_from="http+dns://vllm:8000")
        assert (pool.url, pool.authority) == ("http://10.0.0.1:8000", b"vllm:8000")

    async def test_settings(self):
        pool = pool_for("http://a", weight=0.5, api_key="k", models=("m",))
        assert (pool.row, pool.generation, pool.url) == (3, 7, "http://a")
        assert pool.capacity == 4.0
        assert pool.state is ServerState.FREE, "until it is read from the table"
        assert pool.models == ("m",)
        assert pool.authorization == b"Bearer k"

    async def test_configured_anew(self):
        """The connections stay; all else may change."""
        pool = pool_for("http://a", api_key="k")
        server = RoutedServer(row=3, generation=7, url="http://a", max_concurrent_requests=2)
        pool.configure(server, Config(servers=(), pool_idle_timeout=1.0))
        assert (pool.capacity, pool.authorization, pool.models) == (2, None, None)

    async def test_found_by_another_name(self, router):
        pool = router.pool
        pool.give_back(pool.open(), 100.0)
        fields = {"row": 0, "generation": 1, "url": pool.url, "max_concurrent_requests": 2}
        named = RoutedServer(**fields, discovered_from="http+dns://vllm:8000")
        for _ in range(2):
            pool.configure(named, Config(servers=(), pool_idle_timeout=IDLE))
            assert pool.authority == b"vllm:8000"
            assert pool.upstreams[0].end is End.ABORTED
            pool.give_back(pool.open(), 100.0)
        assert pool.upstreams[-2].end is End.OPEN, "the same name again changes nothing"
        pool.configure(RoutedServer(**fields), Config(servers=()))
        assert pool.authority == b"server-0:8000"


async def wait_for_end(reader, writer):
    await reader.read()


class TestConnect:
    async def test_plain(self):
        async with scripted(wait_for_end) as server:
            upstream = await pool_for(server.url).connect(5.0)
            assert upstream.is_idle()
            assert not upstream.reused
            upstream.cancel()

    async def test_no_cap(self):
        """vLLM queues by itself; a queue of ours would only hide that."""
        async with scripted(wait_for_end) as server:
            pool = pool_for(server.url)
            upstreams = await asyncio.gather(*(pool.connect(5.0) for _ in range(50)))
            await until(lambda: server.connections == 50)
            for upstream in upstreams:
                upstream.cancel()

    async def test_more_at_once_than_the_accept_queue_of_the_server_holds(self):
        """Of 1,000 connections at once, 666 were lost where the queue was 128 long."""
        async with scripted(wait_for_end, backlog=128) as server:
            pool = pool_for(server.url)
            async with asyncio.timeout(20):
                upstreams = await asyncio.gather(*(pool.connect(5.0) for _ in range(1000)))
            for upstream in upstreams:
                upstream.cancel()

    async def test_connecting_that_is_given_up_makes_way_for_others(self):
        port = free_port()
        pool = pool_for(f"http://127.0.0.1:{port}")
        with dropping("127.0.0.1", port):
            waiting = [asyncio.ensure_future(pool.connect(5.0)) for _ in range(MAX_CONNECTS)]
            await asyncio.sleep(0)
            for each in waiting:
                each.cancel()
            await asyncio.wait(waiting)
        async with asyncio.timeout(5):
            with pytest.raises(ConnectionRefusedError):
                await pool.connect(5.0)

    async def test_waiting_for_others_to_connect_has_a_time_of_its_own(self):
        """In a burst over a slow link: it says nothing about the server."""
        async with scripted(wait_for_end) as server:
            pool = pool_for(server.url)
            for _ in range(MAX_CONNECTS):
                await pool._connects.acquire()
            with pytest.raises(TimeoutError):
                await pool.connect(0.01)
            waiting = asyncio.create_task(pool.connect(5.0))
            await asyncio.sleep(0)
            pool._connects.release()
            (await waiting).cancel()

    async def test_refused(self):
        with refusing_url() as url:
            pool = pool_for(url)
            with pytest.raises(ConnectionRefusedError):
                await pool.connect(5.0)


class TestConnectByName:
    async def test_to_the_first_address_that_takes_it(self):
        """As the system's own way, but with the look-up apart."""
        async with scripted(wait_for_end) as server:
            names = Names(vllm=("127.0.0.9", "::9", "127.0.0.1"))
            url = server.url.replace("127.0.0.1", "vllm")
            upstream = await pool_for(url, resolver=names.resolver).connect(5.0)
            assert upstream.transport.get_extra_info("peername")[0] == "127.0.0.1"
            upstream.cancel()

    async def test_past_an_address_that_drops_packets(self):
        """A timeout of connecting was the answer, and the good address was never tried."""
        async with scripted(wait_for_end) as server:
            port = int(server.url.rpartition(":")[2])
            names = Names(vllm=("127.0.0.9", "127.0.0.1"))
            pool = pool_for(f"http://vllm:{port}", resolver=names.resolver)
            with dropping("127.0.0.9", port):
                async with asyncio.timeout(4 * ATTEMPT_DELAY):
                    (await pool.connect(5.0)).cancel()
                async with asyncio.timeout(ATTEMPT_DELAY - 0.05):
                    (await pool.connect(5.0)).cancel()  # the good address is remembered

    async def test_none_takes_it(self):
        names = Names(vllm=("127.0.0.8", "127.0.0.9"))
        with refusing_url() as url:
            pool = pool_for(url.replace("127.0.0.1", "vllm"), resolver=names.resolver)
            with pytest.raises(ConnectionRefusedError):
                await pool.connect(5.0)

    async def test_no_such_name(self):
        with pytest.raises(OSError, match="no such name"):
            await pool_for("http://vllm:8000", resolver=Names().resolver).connect(5.0)

    async def test_an_address_needs_no_look_up(self):
        async with scripted(wait_for_end) as server:
            names = Names()
            (await pool_for(server.url, resolver=names.resolver).connect(5.0)).cancel()
            assert not names.asked

    @pytest.mark.parametrize(("host", "asked"), [("vllm", 1), ("127.0.0.1", 0)])
    async def test_looked_up_beforehand(self, host, asked):
        names = Names(vllm=("127.0.0.1",))
        pool = pool_for(f"http://{host}:9", resolver=names.resolver)
        for _ in range(3):
            pool.resolve_ahead()
        await until(lambda: names.asked.total() == asked)
        await until(lambda: not names.resolver._pending)
        assert names.asked.total() == asked

    async def test_a_resolver_that_hangs_keeps_nobody_from_servers_that_are_known(self):
        names = Names(fresh=0.0, vllm=("127.0.0.1",))
        async with scripted(wait_for_end) as server:
            pool = pool_for(server.url.replace("127.0.0.1", "vllm"), resolver=names.resolver)
            (await pool.connect(5.0)).cancel()
            names.hang()
            async with asyncio.timeout(2):
                (await pool.connect(5.0)).cancel()
            names.go_on()


@contextlib.asynccontextmanager
async def tls_server(authority: trustme.CA, *names: str):
    """A server with a certificate for these names; yields its port."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*names).configure_cert(context)

    async def handler(reader, writer):
        with contextlib.suppress(OSError):
            await reader.read()
        writer.close()

    server = await asyncio.start_server(handler, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


class TestTls:
    async def test_verified(self):
        authority = trustme.CA()
        trusting = ssl.create_default_context()
        authority.configure_trust(trusting)
        async with tls_server(authority, "localhost") as port:
            upstream = await pool_for(f"https://localhost:{port}", trusting).connect(5.0)
            assert upstream.transport.get_extra_info("ssl_object") is not None
            upstream.cancel()

    async def test_unknown_authority(self):
        """An OSError, so that another server is asked."""
        async with tls_server(trustme.CA(), "localhost") as port:
            with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
                await pool_for(f"https://localhost:{port}").connect(5.0)

    async def test_certificate_of_another_name(self):
        authority = trustme.CA()
        trusting = ssl.create_default_context()
        authority.configure_trust(trusting)
        async with tls_server(authority, "other.example") as port:
            with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
                await pool_for(f"https://localhost:{port}", trusting).connect(5.0)

    async def test_one_that_dns_found_must_have_the_name(self):
        authority = trustme.CA()
        trusting = ssl.create_default_context()
        authority.configure_trust(trusting)
        async with tls_server(authority, "vllm.example") as port:
            url = f"https://127.0.0.1:{port}"
            found_by = f"https+dns://vllm.example:{port}"
            upstream = await pool_for(url, trusting, discovered_from=found_by).connect(5.0)
            upstream.cancel()
            with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
                await pool_for(url, trusting, discovered_from=f"https+dns://x:{port}").connect(5.0)

    async def test_a_server_without_tls(self):
        async def plain(reader, writer):
            await reader.read(1)
            writer.write(b"HTTP/1.1 400 Bad Request\r\nDate: x\r\n\r\n")

        async with scripted(plain) as server:
            url = server.url.replace("http:", "https:")
            with pytest.raises(OSError, match=r"WRONG_VERSION_NUMBER|wrong version number"):
                await pool_for(url).connect(5.0)
