import pytest

from benchmarks.comparison import traffic
from benchmarks.comparison.replies import read_beginning, read_reply, why_wrong

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
PARTS = [traffic.sse_event(0), traffic.sse_event(1), traffic.sse_end()]
CHUNKED = HEAD + b"".join(map(traffic.chunk, PARTS)) + traffic.LAST_CHUNK
PLAIN = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc"


@pytest.mark.parametrize(
    ("raw", "body"),
    [pytest.param(CHUNKED, b"".join(PARTS), id="chunked"), pytest.param(PLAIN, b"abc", id="plain")],
)
def test_a_reply_is_whole_at_its_last_byte_and_not_before(raw, body):
    assert [read_reply(raw[:k]) for k in range(len(raw))] == [None] * len(raw)
    reply = read_reply(raw + b"more")
    assert (reply.status, reply.body, reply.end) == (200, body, len(raw))


def test_the_beginning_is_what_came_in_whole_chunks():
    whole = b"".join(PARTS)
    for k in range(len(CHUNKED) + 1):
        beginning = read_beginning(CHUNKED[:k])
        if k < len(HEAD):
            assert beginning is None
        else:
            assert whole.startswith(beginning.body)
            assert len(beginning.body) in (0, 200, 400, len(whole))
    assert beginning.body == whole


@pytest.mark.parametrize("read", [read_reply, read_beginning])
@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", id="old"),
        pytest.param(HEAD + b"3\r\nabcXX", id="chunk-too-long"),
        pytest.param(HEAD + b"zz\r\nabc\r\n", id="no-size"),
    ],
)
def test_what_is_no_reply_is_refused(read, raw):
    with pytest.raises(ValueError, match=r"."):
        read(raw)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        pytest.param(PLAIN, None, id="right"),
        pytest.param(PLAIN.replace(b"abc", b"abd"), "other bytes", id="other-bytes"),
        pytest.param(PLAIN.replace(b"3", b"2", 1), "2 body bytes instead of 3", id="short"),
        pytest.param(PLAIN.replace(b"200 OK", b"502 No"), "status 502: abc", id="status"),
    ],
)
def test_what_is_wrong_is_said(raw, reason):
    found = why_wrong(read_reply(raw), b"abc")
    assert found == reason if reason is None else reason in found
