"""How a setting is declared: the type of its field holds range, unit, form and description.

`setting_docs` finds them there for the error messages, the documentation and the tests.
"""

from typing import Annotated, Any, get_args, get_type_hints

import msgspec
from msgspec import Meta

DAY = 86_400
"""Seconds."""

Seconds = Annotated[float, Meta(ge=0.001, le=DAY, extra={"unit": "seconds"})]
SecondsOrZero = Annotated[float, Meta(ge=0, le=DAY, extra={"unit": "seconds"})]
# More than 20 a second would cost a server more than it tells.
ScrapeSeconds = Annotated[float, Meta(ge=0.05, le=DAY, extra={"unit": "seconds"})]


def limits(unit: str, low: float, high: float) -> Meta:
    return Meta(ge=low, le=high, extra={"unit": unit})


def form(allowed: str) -> Meta:
    """What a value that is no number must be."""
    return Meta(extra={"allowed": allowed})


def about(description: str) -> Meta:
    return Meta(description=description)


def listed(words: Any) -> str:
    return ", ".join(f'"{word}"' for word in get_args(words))


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
