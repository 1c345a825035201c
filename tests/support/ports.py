"""Ports for what is to listen later, or a second time, or never."""

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
