"""The stand-in servers of `fastroute demo`: in a process of their own that ends with the demo."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from fastroute.errors import ConfigError

SLOTS = 4
"""Requests each stand-in runs at once."""

SPEED = ("--ttft", "0.15", "--token-interval", "0.03")
"""Seconds, about those of an 8B model on one GPU: slow enough to see the stream."""

STOP_TIMEOUT = 2.0
"""Seconds the process has to end by itself."""

ANNOUNCEMENT = re.compile(r"standin listening on (http://\S+)")


@contextmanager
def demo_servers(count: int) -> Iterator[list[str]]:
    """Run `count` stand-in servers and yield their URLs; they end on leaving.

    Raises:
        ConfigError: They did not start.
    """
    command = [
        *(sys.executable, "-m", "fastroute.standin", "--exit-with-parent", *SPEED),
        *("--count", str(count), "--slots", str(SLOTS)),
    ]
    # Its own group: Ctrl-C is for the router, which lets answers finish before the demo ends.
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, process_group=0
    ) as process:
        try:
            yield [_announced_url(process) for _ in range(count)]
        finally:
            _stop(process)


def _stop(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None, "it was started with a pipe"
    process.stdin.close()
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()


def _announced_url(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None, "it was started with a pipe"
    match = ANNOUNCEMENT.match(process.stdout.readline())
    if match is None:
        raise ConfigError("the stand-in servers did not start; what they wrote is above")
    return match[1]
