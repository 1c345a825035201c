"""What real vLLM servers said, and were asked, passes through unchanged however it is cut."""

import logging
import random

import pytest

from fastroute.rules.head_match import HeadMatcher
from tests.support.captures import Capture, expected, load_captures
from tests.support.judge import judge_replies, judge_requests
from tests.support.memory_router import MemoryRouter, memory_router
from tests.support.memory_transport import End, MemoryTransport

pytestmark = pytest.mark.exhaustive

CAPTURES = load_captures()
WITH_REPLY = [capture for capture in CAPTURES if capture.replies[0]]
SILENT = [capture for capture in CAPTURES if not capture.replies[0]]
STREAMS = [
    capture
    for capture in WITH_REPLY
    if b"text/event-stream" in capture.replies[0] and len(capture.replies[0]) < 1500
]


def ids(capture: Capture) -> str:
    return capture.name


def request(method: bytes) -> bytes:
    length = b"" if method == b"HEAD" else b"Content-Length: 2\r\n"
    body = b"" if method == b"HEAD" else b"{}"
    return b"%b /v1/x HTTP/1.1\r\nHost: fastroute\r\n%b\r\n%b" % (method, length, body)


class Replay:
    """Sends replies to one client through one data plane, again and again."""

    def __init__(self, router: MemoryRouter, capture: Capture) -> None:
        self.router = router
        self.requests = list(map(request, capture.methods))
        self.replies = capture.replies
        self.expected = list(map(expected, capture.replies))
        self.client = router.client()
        self.upstream: MemoryTransport | None = None

    def run(self, number: int, segments: list[bytes], *, known: bool = False) -> None:
        """Ask, let a reply arrive in these segments, and compare.

        Args:
            number: Of the reply.
            segments: Its bytes.
            known: Whether heads that came before may be taken without parsing them.
        """
        if not known:
            self.router.pool.known_replies = HeadMatcher(10)
        if self.upstream is None or self.upstream.end is not End.OPEN:
            self.upstream = self.router.pool.ready()
        self.client.feed(self.requests[number])
        assert self.upstream.take(), "the request did not reach the server"
        self.upstream.feed(*segments)
        assert self.client.take() == self.expected[number]
        assert self.client.end is End.OPEN
        self.upstream.settle()


@pytest.mark.parametrize("capture", WITH_REPLY, ids=ids)
def test_at_every_split_point(capture):
    with memory_router() as router:
        replay = Replay(router, capture)
        for number, reply in enumerate(capture.replies):
            for split in range(len(reply)):
                replay.run(number, [reply[:split], reply[split:]])
            assert router.count("failed") == 0


@pytest.mark.parametrize("capture", WITH_REPLY, ids=ids)
def test_a_known_head_at_every_split_point(capture):
    """Once more, where the same head came before; of long replies the beginning."""
    with memory_router() as router:
        replay = Replay(router, capture)
        for number, reply in enumerate(capture.replies):
            for split in range(min(len(reply), 1000)):
                replay.run(number, [reply[:split], reply[split:]], known=True)


@pytest.mark.parametrize("capture", WITH_REPLY, ids=ids)
def test_byte_by_byte(capture):
    with memory_router() as router:
        replay = Replay(router, capture)
        for number, reply in enumerate(capture.replies):
            replay.run(number, [reply[i : i + 1] for i in range(len(reply))])


@pytest.mark.parametrize("capture", WITH_REPLY, ids=ids)
def test_at_pairs_of_split_points(capture):
    """A sample: all pairs of the shapes of replies are in tests/proxy/test_reply_shapes.py."""
    rng = random.Random(capture.name)
    with memory_router() as router:
        replay = Replay(router, capture)
        for number, reply in enumerate(capture.replies):
            for _ in range(100):
                first, second = sorted(rng.choices(range(len(reply) + 1), k=2))
                replay.run(number, [reply[:first], reply[first:second], reply[second:]])


