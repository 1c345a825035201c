"""The README's commands and examples do what the README says."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from fastroute.config import parse_config
from tests.support.command import run_command, running

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


COMMANDS = [line for block in blocks("console") for line in block.splitlines()]
RUN = [line for line in COMMANDS if line.startswith("fastroute run")]
(SETTINGS,) = blocks("toml")


def test_it_starts_with_the_two_commands():
    assert COMMANDS[:2] == ["make demo", "make test"]


@pytest.mark.parametrize("target", re.findall(r"`make ([a-z-]+)`", README))
def test_make_knows_its_targets(target):
    made = subprocess.run(
        ["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr


@pytest.mark.parametrize("command", RUN)
def test_run(command, tmp_path):
    """Servers that cannot be reached do not keep it from starting."""
    (tmp_path / "servers.toml").write_text(SETTINGS)
    arguments = shlex.split(command)[1:]
    with running(tmp_path, *arguments, "--port", "0", cwd=tmp_path) as router:
        assert router.get("/livez")["status"] == "alive"
        assert len(router.statuses()) == 2
        assert router.stop() == 0


def test_settings():
    assert len(parse_config(SETTINGS, "README.md").servers) == 2


def test_check_config(tmp_path):
    (tmp_path / "servers.toml").write_text(SETTINGS)
    done = run_command("check-config", cwd=tmp_path)
    assert done.returncode == 0
    assert "gpu-server-1" in done.stdout


@pytest.mark.parametrize("block", blocks("python"))
def test_python(block):
    compile(block, "README.md", "exec")


@pytest.mark.parametrize("path", re.findall(r"\]\(([^)#:]+)\)", README))
def test_links_lead_somewhere(path):
    assert (ROOT / path).exists()
