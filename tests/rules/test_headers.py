import pytest

from fastroute.rules.headers import connection_tokens, header_lines


@pytest.mark.parametrize(
    ("fields", "dropped", "expected"),
    [
        pytest.param([], set(), b"", id="none"),
        pytest.param(
            [(b"X-A", b"1"), (b"x-b", b" 2")], set(), b"X-A: 1\r\nx-b:  2\r\n", id="as-they-came"
        ),
        pytest.param([(b"TE", b"trailers"), (b"A", b"1")], {b"te"}, b"A: 1\r\n", id="dropped"),
        pytest.param([(b"A", b"1"), (b"a", b"2")], {b"b"}, b"A: 1\r\na: 2\r\n", id="repeated"),
    ],
)
def test_header_lines(fields, dropped, expected):
    assert b"".join(header_lines(fields, dropped)) == expected


@pytest.mark.parametrize(
    ("special", "expected"),
    [
        pytest.param({}, set(), id="no-header"),
        pytest.param({b"connection": b"close"}, {b"close"}, id="close"),
        pytest.param({b"connection": b"Keep-Alive, X-A"}, {b"keep-alive", b"x-a"}, id="lower-case"),
        pytest.param({b"connection": b" ,\tte ,, "}, {b"te"}, id="empty-members"),
        pytest.param({b"proxy-connection": b"close, x-a"}, {b"close"}, id="proxy-connection"),
        pytest.param(
            {b"connection": b"te", b"proxy-connection": b"close"}, {b"te", b"close"}, id="both"
        ),
    ],
)
def test_connection_tokens(special, expected):
    assert connection_tokens(special) == expected
