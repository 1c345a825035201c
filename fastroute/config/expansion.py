"""A configuration whose DNS names are replaced by the servers at their addresses."""

from collections.abc import Mapping, Sequence

import msgspec

from fastroute.config.settings import Config, ServerConfig
from fastroute.server_address import ServerAddress


class Expansion(msgspec.Struct, frozen=True):
    """A configuration in which each name is replaced by its addresses.

    Attributes:
        config: The same with other servers.
        left_out: By URL of a name: of each address that is a server already, which one.
    """

    config: Config
    left_out: Mapping[str, tuple[str, ...]]


def expand(config: Config, found: Mapping[ServerAddress, Sequence[str]]) -> Expansion:
    """Put servers in the places of names.

    A server that is written out keeps its own settings where a name has its address, too; of two
    names with one address the first has it.

    Args:
        config: As written.
        found: The addresses of names; one may be missing.
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
                by = (
                    "an entry of its own"
                    if first.discovered_from is None
                    else (f"an address of {first.discovered_from}")
                )
                overlap = f"{server.url} is left out: it is {by}, too"
                left_out[entry.url] = (*left_out.get(entry.url, ()), overlap)
    return Expansion(msgspec.structs.replace(config, servers=tuple(servers)), left_out)


def followed(config: Config) -> list[ServerConfig]:
    """Return the entries that are names to follow."""
    return [entry for entry in config.servers if entry.address.follows_dns]


def _at(entry: ServerConfig, host: str) -> ServerConfig:
    url = entry.address.at(host).url
    return msgspec.structs.replace(entry, url=url, discovered_from=entry.url)
