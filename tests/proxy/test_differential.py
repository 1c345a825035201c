"""What reaches a server is what h11 reads in the client's own bytes, whatever those are."""

import re
import string

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from tests.support.judge import (
    HOP_BY_HOP,
    JudgedRequest,
    judge_doubtful_requests,
    judge_requests,
)
from tests.support.memory_router import MemoryRouter, memory_router
from tests.support.memory_transport import End

pytestmark = pytest.mark.exhaustive

NO_CONTENT = b"HTTP/1.1 204 No Content\r\nDate: x\r\n\r\n"
CLIENT = b"192.0.2.7"
# Written anew, or moved: compared one by one.
REWRITTEN = {
    *(b"host", b"via", b"x-request-id", b"authorization"),
    *(b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"),
}
TOKEN = (string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~").encode()
VISIBLE = bytes(range(0x21, 0x7F))
OBS_TEXT = bytes(range(0x80, 0x100))
METHODS = (b"GET", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"HEAD", b"TRACE", b"PROPFIND")

SETTINGS = settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


def text(alphabet: bytes, *, min_size: int = 0, max_size: int = 12) -> st.SearchStrategy[bytes]:
    return st.lists(st.sampled_from(alphabet), min_size=min_size, max_size=max_size).map(bytes)


def is_plain(name: bytes) -> bool:
    """Whether a field decides nothing; one called Close cannot be named in Connection."""
    return name.lower() not in HOP_BY_HOP | REWRITTEN | {b"close"}


NAMES = st.one_of(
    st.sampled_from((b"Accept", b"content-TYPE", b"X-A", b"x-b", b"Cookie", b"Age", b"Date")),
    text(TOKEN, min_size=1).filter(is_plain),
)
WHITE = st.sampled_from((b"", b" ", b"\t", b"  ", b" \t"))
WORDS = text(VISIBLE + OBS_TEXT, max_size=8)
VALUES = st.tuples(WHITE, st.lists(WORDS, max_size=3).map(b" \t".join), WHITE).map(b"".join)
SPECIAL = st.sampled_from(
    (
        *(b"X-Forwarded-For: 1.2.3.4", b"x-forwarded-for: ::1 ", b"X-Forwarded-Proto: https"),
        *(b"X-Forwarded-Host: api", b"Via: 1.0 a", b"via: 1.1 b", b"X-Request-Id: my id"),
        *(b"TE: trailers", b"Keep-Alive: timeout=1", b"Trailer: X-Sum", b"Proxy-Connection: x"),
        *(b"Upgrade: h2c", b"HTTP2-Settings: AA", b"Authorization: Bearer a"),
    )
)
EXTENSIONS = st.sampled_from((b"", b";a", b";a=b", b';a="b c"', b';a="\\"";b', b";a=b;c"))
TARGETS = st.tuples(
    st.sampled_from((b"/", b"/", b"/v1/x", b"//", b"http://*/", b"HTTPS://*/x")),
    text(VISIBLE.replace(b"#", b"")),
)
"""Pieces of a target; the asterisk in the first stands for the host."""


@st.composite
def bodies(draw) -> tuple[list[bytes], bytes]:
    """Framing fields, and the body as it is on the wire."""
    kind = draw(st.sampled_from(("none", "length", "chunked")))
    if kind == "none":
        return [], b""
    if kind == "length":
        body = draw(st.binary(max_size=64))
        return [b"Content-Length: %d" % len(body)], body
    wire = b""
    for chunk in draw(st.lists(st.binary(min_size=1, max_size=32), max_size=4)):
        size = draw(st.sampled_from((b"%x", b"%X", b"%03x"))) % len(chunk)
        wire += size + draw(EXTENSIONS) + b"\r\n" + chunk + b"\r\n"
    wire += draw(st.sampled_from((b"0", b"000"))) + draw(EXTENSIONS) + b"\r\n"
    for name, value in draw(st.lists(st.tuples(NAMES, VALUES), max_size=2)):
        wire += name + b":" + value + b"\r\n"
    return [draw(st.sampled_from((b"Transfer-Encoding: chunked", b"transfer-encoding:Chunked")))], (
        wire + b"\r\n"
    )


@st.composite
def requests(draw) -> bytes:
    """A request that is good HTTP/1.1, though perhaps odd."""
    plain = draw(st.lists(st.tuples(NAMES, VALUES), max_size=5))
    lines = [name + b":" + value for name, value in plain]
    lines += draw(st.lists(SPECIAL, max_size=4, unique_by=lambda line: line.split(b":")[0]))
    if plain and draw(st.booleans()):
        named = draw(st.lists(st.sampled_from([name for name, _ in plain]), max_size=3))
        lines.append(b"Connection: " + draw(st.sampled_from((b",", b" , "))).join(named))
    framing, body = draw(bodies())
    start, rest = draw(TARGETS)
    hosts = (b"a", b"a:80", b"[::1]:8000") if b"*" in start else (b"a", b"", b"a:80", b"[::1]:8000")
    host = draw(st.sampled_from(hosts))
    lines += [b"Host: " + host, *framing]
    lines = draw(st.permutations(lines))
    target = start.replace(b"*", host) + rest
    line = draw(st.sampled_from(METHODS)) + b" " + target + b" HTTP/1.1"
    return b"\r\n".join((line, *lines, b"", body))


@st.composite
def cuts(draw, data: bytes) -> list[bytes]:
    points = sorted(draw(st.lists(st.integers(0, len(data)), max_size=6)))
    return [data[a:b] for a, b in zip([0, *points], [*points, len(data)], strict=True)]


def served(router: MemoryRouter, segments: list[bytes]) -> tuple[list[JudgedRequest], bytes]:
    """Send these segments; every request is answered. Returns what the server and client got."""
    client, upstream = router.client(CLIENT.decode()), router.pool.ready()
    forwarded = []
    for segment in segments:
        client.feed(segment)
        while sent := upstream.take():
            [request] = judge_requests(sent)
            assert request.whole
            forwarded.append(request)
            upstream.feed(NO_CONTENT)
    replies = client.written()
    if client.end is End.OPEN:
        client.abort()
    client.settle()
    router.pool.close_idle()
    router.check_settled()
    return forwarded, replies


def check_same(got: JudgedRequest, sent: JudgedRequest, *, has_body: bool) -> None:
    """Compare a request as the server got it with how h11 reads what the client sent."""
    authority, path = re.fullmatch(
        rb"(?:https?://([^/?]*))?(.*)", sent.target, re.I | re.S
    ).groups()
    assert (got.method, got.target, got.version) == (sent.method, path, b"1.1")
    assert got.body == sent.body
    tokens = {
        token.strip().lower() for line in sent.values(b"connection") for token in line.split(b",")
    }
    dropped = HOP_BY_HOP | REWRITTEN | tokens
    kept = [field for field in sent.fields if field[0] not in dropped]
    assert [field for field in got.fields if field[0] not in HOP_BY_HOP | REWRITTEN] == kept

    def left(name: bytes) -> list[bytes]:
        return [] if name in tokens else sent.values(name)

    assert got.values(b"host") == [b"server-0:8000"]
    assert got.values(b"x-forwarded-for") == [b", ".join([*left(b"x-forwarded-for"), CLIENT])]
    assert got.values(b"x-forwarded-proto") == (left(b"x-forwarded-proto") or [b"http"])
    host = left(b"x-forwarded-host") or [authority or sent.values(b"host")[0]]
    assert got.values(b"x-forwarded-host") == host
    assert got.values(b"via") == [b", ".join([*left(b"via"), b"1.1 fastroute"])]
    assert got.values(b"authorization") == left(b"authorization")
    [request_id] = got.values(b"x-request-id")
    assert [request_id] == left(b"x-request-id") or re.fullmatch(rb"[0-9a-f-]{25}", request_id)
    assert got.values(b"content-length") == ([b"%d" % len(sent.body)] if has_body else [])
    for name in HOP_BY_HOP - {b"content-length"}:
        assert not got.values(name)


@pytest.fixture(scope="module")
def shared_router():
    """One for all examples: to make one takes longer than to run an example."""
    with memory_router() as router:
        yield router


@SETTINGS
@given(st.data())
def test_good_requests(shared_router, data):
    """Pipelined and cut anywhere, each reaches the server as h11 reads it; and so it does again.

    The second time its head is known, and the parser may not see it.
    """
    raw = data.draw(st.lists(requests(), min_size=1, max_size=3))
    sent = judge_requests(b"".join(raw))
    assert len(sent) == len(raw), "the strategy makes good requests only"
    for segments in (data.draw(cuts(b"".join(raw))), raw, raw):
        forwarded, replies = served(shared_router, segments)
        assert len(forwarded) == len(sent), replies
        for got, expected in zip(forwarded, sent, strict=True):
            framed = expected.values(b"content-length") + expected.values(b"transfer-encoding")
            check_same(got, expected, has_body=bool(framed))
        assert replies == NO_CONTENT * len(sent)


# The parser passes over any line ends before a request, and takes several blanks for one in its
# first line, where h11 does not. Neither is left when it reaches the server.
LENIENT = re.compile(r"no request line received|illegal request line: bytearray\(b.(\\r|.*  )")
PIECES = (
    *(b"\r", b"\n", b"\r\n", b" ", b"\t", b"\0", b"\x0b", b":", b",", b";", b"0", b"1", b""),
    *(b"chunked", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n"),
)


@st.composite
def mutations(draw, data: bytes) -> bytes:
    """The same bytes but for a few."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.sampled_from((0, 0, 1, 1, 2, 5))))
        piece = draw(st.one_of(st.sampled_from(PIECES), st.binary(max_size=3)))
        data = data[:start] + piece + data[end:]
    return data


@SETTINGS
@given(st.data())
def test_broken_requests(shared_router, data):
    """Of requests with faults in them h11 may accept more, but what we accept is read alike.

    Whatever is not forwarded was refused, or is still unfinished.
    """
    good = b"".join(data.draw(st.lists(requests(), min_size=1, max_size=2)))
    served(shared_router, [good])  # so that what it was before the mutation is known
    raw = data.draw(mutations(good))
    sent, refusal = judge_doubtful_requests(raw)
    forwarded, replies = served(shared_router, data.draw(cuts(raw)))
    event(f"forwarded {len(forwarded)}, h11 read {len(sent)}")
    whole = [request for request in sent if request.whole]
    if not LENIENT.search(str(refusal)):
        assert len(forwarded) <= len(whole), (refusal, replies)
    for got, expected in zip(forwarded, whole, strict=False):
        target = re.sub(rb"^(?i:https?)://[^/?]*", b"", expected.target)
        assert (got.method, got.body) == (expected.method, expected.body)
        assert got.target in (target, b"/" + target)
