"""Bytes forwarded by fastroute, compared with the bytes that vLLM sent."""

import statistics
import time

import pytest

from tests.real.router_process import RouterProcess
from tests.real.tap import Tap, TappedConnection
from tests.real.vllm_server import VllmServer
from tests.real.wire import (
    WireConnection,
    WireReply,
    completion,
    exchange,
    post,
    request_bytes,
    stream_text,
)

pytestmark = pytest.mark.real

CHAT = {
    "model": "tiny",
    "messages": [{"role": "user", "content": "Hello"}],
    "max_tokens": 12,
    "temperature": 0,
}
COMPLETION = {"model": "tiny", "prompt": "Hello", "max_tokens": 12, "temperature": 0}
RESPONSE = {"model": "tiny", "input": "Hello", "max_output_tokens": 12, "temperature": 0}
STREAM = {"stream": True}
# The server makes its id of this one, which fastroute must therefore hand on.
ID = "X-Request-Id: wire-test-1"

REQUESTS = [
    pytest.param(post("/v1/chat/completions", CHAT, ID), id="chat"),
    pytest.param(post("/v1/chat/completions", CHAT | STREAM, ID), id="chat-stream"),
    pytest.param(post("/v1/completions", COMPLETION, ID), id="completion"),
    pytest.param(post("/v1/completions", COMPLETION | STREAM, ID), id="completion-stream"),
    pytest.param(post("/v1/responses", RESPONSE, ID), id="responses"),
    pytest.param(post("/v1/responses", RESPONSE | STREAM, ID), id="responses-stream"),
    pytest.param(post("/v1/messages", CHAT, ID), id="messages"),
    pytest.param(post("/v1/messages", CHAT | STREAM, ID), id="messages-stream"),
    pytest.param(post("/tokenize", {"model": "tiny", "prompt": "Hi there"}), id="tokenize"),
    pytest.param(post("/detokenize", {"model": "tiny", "tokens": [50, 60, 70]}), id="detokenize"),
    pytest.param(post("/v1/embeddings", {"model": "tiny", "input": "Hi"}), id="embeddings-404"),
    pytest.param(request_bytes("GET", "/version"), id="version"),
    pytest.param(request_bytes("GET", "/ping"), id="empty-body"),
    pytest.param(request_bytes("GET", "/no/such/path?a=1&b=%20"), id="unknown-path-404"),
    pytest.param(request_bytes("GET", "/v1/chat/completions"), id="wrong-method-405"),
    pytest.param(request_bytes("OPTIONS", "/v1/chat/completions"), id="options-405"),
    pytest.param(request_bytes("POST", "/v1/chat/completions", b"{broken"), id="not-json-400"),
    pytest.param(request_bytes("POST", "/v1/chat/completions", b""), id="no-body-400"),
    pytest.param(post("/v1/chat/completions", CHAT | {"max_tokens": 10**6}), id="too-long-400"),
    pytest.param(
        post("/v1/chat/completions", CHAT | STREAM | {"max_tokens": 10**6}), id="stream-400"
    ),
]


def without_own_fields(reply: WireReply) -> list[tuple[bytes, bytes]]:
    """Return the headers without fastroute's own, which must be only on event streams."""
    own = [f for f in reply.fields if f[0].lower() == b"x-accel-buffering"]
    is_event_stream = (reply.value(b"content-type") or b"").startswith(b"text/event-stream")
    assert [value for _, value in own] == ([b"no"] if is_event_stream else [])
    return [f for f in reply.fields if f not in own]


@pytest.mark.parametrize("request_", REQUESTS)
def test_reply_equals_the_direct_one(router: RouterProcess, servers: list[VllmServer], request_):
    """Same status line, headers in the same order and spelling, and body in the same chunks."""
    # On a busy machine the engine gets ahead of its HTTP side now and then, and tokens share an
    # event, in either answer: two that differ are asked for again.
    for _ in range(5):
        reply = exchange(router.port, request_)
        own = set(reply.fields) - set(without_own_fields(reply))
        status_line, fields, parts = reply.stable()
        seen = status_line, [f for f in fields if f not in own], parts
        expected = exchange(servers[0].port, request_).stable()
        if seen == expected:
            break
    assert seen == expected


