"""Validation of values against the subset of JSON Schema that our schemas use."""

from collections.abc import Callable, Iterator
from typing import Any

TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
NOTES = {"$schema", "$defs", "title", "description", "format"}
Complaints = Iterator[str]


def violations(value: Any, schema: dict[str, Any]) -> list[str]:
    """Return the violations of a schema by a value, each with its place.

    A key without a description in the schema is a violation, too: readers must accept unknown keys
    of later versions, but the author of a response must describe them.

    Raises:
        KeyError: The schema has a keyword that is not supported here.
    """
    return list(_Check(schema).against(schema, value, "$"))


class _Check:
    def __init__(self, root: dict[str, Any]) -> None:
        self._definitions = root["$defs"]
        self._keywords: dict[str, Callable[[Any, Any, str], Complaints]] = {
            "$ref": self._reference,
            "type": self._type,
            "enum": self._enum,
            "minimum": self._minimum,
            "required": self._required,
            "properties": self._properties,
            "items": self._items,
        }

    def against(self, schema: dict[str, Any], value: Any, at: str) -> Complaints:
        for keyword in schema.keys() - NOTES:
            yield from self._keywords[keyword](schema[keyword], value, at)

    def _reference(self, name: str, value: Any, at: str) -> Complaints:
        yield from self.against(self._definitions[name.removeprefix("#/$defs/")], value, at)

    def _type(self, wanted: str | list[str], value: Any, at: str) -> Complaints:
        names = [wanted] if isinstance(wanted, str) else wanted
        # In Python, True is an integer as well.
        allowed = {type_ for name in names for type_ in TYPES[name]}
        if type(value) not in allowed:
            yield f"{at}: {value!r} is no {' or '.join(names)}"

    def _enum(self, allowed: list[Any], value: Any, at: str) -> Complaints:
        if value not in allowed:
            yield f"{at}: {value!r} is none of {allowed}"

    def _minimum(self, low: float, value: Any, at: str) -> Complaints:
        if isinstance(value, int | float) and value < low:
            yield f"{at}: {value} is below {low}"

    def _required(self, keys: list[str], value: Any, at: str) -> Complaints:
        yield from (f"{at}: no {key}" for key in keys if key not in value)

    def _properties(self, parts: dict[str, Any], value: Any, at: str) -> Complaints:
        for key, part in value.items():
            if key in parts:
                yield from self.against(parts[key], part, f"{at}.{key}")
            else:
                yield f"{at}: {key} is not described"

    def _items(self, schema: dict[str, Any], value: Any, at: str) -> Complaints:
        for index, item in enumerate(value if isinstance(value, list) else ()):
            yield from self.against(schema, item, f"{at}[{index}]")
