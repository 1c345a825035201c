"""Reading of requests, limits, and the end of a refused connection."""

import pytest

from fastroute.proxy.client import LINGER_S, WRITE_HIGH_BYTES, ClientConnection
from fastroute.proxy.own_replies import Listener
from tests.support.judge import judge_requests
from tests.support.memory_router import memory_router, own_error
from tests.support.memory_transport import End, MemoryTransport

OK = b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 2\r\n\r\nhi"
GET = b"GET /v1/x HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"
CHUNKED_POST = (
    b"POST /v1/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2;x=y\r\nbo\r\n2\r\ndy\r\n0\r\nX-Sum: 1\r\n\r\n"
)
BAD = b"GET /v1/x HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n"


@pytest.fixture
def router():
    with memory_router() as router:
        yield router


class TestRequests:
    @pytest.mark.exhaustive
    @pytest.mark.parametrize("data", [POST, CHUNKED_POST], ids=["length", "chunked"])
    def test_split_anywhere(self, router, data):
        client, upstream = router.client(), router.pool.ready()
        for first in range(len(data)):
            for second in range(first, len(data)):
                client.feed(data[:first], data[first:second], data[second:])
                [request] = judge_requests(upstream.take())
                assert request.body == b"body"
                assert request.values(b"content-length") == [b"4"]
                assert not request.values(b"x-sum"), "trailers are dropped"
                upstream.feed(OK)
                assert client.take() == OK

    def test_in_one_write(self, router):
        """The head is rendered once and goes out with the body, once the request is whole."""
        client, upstream = router.client("2001:db8::1"), router.pool.ready()
        client.feed(POST[:-1])
        assert not upstream.writes
        client.feed(POST[-1:])
        assert len(upstream.writes) == 1
        [request] = judge_requests(upstream.written())
        assert request.values(b"x-forwarded-for") == [b"2001:db8::1"]

    @pytest.mark.parametrize(
        ("peer", "shown"),
        [
            pytest.param("192.0.2.7", b"192.0.2.7", id="ipv4"),
            pytest.param("::ffff:192.0.2.7", b"192.0.2.7", id="ipv4-at-an-ipv6-socket"),
            pytest.param("2001:db8::ffff:1", b"2001:db8::ffff:1", id="ipv6"),
        ],
    )
    def test_the_clients_address(self, router, peer, shown):
        upstream = router.pool.ready()
        router.client(peer).feed(GET)
        [request] = judge_requests(upstream.written())
        assert request.values(b"x-forwarded-for") == [shown]

    def test_the_same_head_from_two_clients(self, router):
        """Each is told apart by its address; so are their requests by id and length."""
        ids = set()
        for address in ("1.1.1.1", "2.2.2.2", "1.1.1.1"):
            for body in (b"body", b"longer body"):
                client, upstream = router.client(address), router.pool.ready()
                client.feed(POST.replace(b": 4", b": %d" % len(body))[:-4] + body)
                [request] = judge_requests(upstream.written())
                assert request.values(b"x-forwarded-for") == [address.encode()]
                assert request.body == body
                ids.update(request.values(b"x-request-id"))
                client.lose(None)
        assert len(ids) == 6

    def test_a_known_head_does_not_go_round_the_limits(self):
        """What is too long now is refused, though its head was fine with a shorter body."""
        with memory_router(max_body_bytes=4) as router:
            router.pool.ready()
            router.client().feed(POST)
            client, upstream = router.client(), router.pool.ready()
            client.feed(POST.replace(b": 4", b": 5") + b"x")
            assert own_error(client)[0] == 413
            assert not upstream.writes

    def test_line_ends_between_requests(self, router):
        """RFC 9112 2.2: some clients send one behind a body."""
        client, upstream = router.client(), router.pool.ready()
        client.feed(b"\r\n" + POST + b"\r\n", b"\r\n" + GET)
        upstream.feed(OK, OK)
        assert client.take() == OK * 2

    def test_proxy_connection_close(self, router):
        """To the parser this old field is Connection: then the reply must say close as well."""
        client, upstream = router.client(), router.pool.ready()
        client.feed(GET.replace(b"\r\n\r\n", b"\r\nProxy-Connection: close\r\n\r\n"))
        upstream.feed(OK)
        reply = client.take()
        if client.end is End.OPEN:
            client.feed(GET)
            upstream.feed(OK)
            assert client.take() == OK
        else:
            assert b"\r\nconnection: close\r\n" in reply


