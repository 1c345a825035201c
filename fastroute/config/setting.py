"""Declaration of a setting: the type of its field has its range, unit, form and description.

`setting_docs` reads them for error messages, documentation and tests.
"""

import re
from collections.abc import Iterable
from typing import Annotated, Any, get_args, get_type_hints

import msgspec
from msgspec import Meta

DAY = 86_400
"""Seconds."""


def limits(unit: str, low: float, high: float) -> Meta:
    """Declare the smallest and the largest allowed number."""
    return Meta(ge=low, le=high, extra={"unit": unit})


def form(allowed: str) -> Meta:
    """Declare the text that says which values are allowed, for a value that is not a number."""
    return Meta(extra={"allowed": allowed})


def choice(words: Iterable[str]) -> Meta:
    """Declare the allowed words."""
    words = tuple(words)
    pattern = rf"\A({'|'.join(map(re.escape, words))})\Z"
    return Meta(pattern=pattern, extra={"allowed": f"must be one of {listed(words)}"})


def about(description: str) -> Meta:
    """Declare the description of a setting."""
    return Meta(description=description)


def listed(words: Iterable[str]) -> str:
    """Format a list of words for an error message."""
    return ", ".join(f'"{word}"' for word in words)


Seconds = Annotated[float, limits("seconds", 0.001, DAY)]
SecondsOrZero = Annotated[float, limits("seconds", 0, DAY)]


class SettingDoc(msgspec.Struct, frozen=True, kw_only=True):
    """Description of one key of servers.toml."""

    name: str
    type: Any
    unit: str
    description: str
    allowed: str
    secret: bool
    """True if no message may quote the value."""


def setting_docs(struct: type[msgspec.Struct]) -> dict[str, SettingDoc]:
    """Return the settings of `Config` (section [config]) or of `ServerConfig`, in their order."""
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
