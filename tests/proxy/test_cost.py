"""The cost of generated requests: CPU time per byte, compared with an ordinary request.

A client that sends a byte must not cost much more than any other. So a request is made of pieces
that are repeated, each of which is parsed, searched, stored or rendered in another way.
"""

import time

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.attacks import CHAT, with_body
from tests.support.memory_router import memory_router

MAX_RATIO = 20
ORDINARY = with_body(
    msgspec.json.encode(
        {"messages": [{"role": "user", "content": "Why is the sky blue? " * 50}], "stream": True}
    ),
    CHAT + b"Accept: */*\r\nUser-Agent: test/1.0\r\nAuthorization: Bearer sk-0123456789\r\n",
)
NAMES = st.sampled_from(
    b"a Via Cookie Connection TE Expect X-Forwarded-For X-Request-Id Traceparent Tracestate Accept "
    b"If-None-Match Authorization Upgrade Keep-Alive Proxy-Connection Content-Type".split()
)
VALUES = st.sampled_from([b"", b"a", b"a,b", b"," * 30, b"close", b"a" * 500, b"%41", b"\xff" * 9])
TARGETS = st.sampled_from([b"/", b"/?a=b&", b"/?model=&", b"/?model=%41", b"/%2f", b"/;a"])
JSON = st.sampled_from(
    [b'"', b'\\"', b"\\\\", b"[", b"]", b"{", b'{"":', b"[],", b'"a",', b'"a":1,', b'"model":"m",',
     b'"\\u006dodel":"m",', b'"mode\\u006d":', b" ", b"\n", b"0,", b"1e9", b"null,", b"\xff", b"\0"]
)  # fmt: skip
PARTS = st.sampled_from(
    [b"--b\r\n", b"--b\r\n\r\n\r\n", b'Content-Disposition: form-data; name="x"\r\n', b"\r\n\r\n",
     b"\r\n--b\r\nContent-Disposition: form-data; a=b; c=d\r\n\r\nx", b"; name=", b"-", b"\r\n"]
)  # fmt: skip
CHUNKS = st.sampled_from([b"1\r\nx\r\n", b"1;a\r\nx\r\n", b"1;a=b;c=d\r\nx\r\n", b"4\r\nabcd\r\n"])
REPEATED = st.integers(1, 20_000)


@st.composite
def heads(draw):
    fields = draw(st.lists(st.tuples(NAMES, VALUES, st.integers(1, 199)), max_size=4))
    lines = b"".join(b"%b: %b\r\n" % (n, v) * count for n, v, count in fields)
    target = draw(TARGETS) * draw(st.integers(1, 5000))
    return b"GET %b HTTP/1.1\r\nHost: x\r\n%b\r\n" % (target, lines)


@st.composite
def bodies(draw):
    pieces = st.lists(JSON, min_size=1, max_size=3).map(b"".join)
    start = draw(
        st.sampled_from([b"", b"{", b'{"a":"', b'{"a":[', b'{"a":', b'{"model":"m","a":0,'])
    )
    end = draw(st.sampled_from([b"", b"}", b"]}", b'"}', b',"model":"m"}']))
    return with_body(start + draw(pieces) * draw(REPEATED) + end)


@st.composite
def forms(draw):
    pieces = st.lists(PARTS, min_size=1, max_size=3).map(b"".join)
    head = CHAT.replace(b"application/json", b"multipart/form-data; boundary=b")
    return with_body(b"--b\r\n" + draw(pieces) * draw(REPEATED) + b"\r\n--b--\r\n", head)


@st.composite
def chunked(draw):
    trailers = b"%b: %b\r\n" % (draw(NAMES), draw(VALUES)) * draw(st.integers(0, 300))
    body = draw(CHUNKS) * draw(REPEATED)
    return CHAT + b"Transfer-Encoding: chunked\r\n\r\n" + body + b"0\r\n" + trailers + b"\r\n"


def cost(router, data: bytes, *, times: int = 5) -> float:
    """Return the CPU time of a request in seconds per byte, at best."""
    best = float("inf")
    for _ in range(times):
        router.pool.ready()
        client = router.client()
        begun = time.process_time()
        client.feed(*(data[at : at + 262_144] for at in range(0, len(data), 262_144)))
        best = min(best, time.process_time() - begun)
        client.lose(None)
        client.settle()
        router.pool.close_idle()
    return best / len(data)


@pytest.mark.alone
@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
@given(heads() | bodies() | forms() | chunked())
def test_of_a_byte(data):
    with memory_router(access_log="json", explain=True) as router:
        server = msgspec.structs.replace(router.routed[0], models=("m",))
        configured = msgspec.structs.replace(router.state.configured, servers=(server,))
        router.state.configure(configured)
        ordinary = cost(router, ORDINARY, times=10)
        # A short request has a cost that does not depend on its bytes.
        worst = cost(router, data) * len(data) / max(len(data), len(ORDINARY))
        assert worst < MAX_RATIO * ordinary
