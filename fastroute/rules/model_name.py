"""The model that a request names, read without decoding the rest, and replacement of an alias."""

import re
from typing import Final
from urllib.parse import unquote_plus

import msgspec

from fastroute.rules import byte_search
from fastroute.rules.json_object import TooManySteps, string_span


class _Body(msgspec.Struct):
    """The only field of a JSON body that routing needs."""

    model: str | None = None


# Skips all other fields without creating objects.
_DECODER: Final = msgspec.json.Decoder(_Body)
_NAME_DECODER: Final = msgspec.json.Decoder(str)
_KEY: Final = b'"model"'
_BACKSLASH: Final = ord("\\")
# Compiled functions have no code object. Without compilation the decoder is much faster.
_SCANS_FIRST: Final[bool] = not hasattr(string_span, "__code__")
# Maximum number of strings and brackets that a search visits: without compilation they take 60 ms,
# during which streams wait. The limit is the same in both builds, so that the results are the same.
_MAX_STEPS: Final = 50_000
# Dense bodies get fewer steps, for the decoder is faster there: 500 and one per 8 bytes.
_LEAST_STEPS: Final = 500
_BYTES_PER_STEP: Final = 8
# Maximum size of a body for the decoder, which has no limit of steps: it takes up to 2 ns a byte.
_MAX_DECODED_BYTES: Final = 2_097_152
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, TooManySteps)
_BOUNDARY: Final = re.compile(rb'boundary="?([^";,]+)', re.IGNORECASE)
# The header of a form part that names its field, and the header's parameters. A quoted value is
# matched as a whole, so that nothing in a file name looks like a parameter.
_DISPOSITION: Final = re.compile(rb"\r\ncontent-disposition:([^\r\n]*)", re.IGNORECASE)
_PARAMETER: Final = re.compile(rb';[ \t]*([\w*-]+)=("[^"]*"|[^";]*)')
_MAX_PART_HEAD_BYTES: Final = 4096
MAX_PARTS = 1000
"""Maximum number of parts of a form before the field `model`."""
# Maximum size of the heads of all these parts; a byte takes up to 50 ns.
_MAX_PART_HEADS_BYTES: Final = 65536
# RFC 2046 allows 70.
_MAX_BOUNDARY_BYTES: Final = 200
# Maximum number of empty `model=` in a query.
_MAX_QUERY_STEPS: Final = 100
# Maximum length of a model's name in characters.
_MAX_NAME_LENGTH: Final = 1024
LONG_NAME = "(a name of more than 1024 characters)"
"""Result for a longer name, which no server has."""
# A character takes up to 12 bytes: two escapes in JSON, four in a query. Two are quotes.
_MAX_NAME_BYTES: Final = 12_290


def requested_model(
    target: bytes, content_type: bytes | None, body: bytes | bytearray
) -> str | None:
    """Return the model that a request names.

    Args:
        target: Path and query.
        content_type: Value of that header, or None.
        body: The whole body: JSON, a multipart form, or anything else.

    Returns:
        The name; None if there is none or the body is invalid. Such a request goes to any server,
        which gives the best error message. LONG_NAME if the name is too long.

    Raises:
        TooManySteps: The body has too many parts, or is too large for the decoder and has too many
            strings, brackets or the like.
    """
    name: str | None
    if not body:
        name = _query_model(target)
    elif not _is_form(content_type):
        name = _json_model(body)
    else:
        name = _form_model(content_type, body)
    return name if name is None or len(name) <= _MAX_NAME_LENGTH else LONG_NAME


def _json_model(body: bytes | bytearray) -> str | None:
    """Return the model that a JSON body names.

    The two functions agree on all valid JSON; the faster one comes first. `scanned_model` also
    reads bodies that are not quite valid, which the decoder refuses. The decoder reads bodies that
    need too many steps, if they are not too large.
    """
    if len(body) > _MAX_DECODED_BYTES:
        try:
            return scanned_model(body)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None
    try:
        return scanned_model(body) if _SCANS_FIRST else decoded_model(body)
    except _UNREADABLE:
        pass
    try:
        return decoded_model(body) if _SCANS_FIRST else scanned_model(body)
    except _UNREADABLE:
        return None


