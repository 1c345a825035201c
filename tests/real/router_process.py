"""Fastroute as a process, as its users run it."""

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
        """Return its output so far."""
        return self.log_path.read_text(errors="replace")

    def in_flight(self) -> int:
        """Return the number of requests in flight, over all servers."""
        return self._sum("in_flight")

    def retries(self) -> int:
        """Return the number of retries, over all servers."""
        return self._sum("retries")

    def load_stats(self) -> dict[str, Any]:
        """Return the report of /load-stats."""
        with urllib.request.urlopen(f"{self.url}/load-stats", timeout=5) as reply:
            document: dict[str, Any] = json.load(reply)
        return document

    def server(self, url: str) -> dict[str, Any]:
        """Return the report of one server in /load-stats; empty if it is not listed."""
        return next((s for s in self.load_stats()["servers"] if s["url"] == url), {})

    def _sum(self, name: str) -> int:
        return sum(server[name] for server in self.load_stats()["servers"])

    def is_running(self) -> bool:
        return self._process.poll() is None

    def signal(self, number: int) -> None:
        """Send it a signal; SIGTERM and SIGINT make it drain."""
        self._process.send_signal(number)

    def wait(self) -> int:
        """Wait for its exit and return the exit code.

        Raises:
            subprocess.TimeoutExpired: It did not exit within STOP_TIMEOUT.
        """
        return self._process.wait(STOP_TIMEOUT)

    def stop(self) -> int:
        """Stop it if it is still running, and return its exit code."""
        if self.is_running():
            self.signal(signal.SIGTERM)
        try:
            return self.wait()
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


def servers_toml(entries: list[str], **settings: object) -> str:
    """Return the text of a servers.toml.

    Args:
        entries: URLs, each optionally with fields of its table, such as `, drain = true`.
        settings: Settings of section [config], in TOML.
    """
    tables = []
    for entry in entries:
        url, _, rest = entry.partition(",")
        more = f", {rest.strip()}" if rest else ""
        tables.append(f'{{ url = "{url}", max_concurrent_requests = 16{more} }}')
    lines = [f"{name} = {value}" for name, value in settings.items()]
    return "\n".join(["[servers]", f"servers = [{', '.join(tables)}]", "[config]", *lines, ""])
