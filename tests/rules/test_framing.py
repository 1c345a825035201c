import httptools
import pytest

from fastroute.errors import BadReply, BadRequest
from fastroute.rules.framing import (
    Body,
    Unwrapper,
    chunked_end_is_exact,
    chunked_surplus,
    content_length,
    has_other_line_ends,
    is_authority,
    is_start_of_head,
    keeps_alive,
    reply_body,
    request_body,
    with_plain_coding,
)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"gpu-1", id="name"),
        pytest.param(b"gpu_1.example.org:8000", id="name-and-port"),
        pytest.param(b"127.0.0.1:80", id="ipv4"),
        pytest.param(b"[::1]", id="ipv6"),
        pytest.param(b"[2001:db8::7]:8000", id="ipv6-and-port"),
        pytest.param(b"", id="empty-as-in-RFC-9110-7.2"),
        pytest.param(b"host:", id="empty-port-as-in-RFC-3986"),
        pytest.param(b"a%20b", id="percent-encoded"),
    ],
)
def test_authority(value):
    assert is_authority(value)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"user@host", id="userinfo"),
        pytest.param(b"a" * 301, id="longer-than-a-name-may-be"),
        pytest.param(b"host/path", id="path"),
        pytest.param(b"host?query", id="query"),
        pytest.param(b"host#fragment", id="fragment"),
        pytest.param(b"a b", id="space"),
        pytest.param(b"a, b", id="list"),
        pytest.param(b"a:b", id="port-not-a-number"),
        pytest.param(b"a:8000:8001", id="two-ports"),
        pytest.param(b"::1", id="ipv6-bare"),
        pytest.param(b"[::1", id="ipv6-open"),
        pytest.param(b"[host]", id="name-in-brackets"),
        pytest.param(b"host\n", id="line-feed-at-the-end"),
        pytest.param(b"h\xf6st", id="not-ascii"),
        pytest.param(b"host\\path", id="backslash"),
    ],
)
def test_no_authority(value):
    assert not is_authority(value)


@pytest.mark.parametrize(
    ("version", "transfer_encoding", "content_length", "expected"),
    [
        pytest.param("1.1", None, None, Body.NONE, id="neither"),
        pytest.param("1.1", None, b"12", Body.LENGTH, id="length"),
        pytest.param("1.1", None, b"0", Body.LENGTH, id="length-zero"),
        pytest.param("1.1", None, b"007", Body.LENGTH, id="leading-zeros"),
        pytest.param("1.0", None, b"12", Body.LENGTH, id="length-http-1.0"),
        pytest.param("1.0", None, None, Body.NONE, id="neither-http-1.0"),
        pytest.param("1.1", b"chunked", None, Body.CHUNKED, id="chunked"),
        pytest.param("1.1", b"Chunked \t", None, Body.CHUNKED, id="chunked-any-case"),
    ],
)
def test_request_body(version, transfer_encoding, content_length, expected):
    assert request_body(version, transfer_encoding, content_length) == expected


@pytest.mark.parametrize(
    ("fields", "length"),
    [
        pytest.param([], 0, id="none"),
        pytest.param([(b"Host", b"a")], 0, id="others-only"),
        pytest.param([(b"Host", b"a"), (b"Content-Length", b"12")], 12, id="length"),
        pytest.param([(b"content-length", b"0")], 0, id="zero"),
        pytest.param([(b"CONTENT-LENGTH", b"007")], 7, id="leading-zeros"),
    ],
)
def test_content_length(fields, length):
    assert content_length(fields) == length


@pytest.mark.parametrize("digits", [b"1" * 19, b"0" * 5000 + b"1"], ids=["large", "zeros"])
def test_content_length_of_too_many_digits(digits):
    with pytest.raises(ValueError, match="more than 18 digits"):
        content_length([(b"Content-Length", digits)])
    assert content_length([(b"Content-Length", b"1" * 18 + b" \t")]) == int("1" * 18)
    assert reply_body(b"GET", 200, None, digits) is Body.LENGTH


