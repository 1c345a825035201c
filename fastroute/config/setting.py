"""How a setting is declared: the type of its field holds range, unit, form and description.

`setting_docs` finds them there for the error messages, the documentation and the tests.
"""

import re
from collections.abc import Iterable
from typing import Annotated, Any, get_args, get_type_hints

import msgspec
from msgspec import Meta

DAY = 86_400
"""Seconds."""


def limits(unit: str, low: float, high: float) -> Meta:
    """Declare the smallest and the largest number that a value may be."""
    return Meta(ge=low, le=high, extra={"unit": unit})


def form(allowed: str) -> Meta:
    """Declare the words that say what a value must be, where it is not a number."""
    return Meta(extra={"allowed": allowed})


def choice(words: Iterable[str]) -> Meta:
    """Declare the words of which a value must be one."""
    words = tuple(words)
    pattern = rf"\A({'|'.join(map(re.escape, words))})\Z"
    return Meta(pattern=pattern, extra={"allowed": f"must be one of {listed(words)}"})


def about(description: str) -> Meta:
    """Declare the description of a setting."""
    return Meta(description=description)


def listed(words: Iterable[str]) -> str:
    """Write words for an error message."""
    return ", ".join(f'"{word}"' for word in words)


Seconds = Annotated[float, limits("seconds", 0.001, DAY)]
SecondsOrZero = Annotated[float, limits("seconds", 0, DAY)]


class SettingDoc(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be known about one key of servers.toml."""

    name: str
    type: Any
    unit: str
    description: str
    allowed: str
    secret: bool
    """Whether no message may repeat its value."""


def setting_docs(struct: type[msgspec.Struct]) -> dict[str, SettingDoc]:
    """Return the keys of `Config` (those of section [config]) or of `ServerConfig`, in order."""
    docs = {}
    for name, hint in get_type_hints(struct, include_extras=True).items():
        metas = [argument for argument in get_args(hint) if isinstance(argument, Meta)]
        if not metas:
            continue
        check, described = next(meta for meta in metas if meta.extra), metas[-1]
        extra = check.extra or {}
        docs[name] = SettingDoc(
            name=name,
            type=hint,
            unit=extra.get("unit", ""),
            description=described.description or "",
            allowed=extra.get("allowed") or _range(get_args(hint)[0], check, extra["unit"]),
            secret=extra.get("secret", False),
        )
    return docs


def _range(type_: type, check: Meta, unit: str) -> str:
    kind = "whole number" if type_ is int else "number"
    of_what = f" of {unit}" if unit else ""
    return f"must be a {kind}{of_what} from {check.ge} to {check.le}"
