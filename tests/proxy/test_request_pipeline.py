"""Order of the responses, endings of the connection between them, and 100 Continue."""

import msgspec
import pytest

from fastroute.proxy.own_replies import OwnReply
from fastroute.proxy.request_reader import MAX_PIPELINED
from tests.support.judge import judge_replies, judge_requests
from tests.support.memory_router import memory_router, own_error
from tests.support.memory_transport import End

OK = b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 2\r\n\r\nhi"
GET = b"GET /v1/x HTTP/1.1\r\nHost: a\r\n\r\n"
CLOSE = b"GET /v1/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
POST = b"POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"
BAD = b"GET /v1/x HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n"


@pytest.fixture
def router():
    with memory_router() as router:
        yield router


def test_unknown_model(router):
    """No server is asked, and the connection goes on."""
    server = msgspec.structs.replace(router.routed[0], models=("known",))
    configured = router.state.configured
    router.state.configure(msgspec.structs.replace(configured, servers=(server,)))
    client, upstream = router.client(), router.pool.ready()
    for model, status in (("strange", 404), ("known", 200)):
        body = b'{"model":"%b"}' % model.encode()
        head = POST[:-4].replace(b": 4", b": %d" % len(body))
        client.feed(head + body)
        upstream.feed(*([OK] if upstream.take() else []))
        [reply] = judge_replies(client.take(), [b"POST"], closed=False)
        assert reply.status == status
    assert router.state.cells.process.unknown_models[0] == 1


def test_pipelined(router):
    """Answered in order, one at a time, also when the next has come in part."""
    client, upstream = router.client(), router.pool.ready()
    client.feed(POST + GET + POST[:-2])
    assert [r.method for r in judge_requests(upstream.take())] == [b"POST"]
    upstream.feed(OK)
    assert [r.method for r in judge_requests(upstream.take())] == [b"GET"]
    client.feed(POST[-2:])
    assert not upstream.writes
    upstream.feed(OK)
    [request] = judge_requests(upstream.take())
    assert request.body == b"body"
    upstream.feed(OK)
    assert client.take() == OK * 3
    assert client.end is End.OPEN


def test_pipelined_with_own_endpoints_and_a_bad_one(router):
    """What came before the bad one is answered first."""
    router.local[b"/health"] = lambda: OwnReply(200, b"{}")
    client, upstream = router.client(), router.pool.ready()
    own = GET.replace(b"/v1/x", b"/health")
    client.feed(own + GET + own + BAD + GET)
    assert client.writes[0].startswith(b"HTTP/1.1 200 OK\r\n")
    assert len(client.writes) == 1, "the others are behind the one that waits for a server"
    upstream.feed(OK)
    replies = judge_replies(client.written(), [b"GET"] * 4, closed=True)
    assert [reply.status for reply in replies] == [200, 200, 200, 400]
    assert len(judge_requests(upstream.written())) == 1
    assert router.state.cells.process.requests_local[0] == 2
    assert router.state.cells.process.requests_refused[0] == 1


@pytest.mark.parametrize("count", [MAX_PIPELINED + 1, MAX_PIPELINED + 2])
def test_too_many_ahead(router, count):
    """One is in hand and MAX_PIPELINED wait; the next is refused once those are answered."""
    client, upstream = router.client(), router.pool.ready()
    client.feed(GET * count)
    while upstream.take():
        upstream.feed(OK)
    replies = judge_replies(client.written(), [b"GET"] * count, closed=client.wrote_eof)
    refused = count - MAX_PIPELINED - 1
    assert [reply.status for reply in replies] == [200] * (MAX_PIPELINED + 1) + [429] * refused


def test_too_much_ahead():
    """Bodies that wait are bounded together as one body is."""
    with memory_router(max_body_bytes=7) as router:
        client, upstream = router.client(), router.pool.ready()
        client.feed(POST, POST, POST)
        upstream.feed(OK, OK)
        replies = judge_replies(client.written(), [b"POST"] * 3, closed=True)
        assert [reply.status for reply in replies] == [200, 200, 429]


def test_close(router):
    """The last request: what is behind it is not even looked at."""
    for rest in (b"", GET, BAD, b"\0\0\0"):
        client, upstream = router.client(), router.pool.ready()
        client.feed(CLOSE + rest)
        upstream.feed(OK)
        assert client.written() == OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
        assert client.end is End.CLOSED
        assert len(judge_requests(upstream.written())) == 1
        client.settle()


class TestContinue:
    HEAD = POST[:-8] + b"\r\nExpect: 100-continue\r\n\r\n"

    def test_invited(self, router):
        client, upstream = router.client(), router.pool.ready()
        client.feed(self.HEAD)
        assert client.take() == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.feed(b"bo", b"dy")
        assert not client.writes, "said once"
        [request] = judge_requests(upstream.written())
        assert request.body == b"body"
        assert not request.values(b"expect")

    @pytest.mark.parametrize("sent", [b"b", b"body"])
    def test_the_body_comes_unasked(self, router, sent):
        client = router.client()
        router.pool.ready()
        client.feed(self.HEAD + sent)
        assert not client.writes

    def test_pipelined(self, router):
        """Not before the reply to the request in front of it."""
        client, upstream = router.client(), router.pool.ready()
        client.feed(GET + self.HEAD)
        assert not client.writes
        upstream.feed(OK)
        assert client.take() == OK + b"HTTP/1.1 100 Continue\r\n\r\n"

    def test_refused(self):
        """What will be refused is not invited."""
        with memory_router(max_body_bytes=3) as router:
            client = router.client()
            client.feed(self.HEAD)
            assert own_error(client)[0] == 413
