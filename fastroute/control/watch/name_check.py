"""A single resolution of a configuration's DNS names, for `fastroute check-config`."""

import asyncio
from collections.abc import Sequence

import msgspec

from fastroute.config import Config, ServerConfig
from fastroute.config.expansion import Expansion, expand, followed
from fastroute.control.watch.dns_watch import PATIENCE
from fastroute.net.resolver import Resolve, Unresolved
from fastroute.rules.discovery import chosen


class NameCheck(msgspec.Struct, frozen=True, kw_only=True):
    """Result for one name.

    Attributes:
        url: As configured.
        addresses: Addresses of its servers.
        problems: Problems, in words.
    """

    url: str
    addresses: tuple[str, ...]
    problems: tuple[str, ...]


async def check_names(
    config: Config, resolve: Resolve, within: float = PATIENCE
) -> tuple[Config, list[NameCheck]]:
    """Resolve all names concurrently.

    Args:
        config: The configuration as written.
        resolve: Resolves a name.
        within: Seconds that a resolution may take.

    Returns:
        The configuration with the resolved servers, and the result for each name.
    """
    names = followed(config)
    results = await asyncio.gather(*(_look_up(entry, resolve, within) for entry in names))
    found = {entry.address: addresses for entry, (addresses, _) in zip(names, results, strict=True)}
    expansion = expand(config, found)
    checks = [
        _check(entry, addresses, problem, expansion)
        for entry, (addresses, problem) in zip(names, results, strict=True)
    ]
    return expansion.config, checks


async def _look_up(
    entry: ServerConfig, resolve: Resolve, within: float
) -> tuple[Sequence[str], str | None]:
    """Return the addresses of a name, and the reason if there are none."""
    try:
        async with asyncio.timeout(within):
            addresses = chosen(await resolve(entry.address.host))
    except TimeoutError:
        return (), f"it cannot be resolved: no response within {within:g} s"
    except Unresolved as error:
        return (), f"it cannot be resolved: {error}"
    return addresses, None if addresses else "it has no address"


def _check(
    entry: ServerConfig, addresses: Sequence[str], problem: str | None, expansion: Expansion
) -> NameCheck:
    problems = (*([problem] if problem else ()), *expansion.left_out.get(entry.url, ()))
    return NameCheck(url=entry.url, addresses=tuple(addresses), problems=problems)