class TestLimits:
    @pytest.mark.parametrize("piece", [1, 100, 1000, 1024, 1_000_000])
    def test_head_too_long(self, piece):
        """However it is cut; just the limit is allowed."""
        with memory_router(max_header_bytes=1024) as router:
            for size, allowed in ((800, True), (1100, False)):
                data = GET.replace(b"\r\n\r\n", b"\r\nX: " + b"a" * size + b"\r\n\r\n")
                client, upstream = router.client(), router.pool.ready()
                client.feed(*(data[i : i + piece] for i in range(0, len(data), piece)))
                assert bool(upstream.written()) is allowed
                if not allowed:
                    assert own_error(client)[0] == 431
                    assert client.wrote_eof
                client.abort()
                client.settle()

    def test_head_without_an_end(self):
        with memory_router(max_header_bytes=1024) as router:
            client = router.client()
            client.feed(GET[:-2], *[b"X: y\r\n"] * 200)
            assert own_error(client)[0] == 431

    @pytest.mark.parametrize(
        "endless",
        [
            pytest.param(b"1;" + b"x" * 2000, id="chunk-extension"),
            pytest.param(b"0\r\nX: " + b"x" * 2000, id="trailer"),
        ],
    )
    def test_body_without_an_end(self, endless):
        with memory_router(max_header_bytes=1024) as router:
            client = router.client()
            client.feed(CHUNKED_POST[: CHUNKED_POST.index(b"\r\n\r\n") + 4])
            client.feed(*(endless[i : i + 100] for i in range(0, len(endless), 100)))
            assert own_error(client)[0] == 431

    def test_body_too_long_by_its_length(self):
        """Refused with the head: the body need not come at all."""
        with memory_router(max_body_bytes=3) as router:
            client = router.client()
            client.feed(POST[:-4])
            assert own_error(client)[0] == 413

    def test_body_too_long_in_chunks(self):
        with memory_router(max_body_bytes=3) as router:
            client, upstream = router.client(), router.pool.ready()
            client.feed(CHUNKED_POST)
            assert own_error(client)[0] == 413
            assert not upstream.written()
        with memory_router(max_body_bytes=4) as router:
            client, upstream = router.client(), router.pool.ready()
            client.feed(CHUNKED_POST)
            assert upstream.written()

    def test_too_many_connections(self):
        with memory_router(max_connections=2) as router:
            first, second = router.client(), router.client()
            for each in (first, second):
                each.feed(GET[:5])
            third = router.client()
            assert own_error(third)[0] == 503
            assert third.wrote_eof
            assert not first.writes + second.writes
            third.feed(GET)
            assert len(third.writes) == 1, "nothing more is said to it"
            router.sweep(LINGER_S)
            third.settle()
            second.eof()
            second.settle()
            assert router.client().end is End.OPEN

    def test_the_one_idle_for_longest_gives_way(self):
        with memory_router(max_connections=3, client_idle_timeout=75.0) as router:
            busy, oldest, other = router.client(), router.client(), router.client()
            upstream = router.pool.ready()
            busy.feed(GET)
            router.sweep(1)
            other.feed(POST[:-1])
            fourth = router.client()
            assert oldest.end is End.CLOSED
            assert not oldest.writes
            oldest.settle()
            router.sweep(1)
            upstream.feed(OK)
            for each in (busy, other, fourth):
                assert each.end is End.OPEN
            fifth = router.client()
            assert fourth.end is End.CLOSED, "the other one was answered later"
            assert (busy.end, fifth.end) == (End.OPEN, End.OPEN)

    def test_connections_of_one_address(self):
        with memory_router(max_connections_per_address=2) as router:
            first = [router.client("192.0.2.1") for _ in range(2)]
            assert own_error(router.client("192.0.2.1")) == (
                429,
                "too many connections from this address",
            )
            assert router.client("192.0.2.2").end is End.OPEN
            first[0].lose(None)
            for client in list(router.state.clients):
                if client._transport.wrote_eof:
                    client._transport.lose(None)
            assert not router.client("192.0.2.1").writes

    def test_ipv6_networks_are_one_address(self):
        with memory_router(max_connections_per_address=1) as router:
            router.client("2001:db8:0:1::1")
            assert own_error(router.client("2001:db8:0:1:ffff::2"))[0] == 429
            assert not router.client("2001:db8:0:2::1").writes
            assert not router.client("fe80::1%eth0").writes

    def test_too_many_connections_but_not_for_operators(self):
        """At the admin port one can still ask what is wrong."""
        with memory_router(max_connections=1) as router:
            first = router.client()
            first.feed(GET[:5])
            admin = ClientConnection(router.state, Listener({}, forwards=False))
            operator = MemoryTransport(admin)
            assert not operator.writes
            assert router.client().writes
            assert not first.writes

    def test_write_limit(self, router):
        assert router.client().high == WRITE_HIGH_BYTES


def test_refused_client_is_let_go(router):
    """What it still sends is thrown away for a while, or a reset would destroy the answer."""
    client = router.client()
    client.feed(BAD)
    assert own_error(client)[0] == 400
    client.take()
    client.feed(GET, b"\0" * 1000)
    assert not client.writes
    assert client.end is End.OPEN
    router.sweep(LINGER_S - 0.1)
    assert client.end is End.OPEN
    router.sweep(0.1)
    assert client.end is End.ABORTED


def test_repr(router):
    client = router.client("1.2.3.4")
    router.pool.ready()
    assert repr(client.protocol) == "<ClientConnection b'1.2.3.4' BETWEEN None>"
    client.feed(GET)
    assert "WAITING server=http://server-0:8000>" in repr(client.protocol)
