"""Writes a servers.toml."""

import os
from pathlib import Path


def write_config(path: Path, *servers: str | dict, **settings) -> None:
    """Replace the file by one with these servers (URLs or entries) and settings.

    The replacement is atomic, as with most editors.
    """
    new = path.with_name(path.name + ".new")
    new.write_text(toml_text(*servers, **settings))
    os.replace(new, path)


def toml_text(*servers: str | dict, **settings) -> str:
    """Return the text of such a file."""
    entries = [{"url": server} if isinstance(server, str) else server for server in servers]
    lines = [
        "[servers]",
        "servers = [",
        *(f"    {_toml(entry)}," for entry in entries),
        "]",
        "[config]",
        *(f"{name} = {_toml(value)}" for name, value in settings.items()),
    ]
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {_toml(each)}" for name, each in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, str):
        return f'"{value}"'
    return str(value)
