"""The image behaves as described in the Dockerfile and docs/deployment.md."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fastroute import __version__
from tests.image.engine import IMAGE, ROOT, Container, container, limits, podman
from tests.support.command import wait_until

pytestmark = pytest.mark.image

ROUTER = "http://127.0.0.1:8888"
STANDIN = ("-m", "fastroute.standin", "--port", "8000", "--token-interval", "0.05")
TOKENS = 60
"""Three seconds of a response."""


def ask(tokens: int) -> tuple[str, ...]:
    """Return the command that requests a stream of `tokens` tokens."""
    return (
        *("curl", "--silent", "--no-buffer", "--noproxy", "*", f"{ROUTER}/v1/chat/completions"),
        *("-H", "Content-Type: application/json", "-d"),
        json.dumps({"model": "standin", "stream": True, "max_tokens": tokens, "messages": []}),
    )


def servers_toml(*ports: int) -> str:
    entries = ", ".join(f'{{ url = "http://127.0.0.1:{port}" }}' for port in ports)
    return f"[servers]\nservers = [ {entries} ]\n"


@pytest.fixture(name="folder")
def folder_fixture(tmp_path):
    """The folder mounted at /app; its owner is not the user of the image."""
    os.chmod(tmp_path, 0o755)
    (tmp_path / "servers.toml").write_text(servers_toml(8000))
    return tmp_path


@pytest.fixture(name="running")
def running_fixture(folder):
    with container(folder) as made:
        wait_until(lambda: "accepts clients" in log_of(made), 30)
        yield made


def log_of(made: Container) -> str:
    # Log lines go to stderr, which podman keeps separate.
    return subprocess.run(
        ["cat", podman("inspect", "--format", "{{.HostConfig.LogConfig.Path}}", made.name).strip()],
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def get(made: Container, path: str) -> dict:
    with made.inside(
        "curl", "-s", "--noproxy", "*", ROUTER + path, stdout=subprocess.PIPE
    ) as asked:
        return json.loads(asked.stdout.read())


def is_served(made: Container) -> bool:
    with made.inside(*ask(1), stdout=subprocess.PIPE) as asked:
        return asked.stdout.read().startswith(b"data: ")


class TestWhatIsInIt:
    def test_runs_its_command(self):
        said = podman("run", "--rm", "--network", "none", *limits(), IMAGE, "version")
        assert said == f"fastroute {__version__} (compiled)\n"

    def test_takes_options_in_place_of_its_own(self):
        said = podman("run", "--rm", "--network", "none", *limits(), IMAGE, "demo", "--help")
        assert "three stand-in servers" in said

    @pytest.mark.parametrize("program", ["gcc", "cc", "as", "ld"])
    def test_has_no_compiler(self, program):
        run = ("run", "--rm", "--network", "none", *limits(), "--entrypoint", "python", IMAGE)
        podman(
            *run, "-c", f"import shutil, sys; sys.exit(shutil.which({program!r}) is None)", code=1
        )

    @pytest.mark.parametrize("module", ["pip", "hatchling", "Cython", "setuptools", "pytest"])
    def test_has_nothing_to_build_with(self, module):
        run = ("run", "--rm", "--network", "none", *limits(), "--entrypoint", "python", IMAGE)
        code = f"import importlib.util as u, sys; sys.exit(u.find_spec({module!r}) is None)"
        podman(*run, "-c", code, code=1)

    def test_is_described(self):
        labels = json.loads(podman("inspect", "--type", "image", IMAGE))[0]["Labels"]
        assert labels["org.opencontainers.image.title"] == "fastroute"


class TestAtWork:
    def test_has_no_rights(self, running):
        status = Path(f"/proc/{running.pid}/status").read_text()
        assert re.search(r"^Uid:\s+10001\s+10001", status, re.MULTILINE)
        assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE)
        assert re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE)

    def test_is_healthy_though_its_server_is_down(self, running):
        wait_until(lambda: "is DOWN" in log_of(running), 20)
        assert running.health()
        assert get(running, "/livez") == {"status": "alive", "version": __version__}

    def test_is_not_healthy_where_nobody_answers(self, folder):
        with container(folder, "--env", "FASTROUTE_LIVEZ=http://127.0.0.1:1/livez") as made:
            wait_until(lambda: "accepts clients" in log_of(made), 30)
            podman("healthcheck", "run", made.name, code=1)

    def test_sees_a_new_file(self, running, folder):
        assert len(get(running, "/load-stats")["servers"]) == 1
        new = folder / "new"
        new.write_text(servers_toml(8000, 8001))
        new.replace(folder / "servers.toml")
        wait_until(lambda: len(get(running, "/load-stats")["servers"]) == 2)

    def test_drains_when_it_is_stopped(self, running):
        with running.inside(sys.executable, *STANDIN, cwd=ROOT) as standin:
            try:
                # The previous server at that port is still reported as up, with its models.
                wait_until(lambda: is_served(running), 20)
                with running.inside(*ask(TOKENS), stdout=subprocess.PIPE) as stream:
                    assert stream.stdout.read(6) == b"data: "
                    podman("stop", "--time", "30", running.name)
                    rest = stream.stdout.read()
            finally:
                standin.terminate()
        assert rest.endswith(b"data: [DONE]\n\n")
        assert rest.count(b"data: ") >= TOKENS
        assert running.state()["ExitCode"] == 0
        assert "SIGTERM: draining; requests in flight: 1" in log_of(running)
