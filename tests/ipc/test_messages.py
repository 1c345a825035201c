import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastroute.config import config_from_urls
from fastroute.ipc.messages import (
    MAX_MESSAGE_BYTES,
    Configure,
    Drain,
    Drained,
    MessageReader,
    MetricsReply,
    MetricsRequest,
    Ready,
    RoutedServer,
    Unrouted,
    encode,
)

CONFIGURE = Configure(
    config=config_from_urls(["http://a:1", "https://[::1]"], 3),
    servers=(
        RoutedServer(row=0, generation=1, url="http://a:1", max_concurrent_requests=3),
        RoutedServer(row=7, generation=2, url="https://[::1]", max_concurrent_requests=3),
    ),
)
ALL = [
    CONFIGURE,
    Drain(),
    Ready(),
    Drained(),
    Unrouted(0.5),
    MetricsRequest(id=1, accept="text/plain"),
    MetricsReply(id=1, status=200, body=b"\0\xff", content_type="x", fields=((b"a", b"b"),)),
]


@pytest.mark.parametrize("message", ALL, ids=lambda message: type(message).__name__)
def test_what_is_encoded_is_read(message):
    assert MessageReader().feed(encode(message)) == [message]


def test_an_address_survives_the_way():
    (message,) = MessageReader().feed(encode(CONFIGURE))
    assert message.config.servers[1].address.authority == "[::1]"


def test_an_address_looked_at_before_is_no_part_of_the_message():
    assert CONFIGURE.config.servers[0].address.port == 1
    assert MessageReader().feed(encode(CONFIGURE)) == [CONFIGURE]


@given(st.lists(st.integers(1, 40), max_size=40))
def test_messages_cut_anywhere(sizes):
    stream = b"".join(map(encode, ALL))
    reader = MessageReader()
    messages = []
    for size in sizes:
        messages += reader.feed(stream[:size])
        stream = stream[size:]
    assert messages + reader.feed(stream) == ALL


def test_byte_by_byte():
    reader = MessageReader()
    counts = [len(reader.feed(bytes([byte]))) for byte in encode(CONFIGURE)]
    assert counts == [0] * (len(counts) - 1) + [1]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param((MAX_MESSAGE_BYTES + 1).to_bytes(4, "big"), id="too-long"),
        pytest.param(b"\0\0\0\0", id="empty"),
        pytest.param(b"\0\0\0\x01\xc1", id="no-msgpack"),
        pytest.param(b"\0\0\0\x0e\x81\xa4type\xa7Unknown", id="unknown-type"),
        pytest.param(b"\0\0\0\x10\x81\xa4type\xa9Configure", id="fields-missing"),
    ],
)
def test_bytes_that_are_no_message(data):
    with pytest.raises(ValueError, match=r"."):
        MessageReader().feed(data)
