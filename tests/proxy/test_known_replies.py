"""A reply's head that came before is not parsed again; in all else nothing may differ."""

import pytest

from fastroute.rules.framing import ReplyEnd
from tests.support.connected import Connected
from tests.support.memory_transport import End

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\n"


@pytest.fixture
def connected() -> Connected:
    return Connected()


@pytest.mark.parametrize("split", range(len(OK) + 1))
def test_again(connected, split):
    for reply in (OK, OK, OK.replace(b": 2", b": 3") + b"!"):
        sink = connected.ask()
        connected.transport.feed(reply[:split], reply[split:])
        assert sink.body == reply[reply.index(b"\r\n\r\n") + 4 :]
        assert sink.end is ReplyEnd.REUSABLE


def test_surplus(connected):
    for surplus, end in ((b"", ReplyEnd.REUSABLE), (b"x", ReplyEnd.SPENT)):
        sink = connected.ask()
        connected.transport.feed(OK + surplus)
        assert sink.calls == [("begins", 200, b"hi"), ("ends", end)]


def test_cut_off(connected):
    connected.ask()
    connected.transport.feed(OK)
    sink = connected.ask()
    connected.transport.feed(OK[:-1])
    connected.transport.eof()
    assert sink.end is ReplyEnd.CLOSED


@pytest.mark.parametrize("first", [b"GET", b"HEAD"])
def test_the_method_decides(connected, first):
    """The same bytes are a whole reply to HEAD, and the beginning of one to GET."""
    head = OK[:-2]
    for method in (first, b"HEAD" if first == b"GET" else b"GET", first):
        sink = connected.ask(method)
        connected.transport.feed(head)
        if method == b"GET":
            assert connected.transport.end is End.OPEN
            assert sink.end is None
            connected.transport.feed(b"hi")
        assert sink.end is ReplyEnd.REUSABLE


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(OK[:-4] + b"\r\nConnection: close\r\n\r\nhi", id="close"),
        pytest.param(CHUNKED + b"0\r\n\r\n", id="chunked"),
        pytest.param(UNTIL_CLOSE, id="until-close"),
        pytest.param(b"HTTP/1.1 304 N\r\nContent-Length: 2\r\n\r\n", id="304"),
    ],
)
def test_other_replies_in_between(other):
    """What they are does not change with what came before them."""
    outcomes = []
    for before in ((), (OK, other), (other, OK)):
        owner = Connected()
        for reply in (*before, other):
            connected = Connected()
            connected.owner.known_replies = owner.owner.known_replies
            sink = connected.ask()
            connected.transport.feed(reply)
        outcomes.append(sink.calls)
    assert outcomes[0] == outcomes[1] == outcomes[2]
