"""`fastroute` as users run it: the process, its output, its workers and its exit."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

LISTENING = re.compile(r"listening on (http://\S+:(\d+)),")
START_SECONDS = 20.0


def wait_until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait for a condition, checked every 5 ms; TimeoutError after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not so within {seconds} s")
        time.sleep(0.005)


def is_alive(pid: int) -> bool:
    """Return True if a process is running; a zombie is not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")


def run_command(*arguments: str, seconds: float = 30.0, **options) -> subprocess.CompletedProcess:
    """Run `fastroute` until it exits; stdout and stderr are text."""
    return subprocess.run(
        [sys.executable, "-m", "fastroute", *arguments],
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
        **options,
    )


class RunningCommand:
    """A `fastroute run` or `fastroute demo` that runs until it is stopped."""

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
        python: str = sys.executable,
        python_options: Sequence[str] = (),
        stdout_is_pipe: bool = False,
    ) -> None:
        """Start it.

        Args:
            folder: Folder for its output, in the files `stdout` and `stderr`.
            arguments: Command line arguments.
            env: Added to the environment.
            cwd: Its working directory, if different.
            python: The interpreter.
            python_options: Its options.
            stdout_is_pipe: True if stdout is a pipe that is read until it listens, and then no
                more.
        """
        self._stdout = folder / "stdout"
        self._stderr = folder / "stderr"
        with self._stdout.open("wb") as stdout, self._stderr.open("wb") as stderr:
            self._process = subprocess.Popen(
                [python, *python_options, "-m", "fastroute", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if stdout_is_pipe else stdout,
                stderr=stderr,
                cwd=cwd,
                env={**os.environ, **(env or {})},
            )
        self.pid = self._process.pid

    def wait_listening(self) -> None:
        """Wait for its announcement; sets `url` and `port`."""
        if self._process.stdout is not None:
            self._stdout.write_bytes(self._process.stdout.readline())
        wait_until(lambda: self.has_ended() or LISTENING.search(self.stdout()), START_SECONDS)
        match = LISTENING.search(self.stdout())
        assert match, f"it ended: {self.stderr()}"
        self.url, self.port = match[1], int(match[2])

    def stdout(self) -> str:
        return self._stdout.read_text()

    def stderr(self) -> str:
        return self._stderr.read_text()

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def children(self) -> set[int]:
        """Return the process ids of the workers (and, in a demo, of the stand-ins)."""
        text = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return {pid for pid in map(int, text.split()) if is_alive(pid)}

    def get(self, path: str) -> dict:
        """GET one of its own JSON endpoints."""
        return self.ask(path)

    def ask(self, path: str, method: str = "GET") -> dict:
        """Send a request without a body; return the JSON of the response."""
        request = urllib.request.Request(self.url + path, method=method)
        with urllib.request.urlopen(request, timeout=10) as reply:
            return json.load(reply)

    def in_flight(self) -> int:
        return self.get("/load-stats")["summary"]["total_in_flight"]

    def statuses(self) -> dict[str, str]:
        """Return the state of each server, by URL."""
        return {each["url"]: each["status"] for each in self.get("/load-stats")["servers"]}

    def worker_pids(self) -> list[int]:
        """Return the process ids that the workers wrote into the score table."""
        return [worker["pid"] for worker in self.get("/load-stats")["summary"]["workers"]]

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def wait(self, seconds: float = 20.0) -> int:
        """Wait for its exit; return the exit code, or the negative number of the signal."""
        return self._process.wait(seconds)

    def stop(self) -> int:
        """Send SIGTERM, and SIGKILL if it does not exit."""
        self.signal(signal.SIGTERM)
        try:
            return self.wait()
        finally:
            self._process.kill()
            self._process.wait()
            if self._process.stdout is not None:
                self._process.stdout.close()


@contextlib.contextmanager
def running(folder: Path, *arguments: str, **options: Any) -> Iterator[RunningCommand]:
    """Run `fastroute` with these arguments, including `--port 0`, and wait until it listens."""
    command = RunningCommand(folder, *arguments, **options)
    try:
        command.wait_listening()
        yield command
    finally:
        command.stop()
