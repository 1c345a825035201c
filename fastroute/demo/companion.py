"""A process that goes with the demo, and ends with it however it ends."""

import subprocess
import sys

STOP_TIMEOUT = 2.0
"""Seconds the process has to end by itself."""


class Companion:
    """A running `python -m MODULE`; its standard input ends when we do, and it then goes too."""

    def __init__(self, module: str, *arguments: str) -> None:
        """Start it.

        Args:
            module: Name of a module that ends when its standard input does.
            arguments: Of its command line.
        """
        # Its own group: Ctrl-C is for the router, which lets answers finish before the demo ends.
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            process_group=0,
        )

    def read_line(self) -> str:
        """Wait for the next line of its output; empty if it has ended."""
        assert self._process.stdout is not None, "it was started with a pipe"
        return self._process.stdout.readline()

    def kill(self) -> None:
        """End it as a crash would: at once, without a word to anybody."""
        self._process.kill()
        self.stop()

    def stop(self) -> None:
        """Have it end, and wait for it."""
        assert self._process.stdin is not None, "it was started with a pipe"
        assert self._process.stdout is not None, "it was started with a pipe"
        self._process.stdin.close()
        try:
            self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
