"""Ports for what is to listen later, or a second time, or never."""

import contextlib
import random
import socket
from pathlib import Path

EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
FIRST = 10_000


def free_port() -> int:
    """A port of 127.0.0.1 where nobody listens, and that no test is given by chance.

    It lies below the ports that the system itself gives out, to whoever asks for any port or opens
    a connection: tests that run side by side ask for hundreds in a second.
    """
    end = int(EPHEMERAL.read_text().split()[0])
    while True:
        port = random.randrange(FIRST, end)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port


@contextlib.contextmanager
def dropping(address: str, port: int):
    """Make an address answer no SYN: its accept queue is full, as that of a hung server."""
    with contextlib.ExitStack() as opened:
        listener = opened.enter_context(socket.socket())
        listener.bind((address, port))
        listener.listen(0)
        for _ in range(4):
            client = opened.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex((address, port))
        yield
