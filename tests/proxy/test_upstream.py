import time

import pytest

from fastroute.rules.framing import ReplyEnd
from tests.support.connected import Connected, Recorder
from tests.support.memory_transport import End

OK = b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 2\r\n\r\nhi"
CHUNKED = b"HTTP/1.1 200 OK\r\nDate: x\r\nTransfer-Encoding: chunked\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\nDate: x\r\n\r\n"


@pytest.fixture
def connected() -> Connected:
    return Connected()


@pytest.mark.parametrize(
    "body", [b"", b"small", b"x" * 65536, b"x" * 65537, bytearray(b"from chunks")], ids=len
)
def test_a_request_is_written_at_once(connected, body):
    """Two writes would be two system calls, and wake the server twice."""
    connected.upstream.send(Recorder(), b"head", body)
    assert connected.transport.writes == [b"head" + body]


def test_a_reply_in_one_segment(connected):
    sink = connected.ask()
    connected.transport.feed(OK)
    assert sink.calls == [("begins", 200, b"hi"), ("ends", ReplyEnd.REUSABLE)]
    assert connected.upstream.is_idle()


def test_bytes_are_handed_on_at_once(connected):
    """One call for each segment, with the very object that came: nothing is copied or held."""
    sink = connected.ask()
    connected.transport.feed(CHUNKED)
    assert sink.calls == [("begins", 200, b"")]
    for segment in (b"3\r\nabc\r\n", b"3\r\nde", b"f", b"\r\n0\r\n\r"):
        connected.transport.feed(segment)
        assert sink.calls[-1] == ("bytes", segment)
        assert sink.calls[-1][1] is segment
    connected.transport.feed(b"\n")
    assert sink.calls[-2:] == [("bytes", b"\n"), ("ends", ReplyEnd.REUSABLE)]


def test_the_first_byte(connected):
    """Its time is known before the head is whole, and the next request starts without one."""
    connected.ask()
    assert connected.upstream.first_byte_at == 0
    before = time.monotonic()
    connected.transport.feed(OK[:1])
    assert before <= connected.upstream.first_byte_at <= time.monotonic()
    first = connected.upstream.first_byte_at
    connected.transport.feed(OK[1:])
    assert connected.upstream.first_byte_at == first
    connected.ask()
    assert connected.upstream.first_byte_at == 0


def test_informational_heads(connected):
    """They come before the response, each by itself, also where all is one segment."""
    hints = b"HTTP/1.1 103 Early Hints\r\n\r\n"
    sink = connected.ask()
    connected.transport.feed(hints + hints + OK)
    assert sink.calls == [
        ("informs", 103),
        ("informs", 103),
        ("begins", 200, b"hi"),
        ("ends", ReplyEnd.REUSABLE),
    ]


def test_the_next_request(connected):
    """Nothing of one exchange is left for the next."""
    for method, reply, body in [
        (b"GET", CHUNKED + b"1\r\na\r\n0\r\n\r\n", b"1\r\na\r\n0\r\n\r\n"),
        (b"HEAD", b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 2\r\n\r\n", b""),
        (b"GET", OK, b"hi"),
        (b"GET", b"HTTP/1.1 204 No\r\nDate: x\r\n\r\n", b""),
        (b"GET", b"HTTP/1.1 304 Not\r\nDate: x\r\nContent-Length: 2\r\n\r\n", b""),
        (b"HEAD", CHUNKED, b""),
        (b"GET", b"HTTP/1.1 103 E\r\n\r\n" + OK, b"hi"),
        (b"HEAD", UNTIL_CLOSE, b""),
        (b"GET", OK, b"hi"),
    ]:
        sink = connected.ask(method)
        connected.transport.feed(reply)
        assert sink.end is ReplyEnd.REUSABLE, reply
        assert [call[2] for call in sink.calls if call[0] == "begins"] == [body]
        assert not [call for call in sink.calls if call[0] == "bytes"]


@pytest.mark.parametrize(
    ("reply", "end"),
    [
        pytest.param(OK, ReplyEnd.REUSABLE, id="plain"),
        pytest.param(OK + b"\r\n", ReplyEnd.SPENT, id="surplus-line-end"),
        pytest.param(OK + OK, ReplyEnd.SPENT, id="surplus-reply"),
        pytest.param(
            OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), ReplyEnd.SPENT, id="close"
        ),
        pytest.param(OK.replace(b"1.1", b"1.0"), ReplyEnd.SPENT, id="http-1.0"),
        pytest.param(
            OK.replace(b"1.1", b"1.0").replace(b"\r\n\r\n", b"\r\nConnection: keep-alive\r\n\r\n"),
            ReplyEnd.REUSABLE,
            id="http-1.0-keep-alive",
        ),
        pytest.param(CHUNKED + b"0\r\n\r\n", ReplyEnd.REUSABLE, id="chunked"),
        pytest.param(CHUNKED + b"0\r\n\r\n\r\n", ReplyEnd.SPENT, id="chunked-surplus-line-end"),
        pytest.param(
            CHUNKED + b"0\r\nX: y\r\n\r\n\n", ReplyEnd.SPENT, id="trailer-surplus-line-feed"
        ),
    ],
)
def test_what_may_be_reused(connected, reply, end):
    sink = connected.ask()
    connected.transport.feed(reply)
    assert sink.end is end


