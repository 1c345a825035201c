"""One framer for all connections to servers: heads, body and end, however the bytes are cut."""

import pytest

from fastroute.rules.framing import ReplyEnd
from fastroute.rules.head_match import HeadMatcher
from fastroute.rules.response import MAX_INFORMATIONAL, ResponseFramer

LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKS = b"3\r\nabc\r\n1;x=y\r\nd\r\n0\r\nX: y\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"


class Reading:
    """Reads responses as the owner of a connection does."""

    def __init__(self, known: HeadMatcher | None = None, max_head_bytes: int = 1000) -> None:
        self.framer = ResponseFramer(known or HeadMatcher(10), max_head_bytes)

    def read(self, *segments: bytes, method: bytes = b"GET") -> None:
        """Take a response; bytes behind its end or its failure are not read."""
        self.framer.start(method)
        self.statuses: list[int] = []
        self.body = b""
        self.is_final = False
        for segment in segments:
            if self.framer.end is not None:
                break
            if self.is_final:
                passes = self.framer.passes(segment)
                self.body += segment if passes else self.framer.end_body(segment)
            elif segment:
                self._read_heads(segment)

    def _read_heads(self, data: bytes) -> None:
        found = self.framer.read_head(data)
        while found is not None:
            head, raw, first_body = found
            assert raw.startswith(b"HTTP/1.")
            assert raw.endswith(b"\r\n\r\n")
            self.statuses.append(head.status)
            if head.is_final():
                self.is_final = True
                self.body = first_body
                return
            assert not first_body
            found = self.framer.read_head(b"")

    @property
    def result(self) -> tuple[list[int], bytes, ReplyEnd | None]:
        return self.statuses, self.body, self.framer.end


@pytest.mark.parametrize(
    ("data", "method", "statuses", "body", "end"),
    [
        pytest.param(LENGTH, b"GET", [200], b"hello", ReplyEnd.REUSABLE, id="length"),
        pytest.param(LENGTH[:-1], b"GET", [200], b"hell", None, id="length-unfinished"),
        pytest.param(
            LENGTH[:-5].replace(b"5", b"0"), b"GET", [200], b"", ReplyEnd.REUSABLE, id="length-zero"
        ),
        pytest.param(LENGTH[:-5], b"HEAD", [200], b"", ReplyEnd.REUSABLE, id="head"),
        pytest.param(CHUNKED, b"HEAD", [200], b"", ReplyEnd.REUSABLE, id="head-chunked"),
        pytest.param(CHUNKED + CHUNKS, b"GET", [200], CHUNKS, ReplyEnd.REUSABLE, id="chunked"),
        pytest.param(
            CHUNKED + CHUNKS[:-1], b"GET", [200], CHUNKS[:-1], None, id="chunked-unfinished"
        ),
        pytest.param(UNTIL_CLOSE + b"abc", b"GET", [200], b"abc", None, id="until-close"),
        pytest.param(b"HTTP/1.1 204 N\r\n\r\n", b"GET", [204], b"", ReplyEnd.REUSABLE, id="204"),
        pytest.param(
            b"HTTP/1.1 304 N\r\nContent-Length: 5\r\n\r\n",
            *(b"GET", [304], b"", ReplyEnd.REUSABLE),
            id="304",
        ),
        pytest.param(
            HINTS + HINTS + LENGTH,
            *(b"GET", [103, 103, 200], b"hello", ReplyEnd.REUSABLE),
            id="informational",
        ),
        pytest.param(
            LENGTH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
            *(b"GET", [200], b"hello", ReplyEnd.SPENT),
            id="close",
        ),
    ],
)
def test_at_every_split_point(data, method, statuses, body, end):
    """Also as the first and second response of a connection, whose heads are known by then."""
    for split in range(len(data) + 1):
        reading = Reading()
        for _ in range(2):
            reading.read(data[:split], data[split:], method=method)
            assert reading.result == (statuses, body, end), split
            if end is not ReplyEnd.REUSABLE:
                break
            reading.read(LENGTH)
            assert reading.result == ([200], b"hello", ReplyEnd.REUSABLE), split


@pytest.mark.parametrize(
    ("data", "body", "end"),
    [
        pytest.param(LENGTH + b"\r\n", b"hello", ReplyEnd.SPENT, id="line-end"),
        pytest.param(LENGTH + LENGTH, b"hello", ReplyEnd.SPENT, id="behind-a-length"),
        pytest.param(b"HTTP/1.1 204 N\r\n\r\nx", b"", ReplyEnd.SPENT, id="behind-no-body"),
        pytest.param(CHUNKED + CHUNKS + b"\n", CHUNKS, ReplyEnd.SPENT, id="chunks-and-line-feed"),
        pytest.param(CHUNKED + CHUNKS + LENGTH, b"", ReplyEnd.UNSOLICITED, id="behind-chunks"),
        pytest.param(CHUNKED + CHUNKS + b"x", b"", ReplyEnd.BROKEN_CHUNKS, id="byte-behind-chunks"),
    ],
)
def test_surplus(data, body, end):
    reading = Reading()
    reading.read(data)
    assert (reading.body, reading.framer.end) == (body, end)


