"""What a single look-up says of the names of a configuration, for `fastroute check-config`."""

import asyncio
from collections.abc import Sequence

import msgspec

from fastroute.config import Config, ServerConfig
from fastroute.config.expansion import Expansion, expand, followed
from fastroute.control.watch.dns_watch import PATIENCE
from fastroute.net.resolver import Resolve, Unresolved
from fastroute.rules.discovery import chosen


class NameCheck(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one name.

    Attributes:
        url: As configured.
        addresses: Of its servers.
        problems: What is wrong.
    """

    url: str
    addresses: tuple[str, ...]
    problems: tuple[str, ...]


async def check_names(
    config: Config, resolve: Resolve, within: float = PATIENCE
) -> tuple[Config, list[NameCheck]]:
    """Look all names up at the same time.

    Args:
        config: As written.
        resolve: Looks a name up.
        within: Seconds a look-up may take.

    Returns:
        The configuration with the servers that were found, and what to say of each name.
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
    """Return the addresses of a name, and why there are none."""
    try:
        async with asyncio.timeout(within):
            addresses = chosen(await resolve(entry.address.host))
    except TimeoutError:
        return (), f"it cannot be resolved: no answer within {within:g} s"
    except Unresolved as error:
        return (), f"it cannot be resolved: {error}"
    return addresses, None if addresses else "it has no address"


def _check(
    entry: ServerConfig, addresses: Sequence[str], problem: str | None, expansion: Expansion
) -> NameCheck:
    problems = (*([problem] if problem else ()), *expansion.left_out.get(entry.url, ()))
    return NameCheck(url=entry.url, addresses=tuple(addresses), problems=problems)
