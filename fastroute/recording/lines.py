"""Lines of the access log: a record of an ended request as text or as JSON.

Both formats have the same names. Nothing that a client sent can break a line or look like another
field.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from fastroute.ipc.request_record import RequestRecord
from fastroute.printable import escaped, escaped_json

_ENCODE = msgspec.json.Encoder().encode
# A text with one of these characters is quoted like a JSON string.
_QUOTED = frozenset(' "=\\\x7f') | {chr(code) for code in range(32)}


class _Line(msgspec.Struct, kw_only=True):
    """The fields of a JSON line, in their order."""

    time: str
    id: str | None
    client: str
    method: str | None
    path: str | None
    model: str | None
    server: str | None
    status: int | None
    bytes_in: int
    bytes_out: int
    events: int
    first_byte: float | None
    duration: float
    attempts: int
    ended_by: str
    outcome: str
    reason: str | None
    trace: str | None


def json_line(record: RequestRecord) -> bytes:
    """Format a record as one JSON object, line end included; unknown values are null."""
    line = _Line(
        time=_utc(record.started_at),
        id=record.id,
        client=record.client,
        method=record.method,
        path=record.path,
        model=record.model,
        server=record.server,
        status=record.status,
        bytes_in=record.bytes_in,
        bytes_out=record.bytes_out,
        events=record.events,
        first_byte=None if record.first_byte is None else round(record.first_byte, 6),
        duration=round(record.duration, 6),
        attempts=record.attempts,
        ended_by=record.ended_by,
        outcome=record.outcome.value,
        reason=record.reason,
        trace=None if record.span is None else record.span.trace,
    )
    return escaped_json(_ENCODE(line)) + b"\n"


def text_line(record: RequestRecord) -> bytes:
    """Format a record as text for people and grep, line end included; unknown values are `-`."""
    first_byte = "-" if record.first_byte is None else f"{record.first_byte:.6f}"
    line = (
        f"{_utc(record.started_at)} {_word(record.client)} {_word(record.method)} "
        f"{_word(record.path)} {'-' if record.status is None else record.status} "
        f"id={_word(record.id)} model={_word(record.model)} server={_word(record.server)} "
        f"bytes_in={record.bytes_in} bytes_out={record.bytes_out} events={record.events} "
        f"first_byte={first_byte} duration={record.duration:.6f} attempts={record.attempts} "
        f"ended_by={record.ended_by} outcome={record.outcome.value} reason={_word(record.reason)}"
    )
    if record.span is not None:
        line += f" trace={record.span.trace}"
    return line.encode("utf-8", "backslashreplace") + b"\n"


FORMS: dict[str, Callable[[RequestRecord], bytes]] = {"text": text_line, "json": json_line}
"""Formatting functions by the value of `access_log`."""


def _utc(unix: float) -> str:
    moment = datetime.fromtimestamp(unix, UTC)
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def _word(text: str | None) -> str:
    if text is None:
        return "-"
    if text and text != "-" and _QUOTED.isdisjoint(text) and text.isprintable():
        return text
    return escaped(json.dumps(text))  # DEL, which json leaves as it is
