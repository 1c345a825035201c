"""The proxies that are compared. One more is one more entry in PEERS (and perhaps a template)."""

import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from string import Template
from typing import NamedTuple

TEMPLATES = Path(__file__).parent.parent / "peers"
_MOST_OPEN_FILES = 65536


class Place(NamedTuple):
    """Where a proxy is to run: its port, its servers' ports, and a directory of its own."""

    port: int
    server_ports: Sequence[int]
    directory: Path


class Peer(NamedTuple):
    name: str
    command: Callable[[Place], list[str]]
    """Prepares the place and returns what to run; it stays in the foreground until SIGTERM."""
    version: tuple[str, ...]
    """A command whose first line of output names the version."""
    package: str
    """What to install where it is missing."""

    def is_installed(self) -> bool:
        return shutil.which(self.version[0]) is not None

    def version_line(self) -> str:
        done = subprocess.run(self.version, capture_output=True, text=True, timeout=10, check=False)
        lines = (done.stdout + done.stderr).strip().splitlines()
        return lines[0] if lines else "unknown"


def allow_open_files() -> int:
    """Raise this process's limit of open files, which the proxies inherit; return the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = _MOST_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_OPEN_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return limit


class _ConfigTemplate(Template):
    # The usual $ is nginx's own sign for variables.
    delimiter = "@"


def _filled(template: str, server_lines: list[str], place: Place) -> Path:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    text = _ConfigTemplate((TEMPLATES / template).read_text()).substitute(
        port=place.port,
        servers="\n".join(server_lines),
        directory=place.directory,
        files=files,
        # One to each side, and some for listening, logging and polling.
        connections=files // 2 - 100,
    )
    path = place.directory / template.removesuffix(".template")
    path.write_text(text)
    return path


def _nginx(place: Place) -> list[str]:
    servers = [f"        server 127.0.0.1:{port} max_fails=0;" for port in place.server_ports]
    config = _filled("nginx.conf.template", servers, place)
    return ["nginx", "-p", str(place.directory), "-c", str(config), "-e", "stderr"]


def _haproxy(place: Place) -> list[str]:
    servers = [
        f"    server vllm{number} 127.0.0.1:{port}"
        for number, port in enumerate(place.server_ports, 1)
    ]
    return ["haproxy", "-db", "-f", str(_filled("haproxy.cfg.template", servers, place))]


def _fastroute(place: Place) -> list[str]:
    servers = [
        part for port in place.server_ports for part in ("--server", f"http://127.0.0.1:{port}")
    ]
    own = ["--host", "127.0.0.1", "--port", str(place.port), "--workers", "1", "--max-load", "64"]
    return [sys.executable, "-m", "fastroute", "run", *servers, *own]


# The order is that of the table and of the runs. Ratios are to BASELINE.
PEERS = (
    Peer("nginx", _nginx, ("nginx", "-v"), "apt-get install nginx"),
    Peer("haproxy", _haproxy, ("haproxy", "-v"), "apt-get install haproxy"),
    Peer(
        "fastroute",
        _fastroute,
        (sys.executable, "-c", "import fastroute; print('fastroute', fastroute.__version__)"),
        "make install",
    ),
)
BASELINE = "nginx"
