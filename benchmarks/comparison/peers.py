"""The compared proxies. To add one, add an entry to PEERS (and perhaps a template)."""

import contextlib
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from string import Template
from typing import NamedTuple

from benchmarks.comparison import environments

TEMPLATES = Path(__file__).parent.parent / "peers"
_MOST_OPEN_FILES = 65536
# Capacity of a server, as configured in fastroute.
_CAPACITY = 64


class Place(NamedTuple):
    """Parameters of a proxy: its ports, its servers' ports, and its own directory."""

    port: int
    metrics_port: int
    """Port for the metrics of proxies that always serve them on a separate port."""
    server_ports: Sequence[int]
    directory: Path

    @property
    def server_urls(self) -> list[str]:
        return [f"http://127.0.0.1:{port}" for port in self.server_ports]


class Peer(NamedTuple):
    name: str
    command: Callable[[Place], list[str]]
    """Prepares the place and returns the command, which runs in the foreground until SIGTERM."""
    version: Sequence[str]
    """Command whose first line of output contains the version."""
    install: Callable[[], None]
    """Installs it if it is missing; raises InstallFailed."""
    environ: Mapping[str, str] = {}
    only_if_asked_for: bool = False

    def version_line(self) -> str:
        done = subprocess.run(
            self.version, capture_output=True, text=True, timeout=30, check=False, cwd="/"
        )
        lines = (done.stdout + done.stderr).strip().splitlines()
        return lines[0] if lines else "unknown"


def allow_open_files() -> int:
    """Raise this process's limit of open files, which the proxies inherit; return the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < _MOST_OPEN_FILES:
        # Only root may; other users keep the limit, which allows fewer streams.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (_MOST_OPEN_FILES, _MOST_OPEN_FILES))
            return _MOST_OPEN_FILES
    limit = _MOST_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_OPEN_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return limit


class _ConfigTemplate(Template):
    # The usual $ marks variables of nginx.
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


def _vllm_router(place: Place) -> list[str]:
    return [
        str(environments.program("vllm-router", "vllm-router")),
        *("--worker-urls", *place.server_urls),
        *("--host", "127.0.0.1", "--port", str(place.port)),
        # Its default, cache_aware, keeps all prompts in a tree: more expensive, and not required
        # of the others. Round robin is its cheapest policy.
        *("--policy", "round_robin"),
        # It treats `warning` and `warn` as `info`, and then writes lines about requests.
        *("--log-level", "error"),
        *("--prometheus-port", str(place.metrics_port)),
    ]


def _smg(place: Place) -> list[str]:
    return [
        str(environments.program("smg", "smg")),
        "launch",
        *("--worker-urls", *place.server_urls),
        *("--host", "127.0.0.1", "--port", str(place.port)),
        *("--policy", "round_robin"),
        *("--log-level", "error"),
        *("--prometheus-port", str(place.metrics_port)),
        # No limit of concurrent requests: the others have none.
        *("--max-concurrent-requests", "0"),
        # Its servers keep idle connections: 3 s would add reconnects to the measurement.
        *("--upstream-pool-idle-timeout-secs", "60"),
    ]


def _fastroute_of(python: Callable[[], Path | str]) -> Callable[[Place], list[str]]:
    def command(place: Place) -> list[str]:
        servers = [part for url in place.server_urls for part in ("--server", url)]
        own = ["--host", "127.0.0.1", "--port", str(place.port)]
        capacity = ["--workers", "1", "--max-load", str(_CAPACITY)]
        return [str(python()), "-m", "fastroute", "run", *servers, *own, *capacity]

    return command


def _fastroute(
    name: str,
    python: Callable[[], Path | str],
    install: Callable[[], None],
    *,
    only_if_asked_for: bool = False,
) -> Peer:
    return Peer(
        name,
        _fastroute_of(python),
        (str(python()), "-c", environments.DESCRIBE_FASTROUTE),
        install,
        only_if_asked_for=only_if_asked_for,
    )


# One thread, as the others have; by default they use one for each available core.
_ONE_THREAD = {"TOKIO_WORKER_THREADS": "1"}

# The order is that of the table and of the runs. Ratios are to BASELINE.
PEERS = (
    Peer("nginx", _nginx, ("nginx", "-v"), environments.debian("nginx")),
    Peer("haproxy", _haproxy, ("haproxy", "-v"), environments.debian("haproxy")),
    Peer(
        "vllm-router",
        _vllm_router,
        environments.describe("vllm-router"),
        environments.pypi("vllm-router", "vllm-router==0.1.17"),
        _ONE_THREAD,
    ),
    Peer(
        "smg",
        _smg,
        environments.describe("smg"),
        environments.pypi("smg", "smg==1.13.0"),
        _ONE_THREAD,
    ),
    _fastroute(
        "fastroute",
        lambda: environments.program("fastroute", "python"),
        environments.wheel("fastroute", pure=False),
    ),
    _fastroute(
        "fastroute-pure",
        lambda: environments.program("fastroute-pure", "python"),
        environments.wheel("fastroute-pure", pure=True),
        only_if_asked_for=True,
    ),
    # This checkout as it stands, for a quick look while working on it.
    _fastroute(
        "fastroute-checkout",
        lambda: sys.executable,
        lambda: None,
        only_if_asked_for=True,
    ),
)
BASELINE = "nginx"
SUBJECT = "fastroute"


def chosen_peers(names: Sequence[str] = ()) -> list[Peer]:
    """Return the proxies with these names, in table order; without names, the default."""
    if names:
        return [peer for peer in PEERS if peer.name in names]
    return [peer for peer in PEERS if not peer.only_if_asked_for]
