"""Parsing and rendering headers: the cost of every request before any decision."""

import httptools
import pytest

from benchmarks.comparison import traffic, upstream
from fastroute.rules.framing import Body
from fastroute.rules.request_head import RequestHead
from fastroute.rules.response_head import ReplyHead

BODY = traffic.chat_request(1024)
REQUEST = traffic.request_head("127.0.0.1:8888", BODY) + BODY
REPLIES = {
    "json": upstream.JSON_REPLY[: -traffic.REPLY_BYTES],
    "stream": upstream.STREAM_HEAD,
}


class Recorder:
    """Callbacks of a parser like those of the connections: they only record."""

    def __init__(self) -> None:
        self.fields: list[tuple[bytes, bytes]] = []
        self.target = b""
        self.body = b""

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))

    def on_body(self, body: bytes) -> None:
        self.body = body


def parsed_request() -> RequestHead:
    recorder = Recorder()
    parser = httptools.HttpRequestParser(recorder)
    parser.feed_data(REQUEST)
    version = parser.get_http_version()
    return RequestHead(parser.get_method(), recorder.target, version, recorder.fields)


def test_request_head_parse(benchmark):
    head = benchmark(parsed_request)
    assert head.body is Body.LENGTH
    assert head.target == traffic.CHAT_PATH.encode()


def test_request_head_render(benchmark):
    head = parsed_request()
    rendered = benchmark(
        head.render,
        authority=b"127.0.0.1:9000",
        authorization=None,
        client=b"127.0.0.1",
        request_id=b"0123456789abcdef-00000001",
        body_length=len(BODY),
    )
    assert rendered.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
    assert traffic.content_length(rendered) == len(BODY)


@pytest.mark.parametrize("kind", REPLIES)
def test_reply_head_parse(benchmark, kind):
    raw = REPLIES[kind]

    def parse() -> ReplyHead:
        recorder = Recorder()
        parser = httptools.HttpResponseParser(recorder)
        parser.feed_data(raw)
        version = parser.get_http_version()
        return ReplyHead(b"POST", parser.get_status_code(), version, recorder.fields)

    head = benchmark(parse)
    assert head.is_event_stream == (kind == "stream")
    assert head.body is (Body.CHUNKED if kind == "stream" else Body.LENGTH)


@pytest.mark.parametrize("kind", REPLIES)
def test_reply_head_render(benchmark, kind):
    raw = REPLIES[kind]
    recorder = Recorder()
    httptools.HttpResponseParser(recorder).feed_data(raw)
    head = ReplyHead(b"POST", 200, "1.1", recorder.fields)
    rendered = benchmark(head.render, raw, authority=b"127.0.0.1:9000")
    assert rendered.endswith(b"\r\n\r\n")
