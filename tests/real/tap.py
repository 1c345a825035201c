"""A wire tap in front of one server: forwards bytes both ways and records them.

With it, a test can compare the bytes of a server with those of fastroute in the same exchange,
without two identical generations.
"""

import contextlib
import socket
import threading
import time
from dataclasses import dataclass, field


@dataclass(slots=True)
class TappedConnection:
    """Bytes forwarded on one connection to the server."""

    request: bytearray = field(default_factory=bytearray)
    reply: bytearray = field(default_factory=bytearray)
    # For each read of the response: the total so far, and the time of forwarding.
    reply_times: list[tuple[int, float]] = field(default_factory=list)


class Tap:
    """Listens on a free port of 127.0.0.1; use as a context manager.

    Bytes of the server, and its close, are forwarded `latency` seconds late.
    """

    def __init__(self, server_port: int, *, latency: float = 0.0) -> None:
        self._server_port = server_port
        self._latency = latency
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.connections: list[TappedConnection] = []
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> "Tap":
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        # A blocked accept() or recv() does not return after close(), but after shutdown().
        for open_socket in [self._listener, *self._sockets]:
            _shut(open_socket)
        for thread in self._threads:
            thread.join(5)
        for open_socket in [self._listener, *self._sockets]:
            open_socket.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._server_port))
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            kept = TappedConnection()
            self.connections.append(kept)
            self._sockets += [near, far]
            for pump, ends in ((_pass_request, (near, far)), (self._pass_reply, (far, near))):
                thread = threading.Thread(target=pump, args=(*ends, kept), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _pass_reply(self, far: socket.socket, near: socket.socket, kept: TappedConnection) -> None:
        with contextlib.suppress(OSError):
            while data := far.recv(65536):
                time.sleep(self._latency)
                kept.reply += data
                kept.reply_times.append((len(kept.reply), time.monotonic()))
                near.sendall(data)
        time.sleep(self._latency)
        _shut(far)
        _shut(near)


def _pass_request(near: socket.socket, far: socket.socket, kept: TappedConnection) -> None:
    with contextlib.suppress(OSError):
        while data := near.recv(65536):
            kept.request += data
            far.sendall(data)
    # Forwarded as a full close: vLLM treats a half-closed connection as closed anyway.
    _shut(far)
    _shut(near)


def _shut(open_socket: socket.socket) -> None:
    with contextlib.suppress(OSError):
        open_socket.shutdown(socket.SHUT_RDWR)
