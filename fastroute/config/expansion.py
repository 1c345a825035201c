"""Expansion of DNS names in a configuration into the servers at their addresses."""

from collections.abc import Mapping, Sequence

import msgspec

from fastroute.config.settings import Config, ServerConfig
from fastroute.server_address import ServerAddress


class Expansion(msgspec.Struct, frozen=True):
    """A configuration in which each name is replaced by its addresses.

    Attributes:
        config: The expanded configuration.
        left_out: Warnings about addresses that are already servers, by URL of the name.
    """

    config: Config
    left_out: Mapping[str, tuple[str, ...]]


def expand(config: Config, found: Mapping[ServerAddress, Sequence[str]]) -> Expansion:
    """Replace names by the servers at their addresses.

    An address that has an entry of its own keeps the settings of that entry. An address of two
    names belongs to the first name.

    Args:
        config: The configuration as written.
        found: Addresses by name; names that were not resolved yet are missing.
    """
    taken = {each.address: each for each in config.servers if not each.address.follows_dns}
    servers: list[ServerConfig] = []
    left_out: dict[str, tuple[str, ...]] = {}
    for entry in config.servers:
        if not entry.address.follows_dns:
            servers.append(entry)
            continue
        for host in found.get(entry.address, ()):
            server = _at(entry, host)
            first = taken.setdefault(server.address, server)
            if first is server:
                servers.append(server)
            else:
                other = first.discovered_from
                by = (
                    "has an entry of its own" if other is None else f"is also an address of {other}"
                )
                overlap = f"{server.url} is left out: it {by}"
                left_out[entry.url] = (*left_out.get(entry.url, ()), overlap)
    return Expansion(msgspec.structs.replace(config, servers=tuple(servers)), left_out)


def followed(config: Config) -> list[ServerConfig]:
    """Return the entries whose URL has +dns."""
    return [entry for entry in config.servers if entry.address.follows_dns]


def _at(entry: ServerConfig, host: str) -> ServerConfig:
    url = entry.address.at(host).url
    return msgspec.structs.replace(entry, url=url, discovered_from=entry.url)
