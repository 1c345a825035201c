"""An inference server in a thread that fails as its requests, or its test, ask for.

It has /health, /v1/models and, if a test gives it some, /metrics. The `case` in a request's body
names an entry of `CASES`: bytes to answer with. A test's `always` goes before it.
"""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator

MODEL = "m"
SILENT, CLOSE, DIE = b"silent", b"close", b"die"
"""Answers that are none: keep the connection, close it, close all and the listener."""
HEAD_ONLY = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)
STREAM = HEAD_ONLY + b"9\r\ndata: 1\n\n\r\n9\r\ndata: 2\n\n\r\n0\r\n\r\n"
STOPPING = b'{"error":{"message":"cannot schedule new futures after shutdown"}}'


def answer(status: int, body: bytes = b"{}") -> bytes:
    """Return a whole response."""
    head = b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % (status, len(body)) + body


CASES = {
    "good": answer(200),
    **{str(status): answer(status) for status in (500, 501, 502, 504, 505, 507, 599)},
    "length-twice": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi",
    "length-and-chunked": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "long-head": b"HTTP/1.1 200 OK\r\nX-Long: %b\r\nContent-Length: 0\r\n\r\n" % (b"x" * 70_000),
    "broken-chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
    "101": b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    "silent": SILENT,
    "close": CLOSE,
    "die": DIE,
    "stream": STREAM,
    "no-key": answer(401, b'{"error":"Unauthorized"}'),
    "no-model": answer(404, b'{"error":{"message":"The model `m` does not exist.","code":404}}'),
    "stopping": answer(500, STOPPING),
    "large": answer(200, b"x" * 20_000_000),
}


class FailingServer:
    """The server.

    Attributes:
        url: URL of it.
        always: Name of the case for all requests, whatever they ask for; or None.
        health: Status of /health.
        metrics: Body of /metrics; None for 404.
        silence: Seconds of silence of the case `silent`, until the server ends at most.
        hangs_up: True if connections are closed as soon as they are accepted.
        delay: Seconds before good answers.
        asked: Number of inference requests.
        is_dead: True once a request has ended it.
    """

    def __init__(self) -> None:
        self.always: str | None = None
        self.health = 200
        self.metrics: bytes | None = None
        self.silence = 20.0
        self.hangs_up = False
        self.delay = 0.0
        self.asked = 0
        self.is_dead = False
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self._connections: list[socket.socket] = []
        self._ended = threading.Event()
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def end(self) -> None:
        """Close the listener and all connections, as the end of a process does."""
        self._ended.set()
        for each in (self._listener, *self._connections):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            if self.hangs_up:
                connection.close()
                continue
            self._connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as reader:
            while (request := reader.readline()) and self._reply(connection, request, reader):
                pass

    def _reply(self, connection: socket.socket, request: bytes, reader) -> bool:
        """Answer one request; False if the connection is to end."""
        length = 0
        while (line := reader.readline()) not in (b"\r\n", b""):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        body = reader.read(length)
        if request.startswith(b"GET /health "):
            connection.sendall(answer(self.health))
        elif request.startswith(b"GET /metrics ") and self.metrics is not None:
            connection.sendall(answer(200, self.metrics))
        elif request.startswith(b"GET /v1/models "):
            models = {"object": "list", "data": [{"id": MODEL, "object": "model"}]}
            connection.sendall(answer(200, json.dumps(models).encode()))
        elif request.startswith(b"GET "):
            connection.sendall(answer(404))
        else:
            return self._infer(connection, json.loads(body))
        return True

    def _infer(self, connection: socket.socket, asked: dict) -> bool:
        case = self.always or asked.get("case", "good")
        self.asked += 1  # last, so that a test that has seen it may change `always`
        reply = HEAD_ONLY if case == "head-only" else CASES[case]
        if reply is SILENT:
            self._ended.wait(self.silence)
            if not self._ended.is_set():
                connection.sendall(answer(200))
                return True
        elif reply is DIE:
            self.is_dead = True
            self.end()
        elif reply is not CLOSE:
            if reply is CASES["good"]:
                time.sleep(self.delay)
            connection.sendall(reply)
            if reply is HEAD_ONLY:
                time.sleep(0.1)
        return reply not in (SILENT, DIE, CLOSE, HEAD_ONLY)


@contextlib.contextmanager
def failing_servers(count: int) -> Iterator[list[FailingServer]]:
    """Run several, and end those that have not ended by themselves."""
    servers = [FailingServer() for _ in range(count)]
    try:
        yield servers
    finally:
        for server in servers:
            server.end()
