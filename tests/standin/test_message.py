"""Headers in uvicorn's form."""

import pytest

from fastroute.standin.message import HeadWriter, Reply, Request, chunk, whole_fields


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        pytest.param(b"/v1/models", b"/v1/models", b"", id="path"),
        pytest.param(b"/metrics/?name[]=a&b=?", b"/metrics/", b"name[]=a&b=?", id="query"),
        pytest.param(b"http://server:80/health?x", b"/health", b"x", id="absolute"),
        pytest.param(b"*", b"*", b"", id="asterisk"),
    ],
)
def test_target_is_split(target, path, query):
    request = Request()
    request.target = target
    request.complete_head()
    assert (request.path, request.query) == (path, query)


def test_fields_after_the_headers_are_trailers():
    request = Request()
    request.add_field(b"Host", b"x")
    request.complete_head()
    request.add_field(b"X-Sum", b"1")
    assert request.fields == [(b"Host", b"x")]
    assert request.trailers == [(b"X-Sum", b"1")]


def test_body_is_kept_whole():
    request = Request()
    for part in (b"a", b"bc", b""):
        request.add_body(part)
    assert (request.body, request.body_size) == (b"abc", 3)


@pytest.mark.parametrize(
    ("keep_alive", "end"),
    [
        pytest.param(True, [b"vary: Origin"], id="stays"),
        pytest.param(False, [b"vary: Origin", b"connection: close"], id="closes"),
    ],
)
def test_headers_have_uvicorns_order(keep_alive, end):
    reply = Reply(200, b"{}", b"application/json")
    head = HeadWriter().render(200, whole_fields(reply), keep_alive=keep_alive)
    lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 200 OK"
    assert lines[1].startswith(b"date: ")
    assert lines[1].endswith(b" GMT")
    assert lines[2:5] == [
        b"server: uvicorn",
        b"content-length: 2",
        b"content-type: application/json",
    ]
    assert lines[5:] == end


def test_chunk_size_is_hexadecimal():
    assert chunk(b"x" * 257) == b"101\r\n" + b"x" * 257 + b"\r\n"