@pytest.mark.parametrize("capture", WITH_REPLY, ids=ids)
def test_the_client_reads_what_the_server_said(capture):
    """The bytes expected above are right to an independent reader, too."""
    sent = judge_replies(b"".join(capture.replies), capture.methods, closed=True)
    got = judge_replies(b"".join(map(expected, capture.replies)), capture.methods, closed=False)
    assert len(got) == len(sent) == len(capture.replies)
    for ours, theirs in zip(got, sent, strict=True):
        assert ours.whole
        assert theirs.whole
        assert (ours.status, ours.informational) == (theirs.status, theirs.informational)
        assert (ours.body, ours.trailers) == (theirs.body, theirs.trailers)
        left = [field for field in ours.fields if field != (b"x-accel-buffering", b"no")]
        assert left == [field for field in theirs.fields if field[0] != b"connection"]


@pytest.mark.parametrize("capture", STREAMS, ids=ids)
def test_a_server_killed_after_any_byte(capture, caplog):
    """A reply without its last chunk is cut off for the client, too: it must not look whole."""
    caplog.set_level(logging.ERROR)  # a warning each is right, but it would bury a failure
    [reply] = capture.replies
    head = reply.index(b"\r\n\r\n") + 4
    with memory_router() as router:
        for kept in range(1, len(reply)):
            client, upstream = router.client(), router.pool.ready()
            client.feed(request(b"POST"))
            upstream.feed(reply[:kept])
            upstream.eof()
            if kept <= head:  # the head of a stream is held until its first event
                assert client.written().startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
                assert client.end is End.OPEN
            else:
                assert client.written() == expected(reply[:kept])
                assert client.end is End.CLOSED, "nothing tells the client that more is missing"
                [judged] = judge_replies(client.written(), [b"POST"], closed=True)
                assert not judged.whole
            assert router.pool.take_idle(0.0) is None
            client.abort()
            client.settle()
        assert router.count("failed") == len(reply) - 1


@pytest.mark.parametrize("capture", SILENT, ids=ids)
def test_a_server_gone_without_a_byte(capture):
    with memory_router() as router:
        client, upstream = router.client(), router.pool.ready()
        client.feed(request(b"POST"))
        upstream.eof()
        [judged] = judge_replies(client.written(), [b"POST"], closed=False)
        assert judged.status == 502
        assert router.count("failed") == 1


REFUSED = {
    *("bad_method", "garbage", "lower_method", "h2_preface", "http12", "lf_only"),
    *("chunked_and_length", "te_gzip", "content_length_bad", "content_length_negative"),
    *("content_length_twice_differ", "content_length_twice_same", "absolute_uri"),
    *("no_host", "two_hosts", "nul_in_header", "obs_fold", "space_before_colon"),
}
UNFINISHED = {"content_length_long_then_fin", "content_length_long_wait"}
WITH_REQUEST = [capture for capture in CAPTURES if capture.request]


@pytest.mark.parametrize("capture", WITH_REQUEST, ids=ids)
def test_captured_requests(capture):
    """What vLLM was asked reaches it, but for the broken requests: all those are refused."""
    with memory_router() as router:
        client, upstream = router.client(), router.pool.ready()
        client.feed(capture.request)
        if capture.name in REFUSED:
            assert not upstream.written()
            assert client.written().startswith(b"HTTP/1.1 400 Bad Request\r\n")
            assert client.wrote_eof
        elif capture.name in UNFINISHED:
            assert not upstream.written()
            assert not client.written()
        else:
            [got] = judge_requests(upstream.written())
            sent = judge_requests(capture.request)[0]
            assert (got.method, got.target, got.body) == (sent.method, sent.target, sent.body)
            for name in (b"content-type", b"authorization", b"accept-encoding", b"x-request-id"):
                assert got.values(name) == sent.values(name) or name == b"x-request-id"
