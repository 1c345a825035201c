import pytest

from fastroute.rules.head_match import MAX_HEAD_BYTES, HeadMatcher

GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\nX: y\r\n\r\n"


def knowing(data: bytes, length: int, limit: int = 10) -> tuple[HeadMatcher, object]:
    known, head = HeadMatcher(limit), object()
    known.remember(data, head, length)
    return known, head


def found(known: HeadMatcher, data: bytes) -> tuple[object, int, int]:
    match = known.find(data)
    return match.head, match.body_start, match.body_length


def test_nothing_is_known_at_first():
    assert HeadMatcher(10).find(GET) is None


def test_without_a_length():
    known, head = knowing(GET, 0)
    assert found(known, GET) == (head, len(GET), 0)
    assert found(known, GET + b"more") == (head, len(GET), 0)


def test_another_length_is_the_same_head():
    known, head = knowing(POST % 5 + b"hello", 5)
    for length in (5, 6, 12345, 999_999_999_999_999):
        data = POST % length
        assert found(known, data + b"hello") == (head, len(data), length)


def test_a_match_is_one_messages():
    """Its length stays as it was when the same head is found in front of another message."""
    known, head = knowing(POST % 5, 5)
    first, again, other = (known.find(POST % length) for length in (5, 5, 17))
    assert first is again, "mostly the same message comes again: then there is nothing to make"
    assert (first.head, first.body_length) == (head, 5)
    assert (other.head, other.body_length) == (head, 17)


def test_leading_zeros_move_the_body():
    known, head = knowing(POST % 5, 5)
    longer = (POST % 5).replace(b": 5", b": 005")
    for data in (POST % 5, longer, POST % 5):
        assert found(known, data) == (head, len(data), 5)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(GET[:-1], id="cut-off"),
        pytest.param(b"", id="nothing"),
        pytest.param(POST % 0, id="length-zero-may-be-of-another-kind"),
        pytest.param((POST % 5).replace(b"X: y", b"X: z"), id="another-value"),
        pytest.param((POST % 5).replace(b"X: y", b"x: y"), id="another-case"),
        pytest.param((POST % 5).replace(b"X: y\r\n", b""), id="a-field-less"),
        pytest.param((POST % 5).replace(b": 5", b":  5"), id="another-blank"),
        pytest.param((POST % 5).replace(b": 5", b": 5 "), id="a-blank-behind"),
        pytest.param((POST % 5).replace(b": 5", b": +5"), id="plus"),
        pytest.param((POST % 5).replace(b": 5", b": 5,5"), id="list"),
        pytest.param((POST % 5).replace(b": 5", b":"), id="empty"),
        pytest.param((POST % 5).replace(b"5", b"1" * 16), id="too-many-digits"),
        pytest.param(b"\r\n" + POST % 5, id="line-end-first"),
        pytest.param((POST % 5).replace(b"\r\nX: y", b"\r\nContent-Length: 5\r\nX: y"), id="two"),
        pytest.param((POST % 5).replace(b"X: y", b"Content-Length: 5"), id="in-the-others-place"),
        pytest.param((POST % 5).replace(b"\r\nX", b"\nX"), id="line-feed"),
        pytest.param(GET.replace(b"/x", b"/y"), id="another-target"),
        pytest.param(GET.replace(b"GET", b"HEAD"), id="another-method"),
        pytest.param(GET.replace(b"1.1", b"1.0"), id="another-version"),
    ],
)
def test_not_the_same(data):
    known, _ = knowing(POST % 5, 5)
    known.remember(GET, object(), 0)
    assert known.find(data) is None


def test_other_spellings_are_known_with_their_digits():
    data = (POST % 5).replace(b"Content-Length", b"CONTENT-LENGTH")
    known, head = knowing(data, 5)
    assert found(known, data) == (head, len(data), 5)
    assert known.find(data.replace(b"5", b"6")) is None


def test_only_heads_are_looked_at():
    """A body may hold anything."""
    data = GET + b"\r\nContent-Length: 3\r\n\r\n"
    known, head = knowing(data, 0)
    assert found(known, data) == (head, len(GET), 0)


@pytest.mark.parametrize("data", [POST % 0, GET[:-2], b"X: " + b"y" * MAX_HEAD_BYTES + b"\r\n\r\n"])
def test_not_remembered(data):
    known, _ = knowing(data, 0)
    assert known.find(data) is None


@pytest.mark.parametrize("size", [MAX_HEAD_BYTES, MAX_HEAD_BYTES + 1])
def test_longest(size):
    data = GET[:-2] + b"X: " + b"y" * (size - len(GET) - 5) + b"\r\n\r\n"
    assert len(data) == size
    known, _ = knowing(data, 0)
    assert (known.find(data) is not None) is (size <= MAX_HEAD_BYTES)


def test_bounded():
    """It starts anew when it is full: who comes often is soon known again."""
    known = HeadMatcher(3)
    heads = [GET.replace(b"/x", b"/%d" % index) for index in range(4)]
    for data in heads:
        known.remember(data, object(), 0)
    assert [known.find(data) is not None for data in heads] == [False, False, False, True]


def test_bounded_in_bytes():
    """Large heads take more memory, and what is found in them even more."""
    known = HeadMatcher(1000)
    heads = [GET[:-2] + b"X: %04d" % index + b"y" * 4000 + b"\r\n\r\n" for index in range(200)]
    for data in heads:
        known.remember(data, object(), 0)
    remembered = [data for data in heads if known.find(data) is not None]
    assert heads[-1] in remembered
    assert sum(map(len, remembered)) <= 1 << 18