@pytest.mark.parametrize(
    ("data", "end", "reason"),
    [
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", ReplyEnd.INVALID_HTTP, "HTTP/1", id="ssh"),
        pytest.param(b"\x15\x03\x01", ReplyEnd.INVALID_HTTP, "HTTP/1", id="tls"),
        pytest.param(b"\r\n" + LENGTH, ReplyEnd.INVALID_HTTP, "HTTP/1", id="line-end-first"),
        pytest.param(
            b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
            *(ReplyEnd.INVALID_HTTP, "status 101"),
            id="101",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nX: " + b"a" * 1000,
            *(ReplyEnd.HEAD_TOO_LONG, "longer than 1000 bytes"),
            id="too-long",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\n" + b"a:\r\n" * 201 + b"\r\n",
            *(ReplyEnd.INVALID_HTTP, "more than 200 headers"),
            id="too-many-headers",
        ),
        pytest.param(
            LENGTH.replace(b": 5", b": " + b"0" * 500 + b"5"),
            *(ReplyEnd.INVALID_HTTP, "more than 18 digits"),
            id="too-many-digits",
        ),
        pytest.param(
            LENGTH.replace(b"\r\n\r\n", b"\r\nConnection: " + b"a," * 40 + b"\r\n\r\n"),
            *(ReplyEnd.INVALID_HTTP, "more than 32 members"),
            id="too-many-members",
        ),
        pytest.param(
            HINTS * (MAX_INFORMATIONAL + 1),
            *(ReplyEnd.HEAD_TOO_LONG, "more than 100 informational"),
            id="endless-hints",
        ),
        pytest.param(b"HTTP/1.1 x", ReplyEnd.INVALID_HTTP, "HTTP/1", id="no-status"),
        pytest.param(b"HTTP/1.1 200 OK\n", ReplyEnd.INVALID_HTTP, "CR LF", id="bare-lf"),
        pytest.param(
            LENGTH.replace(b"\r\n", b"\n"), ReplyEnd.INVALID_HTTP, "CR LF", id="all-bare-lf"
        ),
        pytest.param(
            LENGTH.replace(b"\r\n", b"\r"), ReplyEnd.INVALID_HTTP, "CR LF", id="all-bare-cr"
        ),
        pytest.param(
            LENGTH.replace(b"\r\n\r\n", b"\r\n\n"),
            ReplyEnd.INVALID_HTTP,
            "CR LF",
            id="bare-lf-last",
        ),
        pytest.param(
            CHUNKED.replace(b"chunked", b"chunked, chunked") + CHUNKS,
            *(ReplyEnd.INVALID_HTTP, "not exactly one chunked"),
            id="chunked-twice",
        ),
        *(
            pytest.param(
                LENGTH.replace(b"OK", b"O%cK" % byte),
                *(ReplyEnd.INVALID_HTTP, "control characters"),
                id=f"reason-phrase-{byte:02x}",
            )
            for byte in (0x00, 0x01, 0x08, 0x0B, 0x1B, 0x1F, 0x7F)
        ),
    ],
)
def test_broken(data, end, reason):
    """No bytes beyond those that show it are needed, and no head of it is returned."""
    for segments in ([data], [data[at : at + 1] for at in range(len(data))]):
        reading = Reading()
        reading.read(*segments)
        assert 200 not in reading.statuses
        assert reading.framer.end is end
        assert reason in reading.framer.reason


def test_broken_chunks_right_behind_the_head():
    reading = Reading()
    reading.read(CHUNKED + b"x\r\n")
    assert not reading.statuses
    assert reading.framer.end is ReplyEnd.BROKEN_CHUNKS
    assert "chunked coding" in reading.framer.reason


@pytest.mark.parametrize(
    "phrase",
    [
        pytest.param(b" OK", id="usual"),
        pytest.param(b" ", id="empty"),
        pytest.param(b"", id="no-blank"),
        pytest.param(b" a\tb", id="tab"),
        pytest.param(b" \xc3\xa9\xff", id="not-ascii"),
    ],
)
def test_reason_phrases(phrase):
    reading = Reading()
    reading.read(LENGTH.replace(b" OK", phrase))
    assert reading.result == ([200], b"hello", ReplyEnd.REUSABLE)


@pytest.mark.parametrize("coding", [b"chunked\t", b"\tChunked \t ", b" chunked"])
def test_white_space_around_chunked(coding):
    """With a tab behind it the end of the body was not found, and the client waited for it."""
    reading = Reading()
    reading.read(CHUNKED.replace(b" chunked", coding) + CHUNKS)
    assert reading.result == ([200], CHUNKS, ReplyEnd.REUSABLE)


@pytest.mark.parametrize(
    ("data", "in_order", "error", "end", "reason"),
    [
        pytest.param(b"", True, None, ReplyEnd.CLOSED, "connection closed", id="no-byte"),
        pytest.param(LENGTH[:9], True, None, ReplyEnd.CLOSED, "connection closed", id="head"),
        pytest.param(LENGTH[:-1], True, None, ReplyEnd.CLOSED, "connection closed", id="length"),
        pytest.param(CHUNKED, True, None, ReplyEnd.CLOSED, "connection closed", id="chunked"),
        pytest.param(UNTIL_CLOSE, True, None, ReplyEnd.SPENT, "", id="until-close"),
        pytest.param(UNTIL_CLOSE, False, None, ReplyEnd.CLOSED, "connection closed", id="no-end"),
        pytest.param(
            UNTIL_CLOSE,
            False,
            OSError("reset"),
            ReplyEnd.LOST,
            "connection lost: reset",
            id="reset",
        ),
    ],
)
def test_the_connection_ends(data, in_order, error, end, reason):
    reading = Reading()
    reading.read(data)
    assert reading.framer.close(in_order, error) is end
    assert (reading.framer.end, reading.framer.reason) == (end, reason)


def test_a_segment_is_handed_on_itself():
    """Nothing is copied: an event leaves as the object that came."""
    reading = Reading()
    reading.read(CHUNKED)
    event = b"3\r\nabc\r\n"
    assert reading.framer.passes(event)
    last = b"0\r\n\r\n"
    assert not reading.framer.passes(last)
    assert reading.framer.end_body(last) is last
