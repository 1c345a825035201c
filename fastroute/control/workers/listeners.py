"""Listening sockets: opened by the supervisor, one per worker, and kept over its replacement."""

import socket
from contextlib import ExitStack

from fastroute.errors import ConfigError

BACKLOG = 4096
"""Clients that may wait while a worker is replaced; limited by the kernel's somaxconn."""


def open_listeners(
    host: str, port: int, count: int, hint: str = "see --host, --port"
) -> list[socket.socket]:
    """Open `count` listening sockets on one address; the kernel distributes clients over them.

    Args:
        host: Name or address to listen on, IPv4 or IPv6.
        port: TCP port; 0 for a free one, the same for all sockets.
        count: Number of sockets.
        hint: The option or setting with the address, for the error message.

    Raises:
        ConfigError: The address cannot be listened on, for example because it is in use.
    """
    try:
        return _open(host, port, count)
    except (OSError, OverflowError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        where = address_text(host, port)
        raise ConfigError(f"cannot listen on {where}: {reason} ({hint})") from None


def address_text(host: str, port: int) -> str:
    """Write an address as in a URL, IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _resolve(host: str, port: int) -> tuple[int, tuple[object, ...]]:
    infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = infos[0]
    return family, address


def _open(host: str, port: int, count: int) -> list[socket.socket]:
    family, address = _resolve(host, port)
    if count > 1 and port:
        # Sockets with SO_REUSEPORT would also share the port with another fastroute, which would
        # get half of the clients unnoticed. An exclusive socket detects this.
        with _bound(family, address, shared=False) as probe:
            probe.listen(1)
    with ExitStack() as opened:
        listeners = []
        for _ in range(count):
            listeners.append(opened.enter_context(_bound(family, address, shared=count > 1)))
            # For port 0, the first socket gets a port that no other program uses, shared or not.
            address = listeners[0].getsockname()
        for listener in listeners:
            listener.listen(BACKLOG)
        opened.pop_all()
    return listeners


def _bound(family: int, address: tuple[object, ...], *, shared: bool) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Bind even if connections of an earlier run are still in TIME_WAIT.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            # `::` accepts IPv4 clients too, whatever the system's default is.
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        bound.bind(address)
    except BaseException:
        bound.close()
        raise
    bound.setblocking(False)
    return bound
