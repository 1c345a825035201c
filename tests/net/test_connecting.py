import asyncio
import contextlib
import socket
import ssl

import pytest

from fastroute.net.connecting import ATTEMPT_DELAY, Endpoint, connect, limit_silence
from tests.support.ports import dropping, free_port
from tests.support.tls import Authority

FIRST, SECOND = "127.0.0.2", "127.0.0.1"


class Connection(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
        self.peer = transport.get_extra_info("peername")[0]


@contextlib.asynccontextmanager
async def accepting(address: str, port: int = 0, tls=None):
    server = await asyncio.get_running_loop().create_server(
        asyncio.Protocol, address, port, ssl=tls
    )
    async with server:
        yield server.sockets[0].getsockname()[1]


@contextlib.asynccontextmanager
async def connected(addresses, port, **options):
    connection = await connect(Connection, Endpoint(addresses, port, **options))
    yield connection
    connection.transport.abort()
    await asyncio.sleep(0)


async def test_an_address_that_drops_packets_costs_a_quarter_of_a_second():
    """It cost the whole connect timeout, and the next address was never tried."""
    loop = asyncio.get_running_loop()
    async with accepting(SECOND) as port:
        with dropping(FIRST, port):
            started = loop.time()
            async with connected([FIRST, SECOND], port) as connection:
                assert connection.peer == SECOND
                assert ATTEMPT_DELAY - 0.01 <= loop.time() - started < 4 * ATTEMPT_DELAY


async def test_an_address_that_refuses_costs_nothing():
    loop = asyncio.get_running_loop()
    async with accepting(SECOND) as port:
        started = loop.time()
        async with connected([FIRST, SECOND], port) as connection:
            assert connection.peer == SECOND
            assert loop.time() - started < ATTEMPT_DELAY


async def test_the_preferred_address_is_taken_where_both_accept():
    async with accepting(SECOND) as port, accepting(FIRST, port):
        async with connected([FIRST, SECOND], port) as connection:
            assert connection.peer == FIRST


@pytest.mark.parametrize("addresses", [[SECOND], [FIRST, SECOND]], ids=["one", "two"])
async def test_nobody_accepts(addresses):
    with pytest.raises(OSError, match=r"Connection refused$"):
        await connect(Connection, Endpoint(addresses, free_port()))


async def test_cancelled_while_racing_leaves_no_socket():
    port = free_port()
    with dropping(FIRST, port), dropping(SECOND, port):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2 * ATTEMPT_DELAY):
                await connect(Connection, Endpoint([FIRST, SECOND], port))


class TestTls:
    async def test_an_address_with_a_wrong_certificate_is_left_out(self):
        authority = Authority()
        async with accepting(SECOND, tls=authority.of_server("gpu-1")) as port:
            async with accepting(FIRST, port, tls=authority.of_server("gpu-2")):
                async with connected(
                    [FIRST, SECOND], port, tls=authority.trusting(), tls_name="gpu-1"
                ) as connection:
                    assert connection.peer == SECOND

    async def test_no_address_has_the_right_certificate(self):
        authority = Authority()
        async with accepting(SECOND, tls=authority.of_server("gpu-2")) as port:
            async with accepting(FIRST, port, tls=authority.of_server("gpu-2")):
                with pytest.raises(ssl.SSLCertVerificationError):
                    await connect(
                        Connection,
                        Endpoint([FIRST, SECOND], port, authority.trusting(), "gpu-1"),
                    )


class TestLimitSilence:
    @pytest.mark.parametrize(
        ("seconds", "idle", "interval"),
        [
            pytest.param(60, 30, 10, id="default"),
            pytest.param(6, 3, 1, id="short"),
            pytest.param(1, 1, 1, id="shortest"),
        ],
    )
    def test_probes_end_with_the_time(self, seconds, idle, interval):
        with socket.socket() as sock:
            limit_silence(sock, seconds)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == idle
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == interval
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 3
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == seconds * 1000

    def test_none_any_more(self):
        with socket.socket() as sock:
            limit_silence(sock, 60)
            limit_silence(sock, 0)
            assert not sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
            assert not sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)

    @pytest.mark.parametrize("addresses", [[SECOND], [FIRST, SECOND]], ids=["one", "two"])
    async def test_connections_have_it(self, addresses):
        async with accepting(SECOND) as port:
            async with connected(addresses, port, tcp_timeout=60) as connection:
                shown = connection.transport.get_extra_info("socket")
                assert shown.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 60_000

    async def test_accepted_connections_inherit_it(self):
        with socket.create_server((SECOND, 0)) as listener:
            limit_silence(listener, 60)
            with socket.create_connection(listener.getsockname()), listener.accept()[0] as accepted:
                assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                user_timeout = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
                assert user_timeout == 60_000
