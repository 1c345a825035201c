import pytest

from fastroute.ipc.messages import MessageReader, Records, encode
from fastroute.ipc.request_record import MAX_TEXT, RequestRecord, SpanIds, shortened
from fastroute.rules.outcome import Outcome


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        pytest.param("", "", id="empty"),
        pytest.param("/v1/models", "/v1/models", id="short"),
        pytest.param("a" * MAX_TEXT, "a" * MAX_TEXT, id="just-fits"),
        pytest.param("a" * (MAX_TEXT + 1), "a" * (MAX_TEXT - 3) + "...", id="too-long"),
    ],
)
def test_shortened(text, kept):
    assert shortened(text) == kept


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(
            RequestRecord(
                started_at=1.5, client="::1", status=None, outcome=Outcome.CLIENT_GONE_WAITING
            ),
            id="little-known",
        ),
        pytest.param(
            RequestRecord(
                started_at=1.5,
                client="::1",
                status=200,
                outcome=Outcome.ANSWERED,
                id="a",
                method="POST",
                path="/v1/é",
                model="m",
                server="http://a",
                bytes_in=1,
                bytes_out=2,
                events=3,
                first_byte=0.25,
                duration=0.5,
                attempts=2,
                reason="retried",
                span=SpanIds("0" * 31 + "1", "0" * 15 + "2", "0" * 15 + "3"),
            ),
            id="all-known",
        ),
    ],
)
def test_goes_to_the_supervisor_unchanged(record):
    [message] = MessageReader().feed(encode(Records([record, record])))
    assert message.records == [record, record]


def test_ended_by():
    """Derived, and so the access log cannot contradict the outcome."""
    record = RequestRecord(started_at=1.5, client="::1", status=504, outcome=Outcome.TIMED_OUT)
    assert record.ended_by == "server"
