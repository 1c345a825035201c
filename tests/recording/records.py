"""Records as created by a worker, for tests of access log and spans."""

import msgspec

from fastroute.ipc.request_record import RequestRecord, SpanIds
from fastroute.rules.outcome import Outcome

IDS = SpanIds("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "b7ad6b7169203331")

CHAT = RequestRecord(
    started_at=1_767_225_600.25,
    client="192.0.2.7",
    status=200,
    outcome=Outcome.ANSWERED,
    id="abc-1",
    method="POST",
    path="/v1/chat/completions",
    model="llama3.1:8b",
    server="http://gpu-1:8000",
    bytes_in=812,
    bytes_out=1903,
    events=41,
    first_byte=0.0521234,
    duration=1.2041,
    attempts=1,
)
REFUSED = RequestRecord(
    started_at=1_767_225_600.0,
    client="::1",
    status=400,
    outcome=Outcome.REFUSED,
    bytes_out=280,
    reason="not a valid HTTP request",
)


def chat(**changes) -> RequestRecord:
    """Return the record of a successful chat request, with these changes."""
    return msgspec.structs.replace(CHAT, **changes)


def numbered(count: int, first: int = 0) -> list[RequestRecord]:
    """Return records with consecutive ids."""
    return [chat(id=str(number)) for number in range(first, first + count)]
