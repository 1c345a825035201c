import pytest

from fastroute.config import Config
from fastroute.proxy.request_reader import MAX_PIPELINED, Reading, Request, RequestReader
from fastroute.proxy.settings import Settings
from fastroute.rules.framing import Body
from fastroute.rules.head_match import HeadMatcher

SETTINGS = Settings(Config(servers=(), max_header_bytes=1024, max_body_bytes=5000))
GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"
CHUNKED = (
    b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2\r\nbo\r\n2\r\ndy\r\n0\r\nX: y\r\n\r\n"
)
CLOSE = b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
BAD = b"GET /x HTTP/1.1\r\nX: y\r\n\r\n"


def read(*segments: bytes, known: HeadMatcher | None = None) -> RequestReader:
    reader = RequestReader(known or HeadMatcher(10))
    for segment in segments:
        take(reader, segment)
    return reader


def take(reader: RequestReader, data: bytes) -> None:
    """Do as a client's connection does, and put what need not be fed where the reader would."""
    match = reader.known_request(data, SETTINGS)
    if match is None:
        reader.feed(data, SETTINGS)
        return
    request = Request()
    request.head, request.method = match.head, match.head.method
    request.body = data[match.body_start :]
    reader.ready.append(request)


@pytest.mark.parametrize(
    ("data", "state"),
    [
        pytest.param(b"", Reading.BETWEEN, id="nothing"),
        pytest.param(b"\r\n", Reading.BETWEEN, id="line-end"),
        pytest.param(GET[:1], Reading.HEAD, id="first-byte"),
        pytest.param(GET[:-1], Reading.HEAD, id="head-but-for-a-byte"),
        pytest.param(GET, Reading.BETWEEN, id="whole"),
        pytest.param(GET + GET[:3], Reading.HEAD, id="whole-and-a-part"),
        pytest.param(POST[:-4], Reading.BODY, id="head-of-a-post"),
        pytest.param(POST[:-1], Reading.BODY, id="body-but-for-a-byte"),
        pytest.param(CHUNKED[:-2], Reading.BODY, id="trailers"),
        pytest.param(CLOSE, Reading.REFUSED, id="the-last-one"),
        pytest.param(BAD, Reading.REFUSED, id="bad"),
    ],
)
def test_state(data, state):
    assert read(data).state is state
    assert read(*(data[i : i + 1] for i in range(len(data)))).state is state


def test_ready():
    """Oldest first, each with its own head and body."""
    reader = read(GET + POST + CHUNKED + GET[:5])
    assert [request.method for request in reader.ready] == [b"GET", b"POST", b"POST"]
    assert [bytes(request.body) for request in reader.ready] == [b"", b"body", b"body"]
    assert [request.head.body for request in reader.ready] == [
        Body.NONE,
        Body.LENGTH,
        Body.CHUNKED,
    ]
    assert reader.refusal is None


def test_a_body_in_one_piece_is_not_copied():
    """Most bodies come whole; only those in pieces are put together."""
    assert isinstance(read(POST).ready[0].body, bytes)
    assert isinstance(read(POST[:-2], POST[-2:]).ready[0].body, bytearray)


@pytest.mark.parametrize(
    ("data", "ready", "status"),
    [
        pytest.param(GET + BAD, 1, 400, id="bad-head"),
        pytest.param(GET + b"\0", 1, 400, id="no-http"),
        pytest.param(GET + BAD + GET, 1, 400, id="nothing-behind-it"),
        pytest.param(CLOSE + BAD, 1, None, id="behind-the-last-one"),
        pytest.param(CLOSE + GET, 1, None, id="good-behind-the-last-one"),
        pytest.param(b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 0, 405, id="connect"),
        pytest.param(GET + POST.replace(b": 4", b": 5001"), 1, 413, id="too-long-a-body"),
        pytest.param(GET[:-2] + b"a:\r\n" * 199 + b"\r\n", 1, None, id="many-headers"),
        pytest.param(GET + GET[:-2] + b"a:\r\n" * 201, 1, 431, id="too-many-headers"),
        pytest.param(CHUNKED[:-2] + b"a:\r\n" * 199 + b"\r\n", 1, None, id="many-trailers"),
        pytest.param(CHUNKED[:-2] + b"a:\r\n" * 201, 0, 431, id="too-many-trailers"),
        pytest.param(
            GET[:-2] + b"Connection: " + b"a," * 40 + b"\r\n\r\n", 0, 400, id="too-many-members"
        ),
        pytest.param(POST.replace(b": 4", b": " + b"0" * 500 + b"4"), 0, 400, id="too-many-digits"),
        pytest.param(GET * (MAX_PIPELINED + 1), MAX_PIPELINED + 1, None, id="many"),
        pytest.param(GET * (MAX_PIPELINED + 2), MAX_PIPELINED + 1, 429, id="too-many"),
    ],
)
def test_refusal(data, ready, status):
    reader = read(data)
    assert len(reader.ready) == ready
    assert (None if reader.refusal is None else reader.refusal.status) == status


def test_bodies_ahead_are_bounded_together():
    post = POST.replace(b": 4", b": 3000").replace(b"body", b"x" * 3000)
    reader = read(post, post)
    assert len(reader.ready) == 1
    assert reader.refusal.status == 429


def test_a_long_segment_is_no_long_head():
    """The head is short; what follows it in the segment is the body's, and allowed."""
    post = POST.replace(b": 4", b": 4000").replace(b"body", b"x" * 4000)
    reader = read(post)
    assert len(reader.ready[0].body) == 4000
    assert reader.refusal is None


