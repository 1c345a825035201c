import orjson
import pytest

from benchmarks.comparison import traffic


@pytest.mark.parametrize("size", [256, 1024, 102_400])
@pytest.mark.parametrize("events", [0, 600])
def test_a_request_is_as_long_as_asked(size, events):
    body = traffic.chat_request(size, events=events)
    assert len(body) == size
    assert orjson.loads(body)["stream"] == (events > 0)


def test_a_request_has_room_for_its_fields():
    with pytest.raises(ValueError, match="at least"):
        traffic.chat_request(100)


@pytest.mark.parametrize("stamped", [False, True])
def test_events_have_one_length_and_differ(stamped):
    events = [traffic.sse_event(k, stamped=stamped) for k in (0, 9, 10, 99_999)]
    assert {len(event) for event in events} == {traffic.EVENT_BYTES}
    assert len(set(events)) == len(events)
    assert len(traffic.chat_reply()) == traffic.REPLY_BYTES


def test_a_stamp_can_be_read_and_taken_off():
    event = traffic.sse_event(7, stamped=True)
    stamped = [traffic.stamp(event, moment) for moment in (1, 123_456_789)]
    assert traffic.stamps(b"".join(stamped)) == [1, 123_456_789]
    assert [traffic.unstamped(each) for each in stamped] == [event, event]
    assert traffic.stamps(traffic.sse_event(7)) == []
