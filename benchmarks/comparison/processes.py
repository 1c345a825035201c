"""Child processes that always stop: at the end of a block, on errors, on Ctrl-C, on a crash."""

import ctypes
import http.client
import os
import random
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)
_SECONDS_TO_START = 20.0
_SECONDS_TO_STOP = 5.0
# Below the range the kernel takes ports of outgoing connections from, so that nobody gets one of
# these by chance. Two listeners sharing one SO_REUSEPORT port would halve the load, unseen.
_PORTS = range(20000, 30000)


class StartFailed(Exception):
    """A process did not start; the message contains its output."""


def free_port() -> int:
    """Return a free port of 127.0.0.1."""
    for port in random.sample(_PORTS, 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                probe.listen()
            except OSError:
                continue
            return port
    raise StartFailed("no free port")


def _prepare(cores: set[int]) -> None:
    """Prepare the child before exec: it stops with its parent and uses only its cores."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    os.sched_setaffinity(0, cores)


@contextmanager
def running(
    command: list[str],
    log: Path,
    cores: set[int],
    *,
    environ: Mapping[str, str] | None = None,
    directory: Path | None = None,
):
    """Run a command in its own process group, output to `log`; stop the group at the end.

    Args:
        command: The command.
        log: A file for its output.
        cores: Cores on which it and its children may run.
        environ: Further environment variables.
        directory: Working directory; not this checkout for an installed fastroute: python would
            take the modules from there.

    Yields:
        The subprocess.Popen; standard input is a pipe, kept open as long as the block runs.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: _prepare(cores),
            env=os.environ | dict(environ or {}),
            cwd=directory,
        )
    try:
        yield process
    finally:
        _stop(process)


def output_of(command: list[str], timeout: float, cores: set[int], directory: Path) -> bytes:
    """Return the output of a command; it is killed after `timeout` seconds or with its parent.

    Raises:
        RuntimeError: The command failed.
    """
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        timeout=timeout,
        check=False,
        start_new_session=True,
        preexec_fn=lambda: _prepare(cores),
        cwd=directory,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}")
    return done.stdout


def _stop(process: subprocess.Popen) -> None:
    process.stdin.close()
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(_SECONDS_TO_STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    # Remaining children of the process, if any; start_new_session created the group.
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def wait_for_line(process: subprocess.Popen, log: Path) -> str:
    """Return the first line that a process writes.

    Raises:
        StartFailed: It exited or took too long before that.
    """
    return _wait(process, log, lambda: _first_line(log))


def wait_for_answer(process: subprocess.Popen, log: Path, port: int) -> None:
    """Wait until GET /v1/models through a proxy returns 200.

    Raises:
        StartFailed: It exited or took too long before that.
    """
    _wait(process, log, lambda: _answers(port))


def _wait(process: subprocess.Popen, log: Path, happened):
    deadline = time.monotonic() + _SECONDS_TO_START
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        result = happened()
        if result:
            return result
        time.sleep(0.02)
    tail = log.read_text(errors="replace")[-2000:]
    raise StartFailed(f"{process.args[0]} (exit code {process.poll()}) did not come up:\n{tail}")


def _first_line(log: Path) -> str:
    line, newline, _ = log.read_text().partition("\n")
    return line if newline else ""


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/v1/models")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@contextmanager
def scratch_directory():
    """Create a temporary directory that an unprivileged worker (nginx under root) may enter."""
    with tempfile.TemporaryDirectory(prefix="fastroute-bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield directory
