"""The limit on open descriptors: each client takes two, one to it and one to its server."""

import logging
import resource

RESERVED = 100
"""Descriptors for what is not a client: listening, channel, log, event loop, health checks."""

log = logging.getLogger("supervisor")


def raise_descriptor_limit(max_connections: int) -> None:
    """Use all descriptors the system allows, for this process and the workers it starts.

    Args:
        max_connections: Clients of one worker; a warning is logged when the limit is below what
            they need.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    needed = 2 * max_connections + RESERVED
    if hard != resource.RLIM_INFINITY and hard < needed:
        log.warning(
            "%d clients need %d open descriptors, the system allows %d: raise the limit "
            "(ulimit -n, LimitNOFILE=) or set max_connections = %d",
            *(max_connections, needed, hard, max(1, (hard - RESERVED) // 2)),
        )