def test_a_server_that_answers_before_it_has_read_all(connected):
    """The rest of the request would still go out, in front of the next one's head."""
    sink = connected.ask()
    connected.transport.unsent = 1
    connected.transport.feed(OK)
    assert sink.end is ReplyEnd.SPENT


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"garbage\r\n\r\n", id="garbage"),
        pytest.param(b"\r\n\r\n", id="empty"),
        pytest.param(b"\r\n" + OK, id="line-end-first"),
        pytest.param(b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: x\r\n\r\n", id="bad-length"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", id="2"
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            id="both-lengths",
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\nDate: x\r\nX: a\r\n b\r\n\r\n", id="folded"),
        pytest.param(b"HTTP/1.1 200 OK\r\nDate: x\r\nX : a\r\n\r\n", id="space-before-colon"),
        pytest.param(b"HTTP/1.1 200 OK\r\nDate: x\r\nX: \0\r\n\r\n", id="nul"),
        pytest.param(b"HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n", id="bare-line-feed"),
        pytest.param(b"HTTP/1.1 99 X\r\nContent-Length: 0\r\n\r\n", id="status-99"),
        pytest.param(b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", id="http-2.0"),
        pytest.param(b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n", id="http-0.9"),
        pytest.param(b"RTSP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", id="rtsp"),
        pytest.param(b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", id="101"),
        pytest.param(b"HTTP/1.1 101 Switching\r\n\r\n", id="101-bare"),
        pytest.param(
            b"HTTP/1.0 200 OK\r\nDate: x\r\nTransfer-Encoding: chunked\r\n\r\n", id="1.0-chunked"
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nDate: x\r\nX: " + b"a" * 1000 + b"\r\n\r\n", id="too-long"
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\nDate: x\r\nX: " + b"a" * 1000, id="too-long-no-end"),
    ],
)
def test_bad_heads(connected, head):
    """Nothing of it is handed on, and the connection is closed at once, at every split point."""
    for split in range(0, len(head), 1 if len(head) < 200 else 97):
        connected = Connected()
        sink = connected.ask()
        connected.transport.feed(head[:split], head[split:])
        end = ReplyEnd.HEAD_TOO_LONG if len(head) > 1000 else ReplyEnd.INVALID_HTTP
        assert sink.calls == [("ends", end)], split
        assert connected.transport.end is End.ABORTED
        connected.transport.settle()
        assert len(sink.calls) == 1


def test_a_head_of_just_the_allowed_length():
    head = b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 0\r\n\r\n"
    for limit, expected in (
        (len(head), ReplyEnd.REUSABLE),
        (len(head) - 1, ReplyEnd.HEAD_TOO_LONG),
    ):
        connected = Connected(max_head_bytes=limit)
        sink = connected.ask()
        connected.transport.feed(*(head[i : i + 1] for i in range(len(head))))
        assert sink.end is expected


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"x\r\n", id="size"),
        pytest.param(b"3\r\nabcd", id="no-line-end-behind-data"),
        pytest.param(b"3\nabc\r\n", id="bare-line-feed"),
        pytest.param(b"0\r\n\r\nx", id="a-byte-too-many"),
        pytest.param(b"fffffffffffffffff\r\n", id="size-overflows"),
    ],
)
def test_broken_chunks(connected, body):
    sink = connected.ask()
    connected.transport.feed(CHUNKED, b"1\r\na\r\n")
    connected.transport.feed(body)
    assert sink.calls == [
        ("begins", 200, b""),
        ("bytes", b"1\r\na\r\n"),
        ("ends", ReplyEnd.BROKEN_CHUNKS),
    ]
    assert connected.transport.end is End.ABORTED


def test_another_reply_behind_the_end_of_chunks(connected):
    sink = connected.ask()
    connected.transport.feed(CHUNKED, b"1\r\na\r\n", b"0\r\n\r\nHTTP/1.1 200 OK\r\nDate: x\r\n\r\n")
    assert sink.body == b"1\r\na\r\n"
    assert sink.end is ReplyEnd.UNSOLICITED
    assert connected.transport.end is End.ABORTED


