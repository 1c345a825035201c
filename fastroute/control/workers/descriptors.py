"""The limit on open file descriptors: a client needs one, and another for its server."""

import logging
import resource

RESERVED = 100
"""Descriptors for other purposes: listening, channel, log, event loop, health checks."""

log = logging.getLogger("supervisor")


def raise_descriptor_limit(max_connections: int) -> None:
    """Raise the limit to the system's maximum, for this process and its workers.

    Args:
        max_connections: Maximum clients of one worker; a warning is logged if the limit is too
            low for them.
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
