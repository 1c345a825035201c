"""What a new configuration changes, in words for the log."""

from collections.abc import Iterator
from typing import Any

import msgspec

from fastroute.config import Config, ServerConfig, setting_docs

SERVERS_AS_WRITTEN = "url"
"""A server is the same however its URL is written, so this is no difference."""


def describe_changes(before: Config, after: Config) -> tuple[str, ...]:
    """Return what differs, servers first, one line each.

    Keys are not shown.

    Args:
        before: What was in force.
        after: What will be.
    """
    old = {server.address: server for server in before.servers}
    new = {server.address: server for server in after.servers}
    lines = [f"server {_named(old[address])} removed" for address in old if address not in new]
    for address, server in new.items():
        known = old.get(address)
        if known is None:
            lines.append(f"server {_named(server)} added{' to be drained' if server.drain else ''}")
        else:
            lines += [f"server {server.url}: {each}" for each in _differences(known, server)]
    lines += _differences(before, after)
    return tuple(lines)


def _named(server: ServerConfig) -> str:
    by = server.discovered_from
    return server.url if by is None else f"{server.url} of {by}"


def _differences(before: Config | ServerConfig, after: Config | ServerConfig) -> Iterator[str]:
    for name, doc in setting_docs(type(before)).items():
        old, new = getattr(before, name), getattr(after, name)
        if old == new or name == SERVERS_AS_WRITTEN:
            continue
        yield f"{name} changed" if doc.secret else f"{name} {_shown(old)} -> {_shown(new)}"


def _shown(value: Any) -> str:
    if value is None:
        return "not set"
    if isinstance(value, float):
        return f"{value:g}"
    return msgspec.json.encode(value).decode()
