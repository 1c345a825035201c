"""What a name's look-ups mean for the servers: which there are, and when one goes.

Only decisions. A look-up has three outcomes: addresses, the answer that there are none, or no
answer. The last says nothing about the servers, so they stay. An answer without addresses may be
short-lived, too: a Kubernetes Service loses all when its pods fail one probe, and their streams
would still run. Servers that are really gone are found to be down by their own checks, so the last
ones are kept for `dns_hold` (30 s, as HAProxy's `hold nx`), and removed then: by and by the
addresses belong to somebody else.
"""

import enum
import ipaddress
from collections.abc import Iterable, Sequence

import msgspec


class Trouble(enum.Enum):
    """Why a look-up gave no address."""

    NO_ANSWER = "no answer"
    NO_ADDRESS = "no address"


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a name."""

    addresses: tuple[str, ...] = ()
    """Those in force."""
    looked_up: bool = False
    """Whether any look-up has had an outcome."""
    none_since: float | None = None
    """Since when all answers have said that there are none, in seconds of the clock."""
    trouble: Trouble | None = None
    """What was wrong with the last look-up."""
    reason: str = ""
    """Why there was no answer."""

    @property
    def warning(self) -> str | None:
        """What is wrong, for people, or None."""
        if self.trouble is None:
            return None
        if self.trouble is Trouble.NO_ADDRESS:
            text = "it has no address"
        else:
            text = f"it cannot be resolved: {self.reason}"
        count = len(self.addresses)
        if count:
            text += f"; the last {count} are kept" if count > 1 else "; the last one is kept"
        return text


UNKNOWN = Known()

MENDED = {
    Trouble.NO_ANSWER: "it can be resolved now",
    Trouble.NO_ADDRESS: "it has addresses now",
}


def answered(known: Known, addresses: Sequence[str], now: float, hold: float) -> Known:
    """Take an answer.

    Args:
        known: What was known before.
        addresses: May be none.
        now: Seconds of the clock.
        hold: Seconds for which the last addresses are kept when there are none.
    """
    if addresses:
        return Known(addresses=chosen(addresses), looked_up=True)
    since = now if known.none_since is None else known.none_since
    kept = known.addresses if now - since < hold else ()
    return Known(addresses=kept, looked_up=True, none_since=since, trouble=Trouble.NO_ADDRESS)


def not_answered(known: Known, reason: str) -> Known:
    """Take note that there was no answer; whatever was known stays.

    Args:
        known: What was known before.
        reason: Why, in a few words.
    """
    return Known(
        addresses=known.addresses, looked_up=True, trouble=Trouble.NO_ANSWER, reason=reason
    )


def news(before: Known, after: Known) -> str | None:
    """Return what to log, or None where it was said before."""
    if after.trouble is None:
        return None if before.trouble is None else MENDED[before.trouble]
    lost = bool(before.addresses) and not after.addresses
    return after.warning if lost or after.trouble is not before.trouble else None


def chosen(addresses: Iterable[str]) -> tuple[str, ...]:
    """Return the addresses that are servers, in order: the IPv4 ones, else the IPv6 ones.

    A name with both mostly has both for each machine (a dual-stack Service in Kubernetes), and
    a server that is reached in two ways would count as two.
    """
    known = {ipaddress.ip_address(address) for address in addresses}
    lowest = min((address.version for address in known), default=0)
    found = [address for address in known if address.version == lowest]
    return tuple(str(address) for address in sorted(found, key=int))
