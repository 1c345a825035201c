import json
import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastroute.recording.lines import FORMS, json_line, text_line
from tests.recording.records import CHAT, IDS, REFUSED, chat

WORD = re.compile(r'(?:([a-z_]+)=)?("(?:[^"\\]|\\.)*"|[^ "]+)(?: |$)')
TEXT = st.none() | st.text()


def words(line: bytes) -> list[tuple[str, str | None]]:
    """Take a text line apart, as its documentation says it can be."""
    text = line.decode()
    assert text.endswith("\n")
    found, at = [], 0
    while at < len(text) - 1:
        match = WORD.match(text[:-1], at)
        assert match, text[at:]
        name, value = match.groups()
        value = json.loads(value) if value.startswith('"') else None if value == "-" else value
        found.append((name or "", value))
        at = match.end()
    return found


def test_text():
    assert text_line(CHAT).decode() == (
        "2026-01-01T00:00:00.250Z 192.0.2.7 POST /v1/chat/completions 200 id=abc-1 "
        "model=llama3.1:8b server=http://gpu-1:8000 bytes_in=812 bytes_out=1903 events=41 "
        "first_byte=0.052123 duration=1.204100 attempts=1 ended_by=server outcome=answered "
        "reason=-\n"
    )
    assert text_line(REFUSED).decode() == (
        "2026-01-01T00:00:00.000Z ::1 - - 400 id=- model=- server=- bytes_in=0 bytes_out=280 "
        "events=0 first_byte=- duration=0.000000 attempts=0 ended_by=fastroute "
        'outcome=refused reason="not a valid HTTP request"\n'
    )


def test_json():
    assert json.loads(json_line(CHAT)) == {
        "time": "2026-01-01T00:00:00.250Z",
        "id": "abc-1",
        "client": "192.0.2.7",
        "method": "POST",
        "path": "/v1/chat/completions",
        "model": "llama3.1:8b",
        "server": "http://gpu-1:8000",
        "status": 200,
        "bytes_in": 812,
        "bytes_out": 1903,
        "events": 41,
        "first_byte": 0.052123,
        "duration": 1.2041,
        "attempts": 1,
        "ended_by": "server",
        "outcome": "answered",
        "reason": None,
        "trace": None,
    }


@pytest.mark.parametrize("form", FORMS)
def test_the_trace(form):
    assert IDS.trace in FORMS[form](chat(span=IDS)).decode()


@given(path=TEXT, model=TEXT, reason=TEXT)
def test_what_a_client_sent_breaks_no_line(path, model, reason):
    record = chat(path=path, model=model, reason=reason)
    line = json_line(record)
    assert line.count(b"\n") == 1
    read = json.loads(line)
    assert (read["path"], read["model"], read["reason"]) == (path, model, reason)
    text = text_line(record)
    assert text.count(b"\n") == 1
    taken = words(text)
    assert taken[3] == ("", path)
    assert (dict(taken)["model"], dict(taken)["reason"]) == (model, reason)
    assert [name for name, _ in taken][5:] == [
        *("id", "model", "server", "bytes_in", "bytes_out", "events"),
        *("first_byte", "duration", "attempts", "ended_by", "outcome", "reason"),
    ]


@pytest.mark.parametrize("form", FORMS)
@given(TEXT, st.sampled_from(("\x7f", "\x9b31m", "\u2028", "\u202e", "\n", "\x1b[2J")))
def test_no_line_has_raw_control_characters(form, model, reason):
    line = FORMS[form](msgspec.structs.replace(CHAT, model=model, reason=reason))
    assert line.decode().removesuffix("\n").isprintable()
