"""Every shape a reply can have, cut at every pair of points, with surplus bytes, and cut off."""

import logging

import pytest

from tests.support.judge import judge_replies
from tests.support.memory_router import memory_router
from tests.support.memory_transport import End

GET, HEAD = b"GET", b"HEAD"
REQUEST = b"%b /v1/x HTTP/1.1\r\nHost: a\r\n\r\n"
TIME_FLIES = 4.0


class Shape:
    """A reply, the request it is for, and what the client must get of it."""

    def __init__(self, method: bytes, reply: bytes, *, until_close: bool = False) -> None:
        self.method = method
        self.reply = reply
        self.until_close = until_close
        end = self.head_end()
        close = b"connection: close\r\n" if until_close else b""
        self.expected = reply[: end - 2] + close + reply[end - 2 :]

    def head_end(self) -> int:
        """Where the answer's own head ends, behind informational ones."""
        start = self.reply.index(b"HTTP/1.1 2") if b"HTTP/1.1 2" in self.reply else 0
        return self.reply.index(b"\r\n\r\n", start) + 4

    def expected_of(self, kept: int) -> bytes:
        """What the client must get when only `kept` bytes of the reply come."""
        return self.expected[: kept + len(self.expected) - len(self.reply)]


CHUNKED = b"HTTP/1.1 200 OK\r\nDate: x\r\nTransfer-Encoding: chunked\r\n\r\n"
SHAPES = [
    pytest.param(
        Shape(GET, b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 5\r\n\r\nhel\r\n"), id="length"
    ),
    pytest.param(
        Shape(GET, b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 0\r\n\r\n"), id="length-zero"
    ),
    pytest.param(Shape(GET, CHUNKED + b"3\r\nabc\r\n2\r\n\r\n\r\n0\r\n\r\n"), id="chunked"),
    pytest.param(Shape(GET, CHUNKED + b"1\r\na\r\n0\r\nX: 0\r\nY:\r\n\r\n"), id="trailers"),
    pytest.param(
        Shape(GET, b"HTTP/1.1 200 OK\r\nDate: x\r\n\r\nhey\r\n", until_close=True), id="close"
    ),
    pytest.param(
        Shape(HEAD, b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 5\r\n\r\n"), id="head"
    ),
    pytest.param(Shape(GET, b"HTTP/1.1 204 No Content\r\nDate: x\r\nX: y\r\n\r\n"), id="204"),
    pytest.param(Shape(GET, b"HTTP/1.1 304 Not\r\nDate: x\r\nContent-Length: 5\r\n\r\n"), id="304"),
    pytest.param(
        Shape(
            GET,
            b"HTTP/1.1 103 A\r\nL: x\r\n\r\nHTTP/1.1 200 OK\r\nDate:\r\nContent-Length: 1\r\n\r\na",
        ),
        id="103-200",
    ),
]
ENDED = [param for param in SHAPES if not param.values[0].until_close]


def pieces(data: bytes, first: int, second: int) -> list[bytes]:
    return [data[:first], data[first:second], data[second:]]


def pairs(length: int):
    return ((first, second) for first in range(length + 1) for second in range(first, length + 1))


@pytest.mark.parametrize("shape", ENDED)
def test_whole(shape):
    """It passes unchanged and both connections go on to be used."""
    with memory_router() as router:
        client, upstream = router.client(), router.pool.ready()
        for first, second in pairs(len(shape.reply)):
            client.feed(REQUEST % shape.method)
            upstream.feed(*pieces(shape.reply, first, second))
            assert client.take() == shape.expected, (first, second)
        assert client.end is upstream.end is End.OPEN
        assert len(router.pool.upstreams) == 1


@pytest.mark.parametrize("shape", SHAPES)
def test_the_shapes_are_what_they_seem(shape):
    """The bytes expected by the other tests are whole to an independent reader."""
    [judged] = judge_replies(shape.expected, [shape.method], closed=shape.until_close)
    assert judged.whole


def test_until_close():
    shape = SHAPES[4].values[0]
    with memory_router() as router:
        for first, second in pairs(len(shape.reply)):
            client, upstream = router.client(), router.pool.ready()
            client.feed(REQUEST % shape.method)
            upstream.feed(*pieces(shape.reply, first, second))
            assert client.end is End.OPEN, "more may come"
            upstream.eof()
            assert client.written() == shape.expected
            assert client.end is End.CLOSED
            client.settle()
        assert router.count("failed") == 0


@pytest.mark.parametrize("shape", ENDED)
@pytest.mark.parametrize(
    "surplus",
    [
        pytest.param(b"\r\n", id="line-end"),
        pytest.param(b"\r\n\r\n\r\n", id="line-ends"),
        pytest.param(b"x", id="byte"),
        pytest.param(b"0\r\n\r\n", id="last-chunk"),
        pytest.param(b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 4\r\n\r\nevil", id="reply"),
    ],
)
def test_surplus(shape, surplus, caplog):
    """No byte behind the end reaches the client, and the connection is not used again.

    A chunked reply that has another byte in the segment of its end is given up as a whole: the
    parser does not tell where in the segment it ended.
    """
    caplog.set_level(logging.ERROR)
    data = shape.reply + surplus
    may_be_given_up = b"chunked" in shape.reply and surplus.strip(b"\r\n")
    with memory_router() as router:
        client = router.client()
        for first, second in pairs(len(data)):
            upstream = router.pool.ready()
            client.feed(REQUEST % shape.method)
            upstream.feed(*pieces(data, first, second))
            got = client.take()
            assert b"evil" not in got
            assert upstream.end is End.ABORTED, (first, second)
            assert router.pool.take_idle(0.0) is None
            if client.end is End.OPEN and got.startswith(b"HTTP/1.1 502 "):
                assert may_be_given_up
                assert got.count(b"HTTP/1.1 ") == 1, "something follows the error"
            elif client.end is End.OPEN:
                assert got == shape.expected, (first, second)
            else:
                assert may_be_given_up
                assert shape.expected.startswith(got)
                assert len(got) < len(shape.expected)
                client.settle()
                client = router.client()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("error", [None, ConnectionResetError()], ids=["fin", "reset"])
def test_cut_off(shape, error, caplog):
    """A reply that is not whole never looks whole; without a head it is an error of our own."""
    caplog.set_level(logging.ERROR)
    with memory_router() as router:
        for kept in range(len(shape.reply)):
            for split in range(kept + 1):
                client, upstream = router.client(), router.pool.ready()
                client.feed(REQUEST % shape.method)
                upstream.feed(*pieces(shape.reply[:kept], split, kept))
                upstream.lose(error) if error else upstream.eof()
                got = client.written()
                if kept < shape.head_end():
                    assert b"HTTP/1.1 502 " in got, kept
                    assert b"HTTP/1.1 2" not in got
                elif shape.until_close and error is None:
                    assert got == shape.expected_of(kept)
                    assert client.end is End.CLOSED, "nobody can tell: the close is the end"
                elif shape.until_close:
                    assert client.end is End.RESET, "a plain close would be the end of the reply"
                else:
                    assert got == shape.expected_of(kept)
                    assert client.end is End.CLOSED
                assert router.pool.take_idle(0.0) is None
                client.abort()
                client.settle()


@pytest.mark.parametrize("shape", SHAPES)
def test_silence(shape, caplog):
    """The same, where the server does not end the connection but says nothing more."""
    caplog.set_level(logging.ERROR)
    with memory_router(request_timeout=TIME_FLIES) as router:
        for kept in range(len(shape.reply)):
            client, upstream = router.client(), router.pool.ready()
            client.feed(REQUEST % shape.method)
            upstream.feed(shape.reply[:kept])
            router.sweep(TIME_FLIES)
            assert upstream.end is End.ABORTED
            got = client.written()
            if kept < shape.head_end():
                assert b"HTTP/1.1 504 " in got
                assert b"HTTP/1.1 2" not in got
            else:
                assert got == shape.expected_of(kept)
                assert client.end is (End.RESET if shape.until_close else End.CLOSED)
            client.abort()
            client.settle()