@pytest.mark.parametrize("request_", REQUESTS)
def test_bytes_are_those_the_server_sent(spawn_router, servers: list[VllmServer], request_):
    """One exchange, seen on both sides of fastroute: all bytes are compared."""
    with Tap(servers[0].port) as tap:
        router = spawn_router("--server", tap.url, "--max-load", "16")
        with WireConnection(router.port) as connection:
            connection.send(request_)
            seen = connection.read_reply()
        sent = tapped(tap).reply
    head, _, body = bytes(sent).partition(b"\r\n\r\n")
    original = WireReply(head + b"\r\n\r\n")
    assert seen.status_line == original.status_line
    assert without_own_fields(seen) == original.fields
    assert bytes(seen.body) == body


def tapped(tap: Tap) -> TappedConnection:
    """The one connection that a client's request went over; fastroute asks on others itself."""
    own = b"User-Agent: fastroute"
    used = [c for c in tap.connections if c.request and own not in c.request]
    assert len(used) == 1, [bytes(c.request[:80]) for c in used]
    return used[0]


def test_request_is_handed_on(spawn_router, servers: list[VllmServer]):
    """Path, query and body as they came; Host is the server's; what is for one hop stays behind."""
    body = b'{"model": "tiny",  "prompt": "A\\u00e9", "max_tokens": 1}'
    fields = ("Authorization: Bearer sk-1", "Connection: keep-alive, x-hop", "X-Hop: 1", ID)
    request = request_bytes("POST", "/v1/completions?a=1&b=%2F", body, fields)
    with Tap(servers[0].port) as tap:
        router = spawn_router("--server", tap.url)
        assert exchange(router.port, request).status == 200
        head, _, sent_body = bytes(tapped(tap).request).partition(b"\r\n\r\n")
    sent = WireReply(head + b"\r\n\r\n")
    assert sent.status_line == b"POST /v1/completions?a=1&b=%2F HTTP/1.1"
    assert sent_body == body
    assert sent.value(b"host") == tap.url.removeprefix("http://").encode()
    assert sent.value(b"authorization") == b"Bearer sk-1"
    assert sent.value(b"x-request-id") == b"wire-test-1"
    assert sent.value(b"x-forwarded-for") == b"127.0.0.1"
    assert sent.value(b"x-forwarded-proto") == b"http"
    assert sent.value(b"x-forwarded-host") == b"model.example"
    assert sent.value(b"via") is not None
    assert sent.value(b"x-hop") is None


def test_chunked_request_body(router: RouterProcess, servers: list[VllmServer]):
    body = b'{"model": "tiny", "prompt": "Hello", "max_tokens": 3, "temperature": 0}'
    head = request_bytes(
        "POST",
        "/v1/completions",
        None,
        ("Transfer-Encoding: chunked", "Content-Type: application/json", ID),
    )
    chunks = b"".join(b"%x\r\n%b\r\n" % (1, bytes([byte])) for byte in body) + b"0\r\n\r\n"
    expected = exchange(servers[0].port, head + chunks)
    assert expected.status == 200
    assert exchange(router.port, head + chunks).stable() == expected.stable()


def test_expect_100_continue(router: RouterProcess):
    """The body is sent only after the 100, as in curl with a large one."""
    body = b'{"model": "tiny", "prompt": "Hello", "max_tokens": 3}'
    request = request_bytes("POST", "/v1/completions", body, ("Expect: 100-continue",))
    with WireConnection(router.port) as connection:
        connection.send(request.removesuffix(body))
        assert connection.read_reply().status == 100
        connection.send(body)
        assert connection.read_reply().status == 200


def test_head_is_answered_without_a_body(router: RouterProcess, servers: list[VllmServer]):
    """A HEAD with a Content-Length must not make the connection wait for a body."""
    request = request_bytes("HEAD", "/version")
    expected = exchange(servers[0].port, request, has_body=False)
    with WireConnection(router.port) as connection:
        connection.send(request)
        assert connection.read_reply(has_body=False).stable() == expected.stable()
        connection.send(request_bytes("GET", "/version"))
        assert connection.read_reply().content.startswith(b'{"version"')