def replace_model(content_type: bytes | None, body: bytes, name: str) -> bytes:
    """Replace the model that a body names, and no other byte.

    Args:
        content_type: Value of the Content-Type header, or None.
        body: A body in which `requested_model` found a model.
        name: The new name.

    Returns:
        The new body; the old one if the name cannot be located within the limit of steps.
    """
    if _is_form(content_type):
        span = _form_span(content_type, body)
        return body if span is None else _replaced(body, span, name.encode())
    try:
        span = string_span(body, _KEY, _MAX_STEPS)
    except TooManySteps:
        return body
    return body if span is None else _replaced(body, span, msgspec.json.encode(name))


def scanned_model(body: bytes | bytearray) -> str | None:
    """Return the model that a JSON body names, checking only keys and the name.

    Raises:
        msgspec.DecodeError: The name is not a valid JSON string.
        UnicodeDecodeError: The name is not UTF-8.
        TooManySteps: The body has too many strings and brackets.
    """
    text: bytes = body if isinstance(body, bytes) else bytes(body)
    span = string_span(text, _KEY, min(_MAX_STEPS, _LEAST_STEPS + len(text) // _BYTES_PER_STEP))
    if span is None:
        return None
    start: int
    stop: int
    start, stop = span
    if stop - start > _MAX_NAME_BYTES:
        return LONG_NAME
    if byte_search.find_byte(text, _BACKSLASH, start, stop) >= 0:
        return _NAME_DECODER.decode(text[start:stop])
    return text[start + 1 : stop - 1].decode()


def decoded_model(body: bytes | bytearray) -> str | None:
    """Return the model that a JSON body names, decoding the whole body.

    Raises:
        msgspec.MsgspecError: The body is not JSON or not an object, or its model is not a string.
        UnicodeDecodeError: A string in it is not UTF-8.
    """
    return _DECODER.decode(body).model


def _replaced(body: bytes, span: tuple[int, int], value: bytes) -> bytes:
    start, end = span
    return b"".join((body[:start], value, body[end:]))


def _query_model(target: bytes) -> str | None:
    """Return the last value of `model` in a query that is not empty."""
    query: bytes = b"&" + target.partition(b"?")[2]
    end: int = len(query)
    start: int
    for _ in range(_MAX_QUERY_STEPS):
        start = query.rfind(b"&model=", 0, end)
        if start < 0:
            break
        value = query[start + len(b"&model=") : end].partition(b"&")[0]
        if value:
            if len(value) > _MAX_NAME_BYTES:
                return LONG_NAME
            return unquote_plus(value.decode("latin-1"))
        end = start
    return None


def _is_form(content_type: bytes | None) -> bool:
    if content_type is None or content_type == b"application/json":
        return False
    return content_type[:10].lower() == b"multipart/"


def _form_model(content_type: bytes | None, body: bytes | bytearray) -> str | None:
    """Return the model that a form names."""
    span = _form_span(content_type, body)
    if span is None:
        return None
    start: int
    end: int
    start, end = span
    if end - start > _MAX_NAME_BYTES:
        return LONG_NAME
    try:
        return body[start:end].decode()
    except UnicodeDecodeError:
        return None


def _form_span(content_type: bytes | None, body: bytes | bytearray) -> tuple[int, int] | None:
    """Return start and end of the form field `model` (RFC 7578); skip other parts.

    Raises:
        TooManySteps: There are too many parts before it.
    """
    boundary = _BOUNDARY.search(content_type or b"")
    if boundary is None or len(boundary[1]) > _MAX_BOUNDARY_BYTES:
        return None
    delimiter = b"--" + boundary[1].strip()
    start = 0 if body.startswith(delimiter) else body.find(b"\r\n" + delimiter) + 2
    head_bytes = _MAX_PART_HEADS_BYTES
    for _ in range(MAX_PARTS):
        if start < 2 and not body.startswith(delimiter, start):
            return None
        head_end = body.find(b"\r\n\r\n", start)
        end = body.find(b"\r\n" + delimiter, max(start, head_end))
        if head_end < 0 or end < 0:
            return None
        head = body[start : min(head_end, start + _MAX_PART_HEAD_BYTES)]
        if _names_model(head):
            return head_end + 4, end
        start = end + 2
        head_bytes -= len(head)
        if head_bytes < 0:
            break
    raise TooManySteps


def _names_model(part_head: bytes | bytearray) -> bool:
    disposition = _DISPOSITION.search(part_head)
    if disposition is None:
        return False
    return any(
        name.lower() == b"name" and value.strip(b' \t"') == b"model"
        for name, value in _PARAMETER.findall(disposition[1])
    )
