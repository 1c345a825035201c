"""Discovery: decides from the resolutions of a DNS name which servers to add and to remove.

A resolution has three results: addresses, no addresses, or a failure. A failure says nothing about
the servers, so they stay. A result without addresses may be temporary: a Kubernetes Service loses
all addresses when its pods fail one probe, while their streams continue. Servers that are really
gone are detected by health checks, so the last addresses are kept for `dns_hold` (30 s, as with
HAProxy's `hold nx`). Then they are removed, because they may be assigned to other machines.
"""

import enum
import ipaddress
from collections.abc import Iterable, Sequence

import msgspec


class Problem(enum.Enum):
    """Cause of a resolution without addresses."""

    NO_ANSWER = "no answer"
    NO_ADDRESS = "no address"


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """State of a name."""

    addresses: tuple[str, ...] = ()
    """Addresses that are servers now."""
    tried: bool = False
    """True after the first resolution, successful or not."""
    none_since: float | None = None
    """Time from which all results were without addresses, in seconds of the clock."""
    problem: Problem | None = None
    """Problem of the last resolution."""
    reason: str = ""
    """Reason of a failed resolution."""

    @property
    def warning(self) -> str | None:
        """Description of the problem, for people, or None."""
        if self.problem is None:
            return None
        if self.problem is Problem.NO_ADDRESS:
            text = "it has no address"
        else:
            text = f"it cannot be resolved: {self.reason}"
        count = len(self.addresses)
        if count:
            text += f"; the last {count} are kept" if count > 1 else "; the last one is kept"
        return text


UNKNOWN = Known()

RESOLVED = {
    Problem.NO_ANSWER: "it can be resolved now",
    Problem.NO_ADDRESS: "it has addresses now",
}
"""Log messages for the end of a problem."""


def after_answer(known: Known, addresses: Sequence[str], now: float, hold: float) -> Known:
    """Return the state after a resolution that succeeded.

    Args:
        known: State before it.
        addresses: The resolved addresses; there may be none.
        now: Seconds of the clock.
        hold: Seconds for which the last addresses are kept when there are none.
    """
    if addresses:
        return Known(addresses=chosen(addresses), tried=True)
    since = now if known.none_since is None else known.none_since
    kept = known.addresses if now - since < hold else ()
    return Known(addresses=kept, tried=True, none_since=since, problem=Problem.NO_ADDRESS)


def after_failure(known: Known, reason: str) -> Known:
    """Return the state after a resolution that failed; the addresses stay.

    Args:
        known: State before it.
        reason: Reason, in a few words.
    """
    return Known(addresses=known.addresses, tried=True, problem=Problem.NO_ANSWER, reason=reason)


def change_text(before: Known, after: Known) -> str | None:
    """Return a log message about a change, or None if there is nothing new."""
    if after.problem is None:
        return None if before.problem is None else RESOLVED[before.problem]
    lost = bool(before.addresses) and not after.addresses
    return after.warning if lost or after.problem is not before.problem else None


def chosen(addresses: Iterable[str]) -> tuple[str, ...]:
    """Return the addresses to use as servers, in order: the IPv4 ones, else the IPv6 ones.

    A name with both usually has both for each machine (a dual-stack Service in Kubernetes), so a
    machine would be used as two servers.
    """
    known = {ipaddress.ip_address(address) for address in addresses}
    lowest = min((address.version for address in known), default=0)
    found = [address for address in known if address.version == lowest]
    return tuple(str(address) for address in sorted(found, key=int))