@pytest.mark.parametrize(
    ("version", "transfer_encoding", "content_length", "message"),
    [
        pytest.param("1.0", b"chunked", None, "HTTP/1.0", id="chunked-http-1.0"),
        pytest.param("1.0", b"chunked", b"3", "HTTP/1.0", id="both-http-1.0"),
        pytest.param("1.1", b"chunked", b"3", "exclude each other", id="both"),
        pytest.param("1.1", b"", None, "chunked and nothing else", id="empty"),
        pytest.param("1.1", b"gzip", None, "chunked and nothing else", id="gzip"),
        pytest.param("1.1", b"gzip, chunked", None, "nothing else", id="gzip-chunked"),
        pytest.param("1.1", b"chunked, chunked", None, "nothing else", id="twice"),
        pytest.param("1.1", b"chunked, identity", None, "nothing else", id="identity"),
        pytest.param("1.1", b"chunked;q=1", None, "nothing else", id="parameter"),
        pytest.param("1.1", b"xchunked", None, "nothing else", id="prefix"),
    ],
)
def test_request_body_refused(version, transfer_encoding, content_length, message):
    with pytest.raises(BadRequest, match=message) as refused:
        request_body(version, transfer_encoding, content_length)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("method", "status", "transfer_encoding", "content_length", "expected"),
    [
        pytest.param(b"GET", 200, None, b"5", Body.LENGTH, id="length"),
        pytest.param(b"GET", 200, None, b"0", Body.NONE, id="length-zero"),
        pytest.param(b"GET", 200, b"chunked", None, Body.CHUNKED, id="chunked"),
        pytest.param(b"GET", 200, b"Chunked \t", None, Body.CHUNKED, id="chunked-any-case"),
        pytest.param(b"GET", 200, None, None, Body.UNTIL_CLOSE, id="neither"),
        pytest.param(b"GET", 500, None, None, Body.UNTIL_CLOSE, id="neither-500"),
        pytest.param(b"HEAD", 200, None, b"5", Body.NONE, id="head-length"),
        pytest.param(b"HEAD", 200, b"chunked", None, Body.NONE, id="head-chunked"),
        pytest.param(b"HEAD", 200, None, None, Body.NONE, id="head-neither"),
        pytest.param(b"GET", 204, None, None, Body.NONE, id="204"),
        pytest.param(b"GET", 204, None, b"5", Body.NONE, id="204-length"),
        pytest.param(b"GET", 304, None, b"5", Body.NONE, id="304-length"),
        pytest.param(b"GET", 304, b"chunked", None, Body.NONE, id="304-chunked"),
        pytest.param(b"GET", 103, None, None, Body.NONE, id="103"),
        pytest.param(b"GET", 199, None, b"5", Body.NONE, id="199-length"),
        pytest.param(b"GET", 205, None, b"5", Body.LENGTH, id="205-length"),
    ],
)
def test_reply_body(method, status, transfer_encoding, content_length, expected):
    assert reply_body(method, status, transfer_encoding, content_length) == expected


@pytest.mark.parametrize(
    "coding",
    [
        pytest.param(b"gzip", id="another"),
        pytest.param(b"gzip, chunked", id="another-before"),
        pytest.param(b"chunked, gzip", id="another-behind"),
        pytest.param(b"chunked, chunked", id="twice"),
        pytest.param(b"identity", id="identity"),
        pytest.param(b"xchunked", id="prefix"),
        pytest.param(b"chunked;q=1", id="parameter"),
        pytest.param(b"chunked,", id="comma"),
        pytest.param(b"\x0bchunked", id="vertical-tab"),
        pytest.param(b"", id="empty"),
    ],
)
@pytest.mark.parametrize(
    ("method", "status"), [(b"GET", 200), (b"GET", 304), (b"HEAD", 200)], ids=["200", "304", "head"]
)
def test_reply_with_another_coding(method, status, coding):
    """It was passed on, and its end was that of the connection."""
    with pytest.raises(BadReply, match="not exactly one chunked"):
        reply_body(method, status, coding, None)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(b"HTTP/1.1 200", True, id="status"),
        pytest.param(b"HTTP/1.0 503 Service Unavailable\r\n", True, id="line"),
        pytest.param(b"HTTP/1.x 200", False, id="no-minor-version"),
        pytest.param(b"HTTP/2", False, id="http-2"),
        pytest.param(b"HTTP/1.1\t200", False, id="tab"),
        pytest.param(b"HTTP/1.1 OK", False, id="no-status"),
        pytest.param(b"HTTP/1.1 2\0", False, id="nul"),
        pytest.param(b"http/1.1 200", False, id="small-letters"),
        pytest.param(b"\r\nHTTP/1.1", False, id="empty-line"),
        pytest.param(b"RTSP/1.0 200", False, id="rtsp"),
        pytest.param(b"\x16\x03\x01", False, id="tls"),
        pytest.param(b"\0\0\x12\x04", False, id="http-2-settings"),
    ],
)
def test_start_of_head(data, expected):
    """Every beginning of a start is one, too; others are known as soon as they differ."""
    assert is_start_of_head(data) is expected
    starts = [is_start_of_head(data[:end]) for end in range(1, len(data) + 1)]
    assert starts == sorted(starts, reverse=True)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nA: b\r\n", False, id="cr-lf"),
        pytest.param(b"HTTP/1.1 200 OK\r", False, id="cr-at-the-end"),
        pytest.param(b"HTTP/1.1 200 OK\n", True, id="lf"),
        pytest.param(b"HTTP/1.1 200 OK\rA: b", True, id="cr"),
        pytest.param(b"HTTP/1.1 200 OK\r\r", True, id="two-cr"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\n", True, id="lf-behind-cr-lf"),
    ],
)
def test_other_line_ends(head, expected):
    assert has_other_line_ends(head, 0) is expected
    assert any(has_other_line_ends(head[:end], end - 2) for end in range(2, len(head) + 1)) is (
        expected
    )


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        pytest.param(b"A: b\r\nTransfer-Encoding: chunked\r\n\r\n", None, id="plain"),
        pytest.param(
            b"A: b\t\r\ntransfer-encoding:\tChunked \t\r\nB: c\r\n\r\n",
            b"A: b\t\r\ntransfer-encoding:\tChunked\r\nB: c\r\n\r\n",
            id="tab",
        ),
        pytest.param(b"A: b\r\nTransfer-Encoding: gzip\t\r\n\r\n", None, id="another"),
        pytest.param(b"A: b\r\n\r\n\r\nTransfer-Encoding: chunked\t\r\n\r\n", None, id="in-a-body"),
    ],
)
def test_plain_coding(head, expected):
    assert with_plain_coding(head) == (expected or head)