@pytest.mark.parametrize("size", [1024, 1025])
@pytest.mark.parametrize("piece", [1, 7, 1024, 5000])
def test_longest_head(size, piece):
    """The limit is for target and fields; it holds however the head is cut."""
    data = GET.replace(b"\r\n\r\n", b"\r\nX: " + b"a" * 2000 + b"\r\n\r\n")
    counted = len(b"/x") + len(b"Host: a\r\n") + len(b"X: \r\n")
    data = data.replace(b"a" * 2000, b"a" * (size - counted))
    reader = read(*(data[i : i + piece] for i in range(0, len(data), piece)))
    if size > 1024:
        assert reader.refusal.status == 431
    else:
        assert reader.refusal is None or piece < 1024, "cut finely it may count the first line"


class TestKnownRequests:
    """A head that was read before is taken as it was, but only where that is all there is."""

    @pytest.mark.parametrize(
        "data",
        [
            pytest.param(GET, id="get"),
            pytest.param(POST, id="post"),
            pytest.param(GET + GET, id="two"),
            pytest.param(POST + GET[:5], id="one-and-a-part"),
            pytest.param(POST[:-1], id="cut-off"),
            pytest.param(GET + b"\r\n", id="line-end-behind"),
            pytest.param(b"\r\n" + GET, id="line-end-first"),
            pytest.param(b"\r\n\r\n" + GET, id="two-line-ends-first"),
            pytest.param(b"\r\n\r\n", id="nothing-but-line-ends"),
            pytest.param(GET + BAD, id="bad-one-behind"),
            pytest.param(GET + b"\0", id="byte-behind"),
            pytest.param(CLOSE, id="close"),
            pytest.param(CLOSE + GET, id="close-and-more"),
            pytest.param(CHUNKED, id="chunked"),
            pytest.param(POST.replace(b": 4", b": 5001"), id="too-long"),
            pytest.param(POST.replace(b": 4", b": 0")[:-4], id="length-zero"),
            pytest.param(POST.replace(b": 4", b": 00004"), id="leading-zeros"),
        ],
    )
    def test_no_difference(self, data):
        fresh = read(data)
        known: HeadMatcher = HeadMatcher(10)
        for before in (GET, POST, CLOSE, CHUNKED, b"\r\n\r\n" + GET, data, data):
            read(before, known=known)
        again = read(data, known=known)
        assert again.state is fresh.state
        assert str(again.refusal) == str(fresh.refusal)
        assert [(r.head.method, bytes(r.body)) for r in again.ready] == [
            (r.head.method, bytes(r.body)) for r in fresh.ready
        ]

    def test_it_is_the_same_object(self):
        """Else it would not pay."""
        known: HeadMatcher = HeadMatcher(10)
        first, second = read(POST, known=known), read(POST, known=known)
        assert second.ready[0].head is first.ready[0].head

    def test_between_others_on_a_connection(self):
        """The parser goes on where it was, though it did not see what was known."""
        known: HeadMatcher = HeadMatcher(10)
        read(GET, POST, known=known)
        reader = RequestReader(known)
        for data in (CHUNKED, GET, POST, CHUNKED[:9], CHUNKED[9:], POST, b"\r\n", GET, BAD):
            take(reader, data)
            if data is not BAD and reader.state is Reading.BETWEEN and reader.ready:
                reader.ready.popleft()
        assert not reader.ready
        assert reader.refusal.status == 400


class TestCredentials:
    """Heads with a key or a cookie are remembered, but not longer than their connection lasts."""

    @pytest.mark.parametrize(
        "line",
        [
            b"Authorization: Bearer sk-secret",
            b"authorization: Basic sk-secret",
            b"Cookie: session=sk-secret",
            b"Proxy-Authorization: Basic sk-secret",
            b"X-API-Key: sk-secret",
            b"api-key: sk-secret",
        ],
    )
    @pytest.mark.parametrize("request_", [GET, POST], ids=["get", "post"])
    def test_are_in_no_cache_of_the_worker(self, line, request_):
        known: HeadMatcher = HeadMatcher(10)
        data = request_.replace(b"Host: a\r\n", b"Host: a\r\n" + line + b"\r\n")
        reader = read(data, known=known)
        head = reader.ready.popleft().head
        assert reader.known_request(data, SETTINGS).head is head, "known on this connection"
        assert known.find(data) is None
        assert RequestReader(known).known_request(data, SETTINGS) is None

    def test_only_few_are_remembered(self):
        reader = read()
        for number in range(20):
            take(reader, GET.replace(b"Host", b"Cookie: %d\r\nHost" % number))
            reader.ready.clear()
        known = [
            reader.known_request(GET.replace(b"Host", b"Cookie: %d\r\nHost" % number), SETTINGS)
            for number in range(20)
        ]
        assert 1 <= 20 - known.count(None) <= 2


def test_held_bytes():
    reader = read(POST + POST + POST[:-2])
    assert reader.held_bytes() >= 10
    reader.ready.clear()
    assert reader.held_bytes() == 2
    reader.stop()
    assert reader.held_bytes() == 0


def test_heads_ahead_are_bounded_together():
    get = GET.replace(b"\r\n\r\n", b"\r\nX: " + b"x" * 900 + b"\r\n\r\n")
    reader = read(*[get] * 30)
    assert 16 <= len(reader.ready) <= 20
    assert reader.refusal.status == 429


def test_stop():
    reader = read(GET + GET)
    reader.stop()
    assert (reader.state, list(reader.ready), reader.refusal) == (Reading.REFUSED, [], None)
