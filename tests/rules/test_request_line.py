"""Request lines have one form; who speaks another protocol is told so."""

import pytest

from fastroute.errors import BadRequest
from fastroute.rules.request_line import HeadBytes, is_plain_line, line_problem, other_protocol


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        pytest.param(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n", True, id="plain"),
        pytest.param(b"\r\nGET /x HTTP/1.1\r\n", True, id="empty-line-first"),
        pytest.param(b"GET /y HTTP/1.1\r\n\r\nGET /x HTTP/1.1\r\n", True, id="another-first"),
        pytest.param(b"GET  /x HTTP/1.1\r\n", False, id="spaces"),
        pytest.param(b"GET /x  HTTP/1.1\r\n", False, id="spaces-behind-the-target"),
        pytest.param(b"GET /x RTSP/1.1\r\n", False, id="rtsp"),
    ],
)
def test_plain_line(head, expected):
    assert is_plain_line(head, b"GET", b"/x", "1.1") is expected


@pytest.mark.parametrize(
    ("head", "version", "expected"),
    [
        pytest.param(b"GET  /x HTTP/1.1\r\n", "1.1", "several spaces", id="spaces"),
        pytest.param(b"x\r\n\r\nGET /x  HTTP/1.1\r\n", "1.1", "several spaces", id="behind"),
        pytest.param(b"GET /x RTSP/1.0\r\n", "1.0", "the protocol is RTSP/1.0; use", id="rtsp"),
        pytest.param(
            b"GET /x HTTP/1.1\r\n\r\nGET /x RTSP/1.0\r\n", "1.0", "is not a method", id="not-found"
        ),
        pytest.param(b"GET /x\r\n", "0.9", None, id="http-0.9"),
    ],
)
def test_line_problem(head, version, expected):
    problem = line_problem(head, b"/x", version)
    assert problem == expected or (expected is not None and expected in str(problem))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(b"\x16", "TLS handshake", id="tls-first-byte"),
        pytest.param(b"\x16\x03\x01\x02\0", "TLS handshake", id="tls"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/2", id="http-2"),
        pytest.param(b"PROX", "PROXY protocol", id="proxy-first-bytes"),
        pytest.param(b"PROXY TCP4 1", "PROXY protocol", id="proxy"),
        pytest.param(b"\r\n\r\n\0\r\nQUIT\n!", "version 2", id="proxy-2"),
        pytest.param(b"SSH-2.0-OpenSSH", "SSH", id="ssh"),
        pytest.param(b"\x16\x04", None, id="no-tls"),
        pytest.param(b"FETCH / HTTP/1.1", None, id="method"),
        pytest.param(b"\r\n", None, id="only-line-ends"),
    ],
)
def test_other_protocol(data, expected):
    found = other_protocol(data)
    assert found == expected or (expected is not None and expected in str(found))


TAB = b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\t\r\n\r\n"


def head_bytes(*segments, is_at_start=True):
    kept = HeadBytes()
    for number, segment in enumerate(segments):
        kept.add(segment, is_open=number > 0, is_at_start=is_at_start and not number)
    return kept


def test_a_head_in_segments():
    kept = head_bytes(b"GET /x ", b"HTTP/1.1\r", b"\n")
    kept.check_line(b"GET", b"/x", "1.1")
    with pytest.raises(BadRequest, match="several spaces"):
        head_bytes(b"GET ", b" /x HTTP/1.1\r\n").check_line(b"GET", b"/x", "1.1")


def test_what_is_read_again():
    plain = TAB.replace(b"\t", b"")
    assert head_bytes(b"\r\n" + TAB[:20], TAB[20:]).after_error("x") == plain
    for kept in (head_bytes(plain), head_bytes(TAB, is_at_start=False)):
        with pytest.raises(BadRequest, match="not a valid HTTP request: x"):
            kept.after_error("x")


def test_what_is_spoken_instead():
    with pytest.raises(BadRequest, match="this is a TLS handshake"):
        head_bytes(b"\x16\x03\x01").after_error("x")
    with pytest.raises(BadRequest, match="request: x"):
        head_bytes(b"\x16\x03\x01", is_at_start=False).after_error("x")
