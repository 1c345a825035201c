"""Which model a request is for, read without decoding the rest, and how an alias is replaced."""

import re
from urllib.parse import parse_qs

import msgspec


class _Body(msgspec.Struct):
    """The one field of a JSON body that routing needs."""

    model: str | None = None


# Skips all other fields without making objects of them.
_DECODER = msgspec.json.Decoder(_Body)
_BOUNDARY = re.compile(rb'boundary="?([^";,]+)', re.IGNORECASE)
_MODEL_PART = re.compile(
    rb'\r\ncontent-disposition:[^\r\n]*;\s*name="?model"?[\s;\r]', re.IGNORECASE
)
_MODEL_KEY = re.compile(rb'(?<!\\)"model"\s*:\s*')


def requested_model(
    target: bytes, content_type: bytes | None, body: bytes | bytearray
) -> str | None:
    """Find the model a request names.

    Args:
        target: Path and query.
        content_type: The field's value, or None.
        body: The whole body; JSON, or a multipart form, or anything else.

    Returns:
        The name, or None where there is none or the body cannot be read. Such a request goes to
        any server, whose own error is the best one.
    """
    if body:
        if content_type is not None and content_type[:10].lower() == b"multipart/":
            return _multipart_model(content_type, body)
        try:
            return _DECODER.decode(body).model
        except msgspec.MsgspecError:
            return None
    query = target.partition(b"?")[2]
    if b"model=" not in query:
        return None
    values = parse_qs(query.decode("latin-1")).get("model")
    return values[-1] if values else None


def replace_model(body: bytes, name: str) -> bytes:
    """Replace the model a JSON body names, and no other byte.

    Args:
        body: A body in which `requested_model` found a model.
        name: The new name.

    Returns:
        The new body; the old one if the key is written in a way that cannot be found, such as
        with escapes.
    """
    value = msgspec.json.encode(name)
    for match in _MODEL_KEY.finditer(body):
        end = _string_end(body, match.end())
        if end < 0:
            continue
        changed = b"".join((body[: match.end()], value, body[end:]))
        # Objects inside may have a key of the same name: ours is the one that changes the answer.
        if _DECODER.decode(changed).model == name != _DECODER.decode(body).model:
            return changed
    return body


def _string_end(body: bytes, start: int) -> int:
    """Return the index behind the JSON string that starts at `start`, or -1."""
    match = _STRING.match(body, start)
    return match.end() if match else -1


_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


def _multipart_model(content_type: bytes, body: bytes | bytearray) -> str | None:
    """Read the form field `model` (RFC 7578); the parts around it may be large and are skipped."""
    boundary = _BOUNDARY.search(content_type)
    part = _MODEL_PART.search(body)
    if boundary is None or part is None:
        return None
    start = body.find(b"\r\n\r\n", part.end() - 2)
    end = body.find(b"\r\n--" + boundary[1].strip(), start)
    if start < 0 or end < 0:
        return None
    try:
        return body[start + 4 : end].decode()
    except UnicodeDecodeError:
        return None
