"""The head of an event stream is held until its first event, and may be replaced until then."""

import asyncio

import pytest

from fastroute.rules.evidence import Event
from fastroute.rules.server_state import ServerState
from tests.support.captures import expected, load_captures
from tests.support.judge import judge_replies, judge_requests
from tests.support.memory_router import memory_router, own_error
from tests.support.memory_transport import End

STREAMS = [
    capture
    for capture in load_captures()
    if capture.replies[0]
    and b"content-type: text/event-stream" in capture.replies[0]
    and len(capture.replies[0]) < 4000
]
BODY = b'{"stream":true}'
POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 15\r\n\r\n" + BODY
OLD = POST.replace(b"HTTP/1.1", b"HTTP/1.0")
HEAD = b"HEAD /v1/chat/completions HTTP/1.1\r\nHost: a\r\n\r\n"
STREAM = (
    b"HTTP/1.1 200 OK\r\nDate: x\r\ncontent-type: text/event-stream\r\nx-accel-buffering: no\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
EVENT = b"9\r\ndata: 1\n\n\r\n"
END = b"0\r\n\r\n"
JSON = b"HTTP/1.1 200 OK\r\nDate: x\r\nTransfer-Encoding: chunked\r\n\r\n"
SILENCE = 5.0


@pytest.fixture
def two():
    """Two servers; the first is the one to be chosen, as the other has more to do."""
    with memory_router(servers=2, request_timeout=SILENCE) as router:
        router.table.servers.foreign_milli[1] = 1000
        router.observed = router.link.observed
        yield router


def asked(router, request: bytes = POST, *, reused: bool = False):
    """A client whose request is with the first server; and idle connections to both."""
    client, first = router.client(), router.pools[0].ready(reused=reused)
    second = router.pools[1].ready()
    client.feed(request)
    assert first.take()
    return client, first, second


class TestOneWrite:
    def test_head_and_first_event(self, two):
        client, first, _ = asked(two)
        first.feed(STREAM)
        assert not client.writes
        first.feed(EVENT)
        assert client.writes == [STREAM + EVENT]
        first.feed(EVENT)
        assert client.writes == [STREAM + EVENT, EVENT], "the next leaves as it comes"
        first.feed(END)
        assert client.writes[2:] == [END]
        assert two.count("events") == 3

    def test_they_came_together(self, two):
        client, first, _ = asked(two)
        first.feed(STREAM + EVENT, END)
        assert client.writes == [STREAM + EVENT, END]

    def test_only_event_streams_wait(self, two):
        client, first, _ = asked(two)
        first.feed(JSON)
        assert client.writes == [JSON]

    def test_without_any_event(self, two):
        client, first, _ = asked(two)
        first.feed(STREAM)
        first.feed(END)
        assert client.written() == STREAM + END
        assert two.count("finished_2xx") == 1
        assert two.count("started") == 1

    def test_head_has_no_body(self, two):
        client, first, _ = asked(two, HEAD)
        first.feed(STREAM)
        assert client.writes == [STREAM]
        assert two.count("finished_2xx") == 1

    def test_an_error_is_held_as_ever(self, two):
        """Its status decides, not its type."""
        refusal = STREAM.replace(b"200 OK", b"400 Bad Request")
        client, first, _ = asked(two)
        first.feed(refusal)
        first.feed(EVENT + END)
        assert client.written() == refusal + EVENT + END

    @pytest.mark.parametrize("capture", STREAMS, ids=lambda capture: capture.name)
    def test_split_at_every_byte(self, capture):
        """The client gets its first bytes as soon as a byte of the body came, and not before."""
        [reply] = capture.replies
        head = reply.index(b"\r\n\r\n") + 4
        with memory_router() as router:
            for split in range(1, len(reply)):
                client, upstream = router.client(), router.pool.ready()
                client.feed(POST)
                upstream.feed(reply[:split])
                assert client.written() == (expected(reply[:split]) if split > head else b"")
                upstream.feed(reply[split:])
                assert client.written() == expected(reply)
                assert len(client.writes) == (2 if split > head else 1)
                router.pool.close_idle()
                client.abort()
                client.settle()


class TestHttp10:
    def test_first_event(self, two):
        """The size of a chunk alone is nothing for this client, so it does not end the wait."""
        client, first, _ = asked(two, OLD)
        first.feed(STREAM)
        first.feed(EVENT[:1])
        first.feed(EVENT[1:3])
        assert not client.writes
        first.feed(EVENT[3:], END)
        head, _, body = client.written().partition(b"\r\n\r\n")
        assert b"chunked" not in head
        assert body == b"data: 1\n\n"
        assert client.writes[0].endswith(b"data: 1\n\n")
        assert client.end is End.CLOSED

    def test_server_lost_first(self, two):
        client, first, second = asked(two, OLD)
        first.feed(STREAM, EVENT[:3])
        first.eof()
        second.feed(STREAM, EVENT, END)
        assert client.written().count(b"HTTP/1.1 200") == 1
        assert client.written().endswith(b"\r\n\r\ndata: 1\n\n")


class TestServerLost:
    @pytest.mark.parametrize("reused", [False, True], ids=["fresh", "reused"])
    def test_before_the_first_event(self, two, reused):
        """Another server is asked: the head proves that the connection was not a stale one."""
        client, first, second = asked(two, reused=reused)
        first.feed(STREAM)
        first.eof()
        assert judge_requests(second.take())[0].body == BODY
        assert not client.writes
        second.feed(STREAM)
        assert not client.writes, "the second is no better until it says something"
        assert not two.observed
        second.feed(EVENT)
        assert client.writes == [STREAM + EVENT]
        [observed] = two.observed
        assert (observed.row, observed.kind) == (0, Event.REQUEST_FAILED)
        second.feed(END)
        assert two.state.cells.retries_reset.tolist() == [0, 1]
        assert two.state.cells.failed.tolist() == [1, 0]
        assert two.state.cells.finished_2xx.tolist() == [0, 1]

    def test_broken_before_the_first_event(self, two):
        client, first, second = asked(two)
        first.feed(STREAM, b"ZZ\r\n")
        assert first.end is End.ABORTED
        assert not client.writes
        second.feed(STREAM, EVENT, END)
        assert client.written() == STREAM + EVENT + END

    def test_after_the_first_event(self, two):
        client, first, second = asked(two)
        first.feed(STREAM, EVENT)
        first.eof()
        assert client.written() == STREAM + EVENT
        assert client.end is End.CLOSED
        assert not second.take()
        [judged] = judge_replies(client.written(), [b"POST"], closed=True)
        assert not judged.whole

    def test_on_both(self, two):
        client, first, second = asked(two)
        first.feed(STREAM)
        first.eof()
        second.feed(STREAM)
        second.eof()
        assert own_error(client) == (502, "the server failed: connection closed")
        assert not two.observed, "the request is to blame"
        assert two.state.cells.failed.tolist() == [1, 1]

    def test_silent_after_its_head(self, two):
        """It may be generating, and so the request is not sent again."""
        client, first, second = asked(two)
        first.feed(STREAM)
        two.sweep(SILENCE)
        two.sweep(SILENCE)
        assert own_error(client)[0] == 504
        assert first.end is End.ABORTED
        assert not second.take()
        assert [observed.kind for observed in two.observed] == [Event.REQUEST_SILENT]

    def test_on_trial(self, two):
        """A head proves nothing; the first event does."""
        two.table.set_state(0, ServerState.TRIAL)
        _, first, _ = asked(two)
        first.feed(STREAM)
        assert not two.observed
        first.feed(EVENT)
        assert [observed.kind for observed in two.observed] == [Event.REQUEST_OK]


class TestClient:
    def test_gone(self, two):
        client, first, _ = asked(two)
        first.feed(STREAM)
        client.lose(None)
        assert first.end is End.ABORTED
        assert two.count("aborts_waiting") == 1
        assert two.count("aborts_replying") == 0

    def test_paused(self, two):
        """Neither the server's silence nor its loss is held against anybody meanwhile."""
        client, first, _ = asked(two)
        first.feed(STREAM)
        client.fill()
        assert not first.reading
        two.sweep(SILENCE)
        two.sweep(SILENCE)
        assert not client.writes
        second = two.pools[1].ready()  # the one before was idle for too long
        first.lose(ConnectionResetError())
        assert second.take()
        assert not second.reading
        client.drain()
        assert second.reading
        second.feed(STREAM, EVENT, END)
        assert client.written() == STREAM + EVENT + END

    def test_cut_while_it_waits(self, two):
        """The worker stops: the client has nothing yet, and so it gets an error."""
        client, first, _ = asked(two)
        first.feed(STREAM)
        client.protocol.cut()
        assert own_error(client)[0] == 503
        assert first.end is End.ABORTED


async def test_a_new_connection_is_made_for_the_second():
    with memory_router(asyncio.get_running_loop(), servers=2) as router:
        router.table.servers.foreign_milli[1] = 1000
        client, first = router.client(), router.pools[0].ready()
        client.feed(POST)
        first.feed(STREAM)
        first.eof()
        second = await router.asked(server=1)
        second.feed(STREAM, EVENT, END)
        assert client.written() == STREAM + EVENT + END
