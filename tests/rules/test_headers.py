import pytest

from fastroute.rules.headers import MAX_MEMBERS, connection_tokens, header_lines


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


@pytest.mark.parametrize("name", [b"connection", b"proxy-connection"])
def test_members_of_connection_are_limited(name):
    members = b", ".join(b"member-%d" % number for number in range(MAX_MEMBERS))
    connection_tokens({name: members})
    with pytest.raises(ValueError, match="more than 32 members"):
        connection_tokens({name: members + b", x"})


def test_long_values_of_connection_are_not_cached():
    """Anybody can send such a header, and the cache is never cleared."""
    value = b"keep-alive, " + b"x" * 60_000
    assert connection_tokens({b"connection": value}) == {b"keep-alive", b"x" * 60_000}
    first, second = (connection_tokens({b"connection": value}) for _ in range(2))
    assert first is not second
