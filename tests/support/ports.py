"""Ports on which a program will listen later, again, or never."""

import contextlib
import random
import socket
from pathlib import Path

EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
FIRST = 10_000


def free_port() -> int:
    """Return a port of 127.0.0.1 where no program listens, and that no test gets by chance.

    It lies below the range of ephemeral ports, of which concurrent tests use hundreds in a second.
    """
    end = int(EPHEMERAL.read_text().split()[0])
    while True:
        port = random.randrange(FIRST, end)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port


@contextlib.contextmanager
def dropping(address: str, port: int):
    """Make an address ignore SYNs: its accept queue is full, like that of a hung server."""
    with contextlib.ExitStack() as opened:
        listener = opened.enter_context(socket.socket())
        listener.bind((address, port))
        listener.listen(0)
        for _ in range(4):
            client = opened.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex((address, port))
        yield