def test_broken_in_the_segment_of_the_head(connected):
    """Nothing of it is handed on, and after a failure nothing more is said."""
    sink = connected.ask()
    connected.transport.feed(CHUNKED + b"x\r\n")
    assert sink.calls == [("ends", ReplyEnd.BROKEN_CHUNKS)]


@pytest.mark.parametrize(
    ("fed", "error", "end", "reason"),
    [
        pytest.param(b"", None, ReplyEnd.CLOSED, "connection closed", id="no-byte"),
        pytest.param(b"HTTP", None, ReplyEnd.CLOSED, "connection closed", id="in-the-head"),
        pytest.param(OK[:-1], None, ReplyEnd.CLOSED, "connection closed", id="in-the-body"),
        pytest.param(
            CHUNKED + b"0\r\n\r", None, ReplyEnd.CLOSED, "connection closed", id="last-byte"
        ),
        pytest.param(
            OK[:-1],
            OSError("reset"),
            ReplyEnd.LOST,
            "connection lost: reset",
            id="reset-in-the-body",
        ),
        pytest.param(UNTIL_CLOSE + b"a", None, ReplyEnd.SPENT, "", id="until-close"),
        pytest.param(UNTIL_CLOSE, None, ReplyEnd.SPENT, "", id="until-close-empty"),
        pytest.param(
            UNTIL_CLOSE + b"a",
            OSError("reset"),
            ReplyEnd.LOST,
            "connection lost: reset",
            id="reset-is-no-end",
        ),
    ],
)
def test_the_server_ends_the_connection(connected, fed, error, end, reason):
    sink = connected.ask()
    connected.transport.feed(fed)
    connected.transport.lose(error) if error else connected.transport.eof()
    assert (sink.end, sink.reason) == (end, reason)
    assert not connected.upstream.is_idle()
    assert not connected.owner.lost, "it was not in the pool's hands"


def test_lost_without_an_end(connected):
    """As TLS does without close_notify: somebody may have cut it."""
    sink = connected.ask()
    connected.transport.feed(UNTIL_CLOSE + b"a")
    connected.transport.lose(None)
    assert (sink.end, sink.reason) == (ReplyEnd.CLOSED, "connection closed")


@pytest.mark.parametrize("byte", [b"H", b"\r", b"\n", b"\0"])
def test_an_idle_connection_that_speaks(connected, byte):
    """The next request would take it for its reply."""
    connected.transport.feed(byte)
    assert connected.owner.lost == [connected.upstream]
    assert connected.transport.end is End.ABORTED
    assert not connected.upstream.is_idle()
    connected.transport.settle()
    assert connected.owner.lost == [connected.upstream], "told once"


def test_an_idle_connection_that_ends(connected):
    connected.ask()
    connected.transport.feed(OK)
    connected.transport.lose(None)
    assert connected.owner.lost == [connected.upstream]
    assert not connected.upstream.is_idle()


@pytest.mark.parametrize(
    "fed",
    [b"", b"HTTP", OK[:-1], CHUNKED, UNTIL_CLOSE],
    ids=["waiting", "head", "length", "chunked", "until-close"],
)
def test_cancel(connected, fed):
    """The connection is closed at once and nothing more is heard of it."""
    sink = connected.ask()
    connected.transport.feed(fed)
    heard = list(sink.calls)
    connected.upstream.cancel()
    assert connected.transport.end is End.ABORTED
    connected.transport.settle()
    assert sink.calls == heard


@pytest.mark.parametrize("reply", [OK, CHUNKED + b"1\r\na\r\n0\r\n\r\n"], ids=["length", "chunked"])
@pytest.mark.parametrize("call", ["informs", "begins", "bytes"])
def test_cancelled_by_who_takes_the_reply(connected, reply, call):
    """Whatever it is told, the exchange may drop the connection there and then."""
    sink = connected.ask(cancel_at=call)
    connected.transport.feed(b"HTTP/1.1 103 Early Hints\r\n\r\n" + reply[:-1], reply[-1:])
    assert sink.calls[-1][0] == call
    assert connected.transport.end is End.ABORTED


def test_many_informational_replies(connected):
    """A server can send them without end, in one segment: that must neither recurse nor last."""
    sink = connected.ask()
    connected.transport.feed(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 5000)
    assert sink.end is ReplyEnd.HEAD_TOO_LONG
    assert len(sink.calls) < 200


def test_proxy_connection_close(connected):
    """The parser takes this old field for Connection: so the connection cannot be used again."""
    sink = connected.ask()
    connected.transport.feed(OK.replace(b"\r\n\r\n", b"\r\nProxy-Connection: close\r\n\r\n"))
    assert sink.end is ReplyEnd.SPENT


def test_repr(connected):
    assert repr(connected.upstream) == "<UpstreamConnection IDLE reused=False>"
