"""fastroute as its users start it: a process, its address, its end."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

START_TIMEOUT = 20.0
STOP_TIMEOUT = 40.0
LISTENING = re.compile(r"listening on (http://[^\s,]+:(\d+))")


class RouterProcess:
    """`fastroute run` on a free port of 127.0.0.1."""

    def __init__(self, arguments: list[str], log_path: Path) -> None:
        self.log_path = log_path
        command = [sys.executable, "-m", "fastroute", "run", "--host", "127.0.0.1", "--port", "0"]
        with log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        self.url, self.port = self._wait_for_address()

    def _wait_for_address(self) -> tuple[str, int]:
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline and self._process.poll() is None:
            if found := LISTENING.search(self.log()):
                return found[1], int(found[2])
            time.sleep(0.02)
        self.stop()
        raise RuntimeError(f"fastroute did not start:\n{self.log()}")

    def log(self) -> str:
        """What it has written so far."""
        return self.log_path.read_text(errors="replace")

    def in_flight(self) -> int:
        """Requests it counts as being worked on, over all servers."""
        return self._sum("in_flight")

    def retries(self) -> int:
        """Requests it tried again, over all servers."""
        return self._sum("retries")

    def load_stats(self) -> dict[str, Any]:
        """What /load-stats says."""
        with urllib.request.urlopen(f"{self.url}/load-stats", timeout=5) as reply:
            document: dict[str, Any] = json.load(reply)
        return document

    def server(self, url: str) -> dict[str, Any]:
        """What /load-stats says of one server; empty if it is not listed."""
        return next((s for s in self.load_stats()["servers"] if s["url"] == url), {})

    def _sum(self, name: str) -> int:
        return sum(server[name] for server in self.load_stats()["servers"])

    def is_running(self) -> bool:
        return self._process.poll() is None

    def signal(self, number: int) -> None:
        """Send it a signal; SIGTERM and SIGINT ask it to drain."""
        self._process.send_signal(number)

    def wait(self) -> int:
        """Wait for its end and return its exit code.

        Raises:
            subprocess.TimeoutExpired: it did not end within STOP_TIMEOUT.
        """
        return self._process.wait(STOP_TIMEOUT)

    def stop(self) -> int:
        """End it, if it still runs, and return its exit code."""
        if self.is_running():
            self.signal(signal.SIGTERM)
        try:
            return self.wait()
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


def servers_toml(entries: list[str], **settings: object) -> str:
    """The text of a servers.toml.

    Args:
        entries: A URL each; what follows it, such as `, drain = true`, goes into its table.
        settings: Of section [config], as they are to stand there.
    """
    tables = []
    for entry in entries:
        url, _, rest = entry.partition(",")
        more = f", {rest.strip()}" if rest else ""
        tables.append(f'{{ url = "{url}", max_concurrent_requests = 16{more} }}')
    lines = [f"{name} = {value}" for name, value in settings.items()]
    return "\n".join(["[servers]", f"servers = [{', '.join(tables)}]", "[config]", *lines, ""])
