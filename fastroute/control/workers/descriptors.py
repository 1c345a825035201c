"""The limit on open file descriptors: a worker's for its clients, the supervisor's for servers."""

import logging
import resource

RESERVED = 100
"""Descriptors of a process for other purposes: listening, channel, log, event loop."""

PER_CLIENT = 2
"""Of a worker: the client's connection and that to its server."""

IDLE_PER_SERVER = 2
"""Of a worker: idle connections to a server that are kept beyond those in use."""

POLLS_PER_SERVER = 4
"""Of the supervisor: health check, metrics, models, and one that is being closed or opened."""

log = logging.getLogger("supervisor")


def raise_descriptor_limit(max_connections: int, servers: int) -> None:
    """Raise the limit to the system's maximum, for this process and its workers.

    A warning is logged if that is too low.

    Args:
        max_connections: Maximum clients of one worker.
        servers: Number of servers.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard == resource.RLIM_INFINITY:
        return
    of_servers = IDLE_PER_SERVER * servers + RESERVED
    needed = PER_CLIENT * max_connections + of_servers
    if hard < needed:
        clients = max(1, (hard - of_servers) // PER_CLIENT)
        log.warning(
            "%d clients and %d servers need %d open descriptors, the system allows %d: raise the "
            "limit (ulimit -n, LimitNOFILE=) or set max_connections = %d",
            *(max_connections, servers, needed, hard, clients),
        )
    polls = POLLS_PER_SERVER * servers + RESERVED
    if hard < polls:
        log.warning(
            "%d servers need %d open descriptors, the system allows %d: raise the limit "
            "(ulimit -n, LimitNOFILE=), or servers cannot be asked for their health and load",
            *(servers, polls, hard),
        )
