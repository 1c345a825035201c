"""Request bodies of all kinds, and what the router reads in them, for a comparison of two builds.

python -m tests.support.bodies    # answers questions from its input, uncompiled
"""

import json
import sys
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, SourceFileLoader
from pathlib import Path

ROOT = Path(__file__).parents[2]
JSON = b"application/json"
FORM = b"multipart/form-data; boundary=XX"
URL_ENCODED = b"application/x-www-form-urlencoded"
MANY = 150_000
"""More strings or brackets than are looked at one by one."""

Question = tuple[bytes, bytes]
"""Content-Type and body."""


def form(*parts: tuple[str, bytes]) -> bytes:
    heads = [
        b'--XX\r\nContent-Disposition: form-data; name="%b"\r\n\r\n' % n.encode() for n, _ in parts
    ]
    pieces = [head + content + b"\r\n" for head, (_, content) in zip(heads, parts, strict=True)]
    return b"".join((*pieces, b"--XX--\r\n"))


def dumped(**fields: object) -> bytes:
    return json.dumps(fields).encode()


TOKENS = [list(range(100, 150))] * 400
CORPUS: dict[str, Question] = {
    "alone": (JSON, b'{"model":"m"}'),
    "nothing": (JSON, b""),
    "no-fields": (JSON, b"{}"),
    "spacing": (JSON, b' \t\r\n{ "model" :\n"m" , "x":1}\n'),
    "behind-a-prompt": (JSON, dumped(prompt='say "model": "x"\n' * 6000, model="m")),
    "messages": (JSON, dumped(messages=[{"role": "user", "content": "hi"}] * 3000, model="m")),
    "tokens": (JSON, dumped(prompt=TOKENS, model="m")),
    "flat-tokens": (JSON, dumped(prompt=list(range(30_000)), model="m")),
    "many-strings": (JSON, dumped(input=["x"] * MANY, model="m")),
    "many-strings-cut": (JSON, dumped(input=["x"] * MANY, model="m")[:-1]),
    "many-strings-and-a-comma": (JSON, dumped(input=["x"] * MANY, model="m")[:-1] + b",}"),
    "many-brackets": (JSON, b'{"a":' + b"[" * MANY + b"]" * MANY + b',"model":"m"}'),
    "deep": (JSON, b'{"a":' + b"[" * 5000 + b"]" * 5000 + b',"model":"m"}'),
    "deep-cut": (JSON, b'{"a":' * MANY),
    "nested": (JSON, dumped(a={"model": "x"}, model="m", b=[{"model": "x"}])),
    "nested-only": (JSON, dumped(a={"model": "x"})),
    "twice": (JSON, b'{"model":"a","model":"b"}'),
    "twice-then-no-string": (JSON, b'{"model":"a","model":1}'),
    "twice-then-null": (JSON, b'{"model":"a","model":null}'),
    "first-no-string": (JSON, b'{"model":1,"model":"b"}'),
    "escaped-name": (JSON, b'{"model":"a\\"b\\\\\\u00e9\\ud83d\\ude00"}'),
    "escaped-key": (JSON, b'{"mod\\u0065l":"m"}'),
    "broken-escape": (JSON, b'{"model":"a\\x"}'),
    "half-a-character": (JSON, b'{"model":"\\ud800"}'),
    "half-a-character-elsewhere": (JSON, b'{"x":"\\ud800","model":"m"}'),
    "not-utf8": (JSON, b'{"model":"\xff"}'),
    "not-utf8-elsewhere": (JSON, b'{"\xff":"\xff","model":"m"}'),
    "control-character": (JSON, b'{"x":"a\tb","model":"m"}'),
    "control-character-in-the-name": (JSON, b'{"model":"a\tb"}'),
    "nul": (JSON, b'{"model":"m"}\0'),
    "nan": (JSON, b'{"x":NaN,"model":"m"}'),
    "comma-at-the-end": (JSON, b'{"model":"m",}'),
    "comma-missing": (JSON, b'{"x":1 "model":"m"}'),
    "colon-missing": (JSON, b'{"model" "m"}'),
    "key-without-quotes": (JSON, b'{model:"m"}'),
    "single-quotes": (JSON, b"{'model':'m'}"),
    "comment": (JSON, b'{"model":"m"/* no */}'),
    "wrong-brackets": (JSON, b'{"x":[1},"model":"m"]}'),
    "bracket-too-many": (JSON, b'{"model":"m"}}'),
    "bracket-missing": (JSON, b'{"model":"m"'),
    "cut-in-the-name": (JSON, b'{"model":"m'),
    "something-behind": (JSON, b'{"model":"m"} {"model":"n"}'),
    "bom": (JSON, b'\xef\xbb\xbf{"model":"m"}'),
    "utf-16": (JSON, '{"model":"m"}'.encode("utf-16")),
    "array": (JSON, b'[{"model":"m"}]'),
    "string": (JSON, b'"model"'),
    "null": (JSON, b"null"),
    "number-for-a-name": (JSON, b'{"model":1}'),
    "list-for-a-name": (JSON, b'{"model":["m"]}'),
    "url-encoded": (URL_ENCODED, b"model=m&x=1"),
    "form": (FORM, form(("model", b"m"), ("file", bytes(range(256)) * 400))),
    "form-file-first": (FORM, form(("file", b'{"model":"x"}'), ("model", b"m"))),
    "form-not-utf8": (FORM, form(("model", b"\xff"))),
    "form-cut": (FORM, form(("model", b"m"))[:-6]),
    "form-without-the-field": (FORM, form(("file", b"x"))),
    "form-that-is-json": (FORM, b'{"model":"m"}'),
    "json-that-is-a-form": (JSON, form(("model", b"m"))),
}


def answer(question: Question) -> tuple[str | None, str]:
    """Return the model that a request names, and its body after the model was replaced.

    If the search reached its limit, the second is "too many steps".
    """
    from fastroute.rules.json_object import TooManySteps
    from fastroute.rules.model_name import replace_model, requested_model

    content_type, body = question
    try:
        model = requested_model(b"/v1/chat/completions", content_type, body)
    except TooManySteps:
        return None, "too many steps"
    assert requested_model(b"/v1/x", content_type, bytearray(body)) == model
    replaced = replace_model(content_type, body, "new") if model else b""
    return model, replaced.decode("latin-1")


def _sources_only(path: str) -> FileFinder:
    """Find modules of this project as they are uncompiled, with compiled ones beside them.

    Not those of the virtual environment, which may lie in the project's folder, too.
    """
    if not Path(path).is_relative_to(ROOT / "fastroute"):
        raise ImportError
    return FileFinder(path, (SourceFileLoader, SOURCE_SUFFIXES))


def main() -> None:
    """Answer questions, two hexadecimal words to a line, by a line of JSON each."""
    sys.path_hooks.insert(0, _sources_only)
    sys.path_importer_cache.clear()
    for line in sys.stdin:
        content_type, _, body = line.partition(" ")
        print(json.dumps(answer((bytes.fromhex(content_type), bytes.fromhex(body)))), flush=True)


if __name__ == "__main__":
    main()
