"""`fastroute run` in front of given servers, as a process that a test inspects from outside."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tests.support.command import RunningCommand, wait_until

TROUBLE = re.compile(r"Traceback|Exception in|Fatal error|never retrieved|AssertionError")


@contextlib.asynccontextmanager
async def router_process(
    folder: Path,
    *urls: str,
    workers: int = 1,
    capacity: int = 8,
    servers: dict[str, int] | None = None,
    env: dict[str, str] | None = None,
    options: Sequence[str] = (),
    **settings: Any,
) -> AsyncIterator[RunningCommand]:
    """Run `fastroute run --config ...` until the context exits; it must log no uncaught exception.

    Args:
        folder: Folder for servers.toml and the process's output.
        urls: URLs of servers with the same capacity.
        workers: Number of workers.
        capacity: Capacity of each server.
        servers: Capacities by URL, instead of urls and capacity.
        env: Added to the environment.
        options: Further options of the command.
        settings: Settings of section [config].
    """
    servers = servers or dict.fromkeys(urls, capacity)
    settings.setdefault("drain_timeout", 5)
    file = folder / "servers.toml"
    file.write_text(_toml(servers, settings))
    command = RunningCommand(
        folder,
        *("run", "--config", str(file), "--host", "127.0.0.1", "--port", "0"),
        *("--workers", str(workers), *options),
        env=env,
    )
    try:
        await asyncio.to_thread(command.wait_listening)
        yield command
    finally:
        await asyncio.to_thread(command.stop)
    log = command.stderr()
    assert not TROUBLE.search(log), f"an exception went uncaught:\n{log}"


async def in_flight_is(router: RunningCommand, count: int, seconds: float = 10.0) -> None:
    """Wait until the router has this number of requests in flight."""
    async with asyncio.timeout(seconds):
        while await asyncio.to_thread(router.in_flight) != count:
            await asyncio.sleep(0.02)


def _toml(servers: dict[str, int], settings: dict[str, Any]) -> str:
    lines = ["[servers]", "servers = ["]
    for url, capacity in servers.items():
        lines.append(f'    {{ url = "{url}", max_concurrent_requests = {capacity} }},')
    lines += ["]", "[config]"]
    lines += [f"{name} = {msgspec.json.encode(value).decode()}" for name, value in settings.items()]
    return "\n".join(lines) + "\n"


def memory(pid: int) -> int:
    """Return the bytes of a process's private anonymous memory."""
    text = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"^RssAnon:\s+(\d+) kB$", text, re.MULTILINE)
    assert found, text
    return int(found[1]) * 1024


def environment_of(pid: int) -> list[bytes]:
    """Return a process's environment at its start, as NAME=VALUE.

    It is empty for a moment after the process was started: execve(2) closes descriptors, for which
    subprocess.Popen waits, before the kernel notes where the new environment is.
    """
    environ = Path(f"/proc/{pid}/environ")
    wait_until(environ.read_bytes)
    return environ.read_bytes().split(b"\0")


def descriptors(pid: int) -> int:
    """Return the number of files and sockets that a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