def test_reply_with_both_lengths():
    with pytest.raises(BadReply, match="Content-Length and Transfer-Encoding"):
        reply_body(b"GET", 200, b"chunked", b"5")


@pytest.mark.parametrize(
    ("version", "tokens", "expected"),
    [
        pytest.param("1.1", set(), True, id="1.1"),
        pytest.param("1.1", {b"close"}, False, id="1.1-close"),
        pytest.param("1.1", {b"keep-alive"}, True, id="1.1-keep-alive"),
        pytest.param("1.1", {b"close", b"keep-alive"}, False, id="1.1-both"),
        pytest.param("1.0", set(), False, id="1.0"),
        pytest.param("1.0", {b"keep-alive"}, True, id="1.0-keep-alive"),
        pytest.param("1.0", {b"close", b"keep-alive"}, False, id="1.0-both"),
        pytest.param("1.0", {b"te"}, False, id="1.0-other"),
    ],
)
def test_keeps_alive(version, tokens, expected):
    assert keeps_alive(version, tokens) is expected


CHUNKED_BODIES = [
    pytest.param(b"3\r\nabc\r\n0\r\n\r\n", id="one-chunk"),
    pytest.param(b"0\r\n\r\n", id="empty"),
    pytest.param(b"000\r\n\r\n", id="many-zeros"),
    pytest.param(b"6\r\n\r\n\r\n\r\n\r\n0\r\n\r\n", id="line-ends-in-the-data"),
    pytest.param(b"5\r\n0\r\n\r\n\r\n0\r\n\r\n", id="data-like-an-end"),
    pytest.param(b"1\r\na\r\n0;x=1\r\n\r\n", id="extension"),
    pytest.param(b"1\r\na\r\n0\r\nX: y\r\nZ: 0\r\n\r\n", id="trailers"),
    pytest.param(b"1\r\na\r\n0\r\nX:\r\n\r\n", id="empty-trailer"),
]


@pytest.mark.parametrize("body", CHUNKED_BODIES)
@pytest.mark.parametrize("surplus", [b"", b"\r\n", b"\n", b"\r\n\r\n", b"\r\n\r\n\r\n\r\n"])
def test_the_end_of_a_chunked_body(body, surplus):
    """The end lies in one segment; both rules speak the truth of it, wherever it was cut."""
    data = body + surplus
    for start in range(len(body)):
        for end in range(len(body), len(data) + 1):
            segment = data[start:end]
            left_over = end - len(body)
            if chunked_end_is_exact(segment):
                assert left_over == 0, segment
            assert chunked_surplus(data[:start][-8:], segment) == left_over, segment


def test_most_ends_are_exact():
    """The cheap rule must see the ends that come all the time: else it would not pay."""
    assert chunked_end_is_exact(b"a\r\n0\r\n\r\n")
    assert chunked_end_is_exact(b"\r\n0\r\n\r\n")
    assert chunked_end_is_exact(b"0\r\n\r\n")
    assert not chunked_end_is_exact(b"\r\n\r\n")


BODY = b"5;x=1\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\nX-Sum: 7\r\n\r\n"


def test_unwrapper_at_every_pair_of_split_points():
    for first in range(len(BODY) + 1):
        for second in range(first, len(BODY) + 1):
            unwrapper = Unwrapper()
            pieces = [BODY[:first], BODY[first:second], BODY[second:]]
            assert b"".join(unwrapper.feed(piece) for piece in pieces) == b"hello world"


def test_unwrapper_holds_nothing_back():
    unwrapper = Unwrapper()
    assert unwrapper.feed(b"5\r\nhel") == b"hel"
    assert unwrapper.feed(b"lo\r\n") == b"lo"
    assert unwrapper.feed(b"0\r\n\r\n") == b""


def test_unwrapper_refuses_what_is_not_chunked():
    with pytest.raises(httptools.HttpParserError):
        Unwrapper().feed(b"hello")