def test_pipelined_requests_are_answered_in_order(router: RouterProcess):
    requests = [completion(tokens, stream=tokens % 2 == 0) for tokens in (30, 2, 9, 4, 1)]
    with WireConnection(router.port) as connection:
        connection.send(b"".join(requests))
        replies = [connection.read_reply() for _ in requests]
    assert [reply.status for reply in replies] == [200] * 5
    assert [len(stream_text(reply.chunks)) for reply in replies if reply.chunks] == [30, 2, 4]
    assert [
        b'"completion_tokens":%d,' % n in reply.content
        for n, reply in zip((9, 1), [r for r in replies if not r.chunks], strict=True)
    ]


def test_http_1_0_client_gets_a_stream_without_chunks(router: RouterProcess):
    """vLLM sends chunks even to HTTP/1.0; fastroute must unwrap them and end by closing."""
    request = completion(8).replace(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", 1)
    reply = exchange(router.port, request)
    assert reply.value(b"transfer-encoding") is None
    events = bytes(reply.body).split(b"\n\n")
    assert all(event.startswith(b"data: ") for event in events[:-1])
    assert events[-2:] == [b"data: [DONE]", b""]


def test_events_leave_as_they_arrive(spawn_router, servers: list[VllmServer], measured):
    """Each event is one chunk and is forwarded on arrival, neither merged nor at the end."""
    with Tap(servers[0].port) as tap:
        router = spawn_router("--server", tap.url)
        reply = exchange(router.port, completion(100))
        kept = tapped(tap)
    assert all(chunk.startswith(b"data: ") and chunk.endswith(b"\n\n") for chunk in reply.chunks)
    assert len(reply.chunks) > 80

    # When the tap had passed on the last byte of each chunk. The body has the same bytes on
    # both sides, so offsets are counted from its end.
    lag, end = [], len(reply.body)
    position = 0
    for data, seen_at in zip(reply.chunks, reply.chunk_times, strict=True):
        position += len(b"%x\r\n" % len(data)) + len(data) + 2
        wanted = len(kept.reply) - end + position
        sent_at = next(when for total, when in kept.reply_times if total >= wanted)
        lag.append(seen_at - sent_at)
    duration = reply.chunk_times[-1] - reply.chunk_times[0]
    gaps = [b - a for a, b in zip(reply.chunk_times, reply.chunk_times[1:], strict=False)]
    measured(
        f"{len(reply.chunks)} events in {duration:.2f} s, median gap "
        f"{statistics.median(gaps) * 1e3:.1f} ms; from the server to the client median "
        f"{statistics.median(lag) * 1e3:.2f} ms, most {max(lag) * 1e3:.2f} ms"
    )
    assert duration > 0.2
    assert max(gaps) < duration / 2
    assert statistics.median(lag) < 0.01
    assert max(lag) < 0.1


def test_head_of_a_stream_does_not_wait_for_the_first_event(router: RouterProcess, measured):
    """The headers come first; a long prompt shows that fastroute does not buffer them."""
    with WireConnection(router.port) as connection:
        connection.send(completion(2, prompt="x" * 8000))
        start = time.monotonic()
        reply = connection.read_reply(until_chunks=0)
        head_after = time.monotonic() - start
        connection.read_chunks(reply)
    event_after = reply.chunk_times[0] - start
    measured(f"head after {head_after * 1e3:.0f} ms, first event after {event_after * 1e3:.0f} ms")
    assert head_after < event_after / 2


def test_redirect_does_not_name_the_server(router: RouterProcess):
    """vLLM makes the address of a redirect from Host, which is its own behind fastroute."""
    with WireConnection(router.port) as connection:
        connection.send(request_bytes("GET", "/v1/models/"))
        reply = connection.read_reply()
        assert reply.status == 307
        assert reply.value(b"location") in (b"/v1/models", b"http://model.example/v1/models")
        connection.send(request_bytes("GET", "/v1/models"))
        assert connection.read_reply().status == 200


def test_connection_close_is_kept(router: RouterProcess, servers: list[VllmServer]):
    """A client that requests it gets its response with that header, and then the close."""
    request = post("/v1/completions", COMPLETION | STREAM, ID, "Connection: close")
    with WireConnection(router.port) as connection:
        connection.send(request)
        reply = connection.read_reply()
        assert (reply.value(b"connection") or b"").lower() == b"close"
        assert reply.chunks[-1] == b"data: [DONE]\n\n"
        assert connection.socket.recv(1) == b""
