"""A child process of the demo that ends with it, however the demo ends."""

import subprocess

from fastroute.ipc.child_process import python_command

RUN_MODULE = "import runpy; runpy.run_module('{}', run_name='__main__', alter_sys=True)"

STOP_TIMEOUT = 2.0
"""Seconds for the process to exit by itself."""


class Companion:
    """A running `python -m MODULE`, which exits when its standard input is closed."""

    def __init__(self, module: str, *arguments: str) -> None:
        """Start it.

        Args:
            module: Name of a module that exits at the end of its standard input.
            arguments: Its command line arguments.
        """
        # Its own process group: Ctrl-C must reach only the router, which then drains.
        self._process = subprocess.Popen(
            python_command(RUN_MODULE.format(module), *arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            process_group=0,
        )

    def read_line(self) -> str:
        """Wait for the next line of its output and return it; empty if it has exited."""
        assert self._process.stdout is not None, "it was started with a pipe"
        return self._process.stdout.readline()

    def kill(self) -> None:
        """Kill it immediately, as in a crash."""
        self._process.kill()
        self.stop()

    def stop(self) -> None:
        """Make it exit, and wait for it."""
        assert self._process.stdin is not None, "it was started with a pipe"
        assert self._process.stdout is not None, "it was started with a pipe"
        self._process.stdin.close()
        try:
            self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
