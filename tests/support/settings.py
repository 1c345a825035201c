"""Settings for a rule: those that a test names, the others at their defaults."""

from typing import TypeVar

import msgspec

from fastroute.config import Config

S = TypeVar("S", bound=msgspec.Struct)


def settings_of(struct: type[S], **changes) -> S:
    """Return the part of a configuration that a struct takes, without a check of the values."""
    return msgspec.convert(Config(servers=(), **changes), struct, from_attributes=True)
