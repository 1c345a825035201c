"""TCP connections to servers: a race of a name's addresses, and a limit on network silence.

A name may have an address that drops packets. Tried one after another, a connection attempt would
wait for the whole connect timeout; RFC 8305 ("Happy Eyeballs") starts the next address after 250 ms
and uses the connection that is established first.
"""

import asyncio
import os
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from aiohappyeyeballs import AddrInfoType, start_connection

ATTEMPT_DELAY = 0.25
"""Seconds until the next address is tried as well: "Connection Attempt Delay", RFC 8305 5."""

KEEPALIVE_PROBES = 3

P = TypeVar("P", bound=asyncio.BaseProtocol)


def limit_silence(sock: socket.socket, seconds: float) -> None:
    """End a connection whose peer is unreachable, also while nothing is sent.

    A broken link or a machine without power sends no FIN. Probes of an idle connection (TCP
    keepalive) and unacknowledged bytes (TCP_USER_TIMEOUT, RFC 5482) end it then, so that the
    generation for a vanished client stops. Accepted sockets inherit both from their listener.

    Args:
        sock: A TCP socket, listening or not.
        seconds: Silence of the network after which the connection ends; 0 for no keepalive and
            the system's default for bytes that are not acknowledged, about 15 minutes.
    """
    if not seconds:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 0)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 0)
        return
    interval = max(1, round(seconds / 2 / KEEPALIVE_PROBES))
    idle = max(1, round(seconds) - interval * KEEPALIVE_PROBES)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, interval)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(seconds * 1000))


class Endpoint(NamedTuple):
    """Parameters of a connection.

    Attributes:
        addresses: IP addresses, the preferred one first; at least one.
        port: TCP port.
        tls: Context for TLS, or None for plain TCP.
        tls_name: Name that the certificate must have; needed with `tls`.
        tcp_timeout: Seconds for `limit_silence`.
    """

    addresses: Sequence[str]
    port: int
    tls: ssl.SSLContext | None = None
    tls_name: str | None = None
    tcp_timeout: float = 0.0


async def connect(make_protocol: Callable[[], P], to: Endpoint) -> P:
    """Connect to the first address that accepts the connection; return its protocol.

    An address on which the TLS handshake fails is skipped, and the others are tried.

    Args:
        make_protocol: Returns a protocol for the connection.
        to: Parameters of the connection.

    Raises:
        OSError: No address accepted the connection; the message does not repeat the addresses
            if the reason is the same for all.
    """
    if len(to.addresses) == 1:
        return await _connect_to_one(make_protocol, to)
    infos = [info for address in to.addresses for info in _address_infos(address, to.port)]
    while True:
        try:
            sock = await start_connection(infos, happy_eyeballs_delay=ATTEMPT_DELAY)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise OSError(error.errno, reason) from None
        peer = None
        try:
            peer = sock.getpeername()
            limit_silence(sock, to.tcp_timeout)
            _, protocol = await asyncio.get_running_loop().create_connection(
                make_protocol, sock=sock, ssl=to.tls, server_hostname=to.tls_name
            )
        except OSError:  # includes a failed TLS handshake: ssl.SSLError is an OSError
            sock.close()
            infos = [info for info in infos if peer is not None and info[4][:2] != peer[:2]]
            if not infos:
                raise
        else:
            return protocol


async def _connect_to_one(make_protocol: Callable[[], P], to: Endpoint) -> P:
    """Connect without a race: 85 us of CPU instead of 170 (uvloop, loopback)."""
    transport, protocol = await asyncio.get_running_loop().create_connection(
        make_protocol, to.addresses[0], to.port, ssl=to.tls, server_hostname=to.tls_name
    )
    # The socket object of uvloop's transport does not support options.
    shown = transport.get_extra_info("socket")
    sock = socket.socket(shown.family, shown.type, shown.proto, fileno=shown.fileno())
    try:
        limit_silence(sock, to.tcp_timeout)
    finally:
        sock.detach()  # the descriptor is the transport's
    return protocol


def _address_infos(address: str, port: int) -> Sequence[AddrInfoType]:
    """Return the socket addresses of a numeric address; nothing is resolved, nothing blocks."""
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=flags)
