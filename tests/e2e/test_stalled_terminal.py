"""A terminal that stalls must not block the router."""

import os
import pty
import re
import signal
import subprocess
import sys
import termios
import urllib.request

from tests.support.command import wait_until
from tests.support.standins import standin_process

MAX_END_SECONDS = 10
PICTURES = 100
"""Of some KB each; a terminal buffers at most 64 KB."""


def states(url: str) -> str:
    with urllib.request.urlopen(f"{url}/load-stats", timeout=5) as reply:
        return reply.read().decode()


def read_until(terminal: int, pattern: bytes) -> bytes:
    seen = b""
    while not re.search(pattern, seen):
        seen += os.read(terminal, 4096)
    return seen


def test_a_stalled_terminal():
    """Keys trigger more frames that nobody reads; health checks and shutdown still work."""
    terminal, other_end = pty.openpty()
    termios.tcsetwinsize(other_end, (100, 200))
    with standin_process() as server:
        command = [
            *("setsid", "--ctty", sys.executable, "-m", "fastroute", "run"),
            *("--host", "127.0.0.1", "--port", "0", "--server", server.url),
        ]
        streams = dict.fromkeys(("stdin", "stdout", "stderr"), other_end)
        with subprocess.Popen(command, env={**os.environ, "TERM": "xterm"}, **streams) as process:
            try:
                os.close(other_end)
                picture = read_until(terminal, rb"usable")
                url = re.search(rb"at (http://[0-9.:]+)", picture)[1].decode()
                for _ in range(PICTURES):
                    os.write(terminal, b"?")
                    states(url)
                server.kill()
                wait_until(lambda: '"down"' in states(url))
                process.send_signal(signal.SIGTERM)
                assert process.wait(MAX_END_SECONDS) == 0
            finally:
                process.kill()
                os.close(terminal)
