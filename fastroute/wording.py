"""Short forms of numbers and names, for a terminal."""

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from fastroute.printable import ELLIPSIS, printable

UNKNOWN = "-"
THOUSANDS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
MARK_SHARE = 0.5
ADDRESS = re.compile(r":|\.\d+$")


def count(number: float | None) -> str:
    """Write a count or a rate in at most 4 characters: 0.3, 17, 999, 1.2k, 85M."""
    if number is None:
        return UNKNOWN
    for size, letter in THOUSANDS:
        # 999.5 rounds to 1000, which is 1.0k.
        if number >= size * 0.9995:
            scaled = number / size
            return f"{scaled:.1f}{letter}" if scaled < 9.95 else f"{scaled:.0f}{letter}"
    if number == int(number) or number >= 9.95:
        return f"{number:.0f}"
    return f"{number:.1f}"


def percent(share: float | None) -> str:
    """Write a share (1 is 100 %) in at most 4 characters: 56%, 999%, and above that 10x."""
    if share is None:
        return UNKNOWN
    return f"{100 * share:.0f}%" if share < 9.995 else f"{share:.0f}x"


def seconds(duration: float | None) -> str:
    """Write a duration in at most 5 characters: 2.1ms, 46ms, 1.3s, 20s, 12m, 3h, 9d."""
    if duration is None:
        return UNKNOWN
    if duration < 0.9995:
        milliseconds = duration * 1000
        return f"{milliseconds:.1f}ms" if milliseconds < 9.95 else f"{milliseconds:.0f}ms"
    if duration < 9.95:
        return f"{duration:.1f}s"
    for size, letter, limit in ((1, "s", 120), (60, "m", 120 * 60), (3600, "h", 48 * 3600)):
        if duration < limit:
            return f"{duration / size:.0f}{letter}"
    return f"{duration / 86400:.0f}d"


def clock(duration: float) -> str:
    """Write a duration (seconds) as 1:06:40, with days as 2d 1:06:40."""
    minutes, left = divmod(int(duration), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    text = f"{hours}:{minutes:02}:{left:02}"
    return f"{days}d {text}" if days else text


def bar(share: float, width: int) -> str:
    """Draw a share (1 is full) with a mark at one half; the result is one cell wider than `width`.

    Args:
        share: 0 and up; above 1 the bar is full.
        width: Cells, an even number.
    """
    filled = min(width, round(share * width))
    cells = "█" * filled + "░" * (width - filled)
    half = int(width * MARK_SHARE)
    return f"{cells[:half]}│{cells[half:]}"


def short_names(urls: Sequence[str]) -> dict[str, str]:
    """Return the servers' display names: hosts, with ports where hosts are not unique."""
    parts = {url: urlsplit(url) for url in urls}
    hosts = {url: part.hostname or url for url, part in parts.items()}
    for names in (
        dict(zip(hosts, _without_domain(list(hosts.values())), strict=True)),
        {url: part.netloc for url, part in parts.items()},
    ):
        if len(set(names.values())) == len(names):
            return {url: printable(name) for url, name in names.items()}
    return {url: printable(url) for url in urls}


def _without_domain(hosts: Sequence[str]) -> list[str]:
    """Remove the domain that all hosts have in common."""
    labels = [host.split(".") for host in hosts]
    if len(hosts) < 2 or any(ADDRESS.search(host) for host in hosts):
        return list(hosts)
    while all(len(each) > 1 and each[-1] == labels[0][-1] for each in labels):
        labels = [each[:-1] for each in labels]
    return [".".join(each) for each in labels]


def shortened_name(name: str, width: int) -> str:
    """Shorten a name to a width: addresses at the start, host names at the end."""
    if len(name) <= width:
        return name
    kept = max(0, width - len(ELLIPSIS))
    return ELLIPSIS + name[len(name) - kept :] if name[0].isdigit() else name[:kept] + ELLIPSIS
