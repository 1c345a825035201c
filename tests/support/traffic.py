"""Clients that send one request after another while something happens to the servers."""

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Iterator

BODY = json.dumps(
    {"model": "standin", "max_tokens": 2, "messages": [{"role": "user", "content": "Hi"}]}
)
FIELDS = {"Content-Type": "application/json"}
PAUSE = 0.01
"""Seconds between two requests of one client, to leave CPU time for the test."""


class Traffic:
    """Results of the requests.

    Attributes:
        good: Number of 200 responses.
        bad: Results of all other requests.
    """

    def __init__(self, port: int) -> None:
        self.good = 0
        self.bad: list[str] = []
        self._port = port
        self._ended = threading.Event()
        self._lock = threading.Lock()

    def end(self) -> None:
        self._ended.set()

    def run_client(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
        while not self._ended.is_set():
            outcome = self._ask(connection)
            with self._lock:
                if outcome == "200":
                    self.good += 1
                else:
                    self.bad.append(outcome)
            time.sleep(PAUSE)
        connection.close()

    def _ask(self, connection: http.client.HTTPConnection) -> str:
        try:
            connection.request("POST", "/v1/chat/completions", BODY, FIELDS)
            reply = connection.getresponse()
            body = reply.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            return repr(error)
        return "200" if reply.status == 200 else f"{reply.status} {body[:200]!r}"


@contextlib.contextmanager
def traffic(port: int, clients: int = 4) -> Iterator[Traffic]:
    """Run clients of the router on this port until the context exits."""
    made = Traffic(port)
    threads = [threading.Thread(target=made.run_client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield made
    finally:
        made.end()
        for thread in threads:
            thread.join()
