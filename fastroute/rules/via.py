"""The Via header of requests: it shows their way, so that a loop ends (RFC 9110 section 7.6.3)."""

import re
from typing import Final

from fastroute.errors import BadRequest

NAME: Final = b"fastroute"
"""Name of a router in Via, without the mark that tells it from others."""

MAX_HOPS: Final = 10
"""Maximum number of intermediaries before this one; more are taken for a loop."""

_COMMENT: Final = re.compile(rb"\([^()]*+\)")


def name_in_via(mark: str) -> bytes:
    """Return the name of a router in Via.

    Args:
        mark: Text that all workers of the router share and no other router has; empty for none.
    """
    return NAME + b"-" + mark.encode() if mark else NAME


def with_own_hop(via: bytes | None, own_name: bytes) -> bytes:
    """Return the value of Via for the next server.

    Args:
        via: Value as received, or None.
        own_name: This router's name in it; without a mark it may be another router's, too.

    Raises:
        BadRequest: The request has been here before, or at too many other places: it is in a loop.
    """
    own = b"1.1 " + own_name
    if via is None:
        return own
    hops = [hop.split() for hop in _COMMENT.sub(b"", via).split(b",") if hop.strip(b" \t")]
    if own_name != NAME and any(own_name in hop for hop in hops):
        text = "the request has passed this router before; its servers lead back here"
        raise BadRequest(508, text)
    if len(hops) > MAX_HOPS:
        text = f"the request has passed {len(hops)} proxies; more than {MAX_HOPS} are a loop"
        raise BadRequest(508, text)
    return via + b", " + own
